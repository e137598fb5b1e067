"""Records come back as written, predictions to the last label."""

import numpy as np
import pytest

from dontstop.errors import StudyError
from dontstop.machine.randomness import generator
from dontstop.runs import records


@pytest.mark.parametrize("num", [0, 1, 3000])
def test_predictions_come_back(num):
    predictions = generator("records").integers(256, size=num)
    again = records.decode_predictions(records.encode_predictions(predictions))
    assert again.dtype == np.int64 and np.array_equal(again, predictions)


def test_predictions_are_short():
    assert len(records.encode_predictions(generator("records").integers(8, size=2000))) < 2000


def test_more_labels_than_a_byte_holds_are_told():
    with pytest.raises(StudyError, match="label id 256"):
        records.encode_predictions(np.array([0, 256]))


def test_records_come_back_in_order(tmp_path):
    rows = [{"arm": "base", "seed": seed, "test_score": seed / 7, "labels": ["ä", "b"]} for seed in range(3)]
    records.write_records(tmp_path, "base", rows)
    records.write_records(tmp_path, "dapt", [rows[0] | {"arm": "dapt"}])
    assert records.read_records(tmp_path, "base").to_dict("records") == rows
    assert records.read_records(tmp_path, "dapt", "base")["arm"].tolist() == ["dapt", "base", "base", "base"]


def test_missing_records_are_told(tmp_path):
    with pytest.raises(StudyError, match="make study"):
        records.read_records(tmp_path, "base")

"""A part of a study trained again: equal to the bit where it should be, near elsewhere, and told where neither."""

import shutil

import pytest

import kills
import tiny
from dontstop.runs import records


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Make and run a tiny study of one seed."""
    root = tiny.make(tmp_path_factory.mktemp("verification") / "study", seeds=[0])
    kills.finish(root, "run", "tapt", "-p", "tiny")
    return root


def verify(root, *more: str) -> tuple[int, list[str]]:
    """Verify, and return the exit code and the lines said since."""
    (root / "log").unlink()
    code = kills.end(kills.start(root, "verify", *more, "-p", "tiny"))
    assert not (root / "work" / "verify").exists()
    return code, (root / "log").read_text().splitlines()


def change(root, name: str, **fields) -> None:
    """Write records anew with fields changed."""
    folder = root / "results" / "tiny" / "records" / "03_tapt"
    rows = records.read_rows(folder / f"{name}.jsonl")[0]
    records.write_records(folder, name, [row | fields for row in rows])


def test_the_quickest_tapt_is_equal_to_the_bit(study):
    before = tiny.outcomes(study)
    code, said = verify(study)
    assert (code, said[-1]) == (0, "verify: 2 of 2 results agree with the records")
    assert said[0] == "verify: 2 jobs, which take some 0 min by the records"
    assert [line.split(": ")[1] for line in said[-3:-1]] == ["equal to the bit"] * 2
    assert tiny.outcomes(study) == before


def test_a_changed_record_is_found_out_another_processor_s_held_to_a_tolerance_and_parents_are_trained(study, tmp_path):
    root = tiny.copy(study, tmp_path / "other")
    shutil.rmtree(root / "checkpoints")
    change(root, "tapt", test_score=0.123)
    change(root, "pretraining", capability="an abacus")
    code, said = verify(root, "tapt_citation_intent")
    assert said[0].startswith("verify: 3 jobs") and code == 1
    assert said[-1] == "verify: 1 of 2 results agree with the records"
    assert said[-2].startswith("DIFFERS") and "recorded 0.123)" in said[-2]
    assert said[-3].startswith("agrees") and "at most 0.00% apart, tolerance 1% (recorded by an abacus)" in said[-3]


def test_a_checkpoint_without_record_is_refused_by_name(study):
    code, said = verify(study, "tapt_nothing")
    assert code == 2 and said[0] == "found: no record of checkpoint tapt_nothing in replicate 0"

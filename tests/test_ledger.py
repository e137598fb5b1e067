"""What stages cost: commands by the clock, notebooks by their executed copies, training by the records."""

import numpy as np
import pytest

from dontstop.errors import StudyError
from dontstop.machine import digests, files
from dontstop.profiles import Paths
from dontstop.runs import ledger, records


def test_costs_of_stages(root):
    paths = Paths("tiny", root)
    with ledger.timed(paths, "prepare"):
        pass
    executed = paths.results / "notebooks" / "02_dapt.ipynb"
    files.write_json(executed, {"metadata": {"papermill": {"duration": 120.0}}, "cells": []})
    rows = [{"wall_seconds": 30.0, "num_processes": 2}, {"wall_seconds": 60.0, "num_processes": 1}]
    records.write_records(paths.results / "records" / "02_dapt", "pretraining", rows)
    records.write_records(paths.results / "records" / "02_dapt", "base", [{"wall_seconds": 60.0}])
    table = ledger.stage_costs(paths).set_index("stage")
    assert table.loc["02_dapt"].tolist() == pytest.approx([2.0, 3.0])
    assert 0 <= table.loc["prepare", "wall_minutes"] < 0.1 and np.isnan(table.loc["03_tapt", "wall_minutes"])
    assert table.loc["all"].tolist() == pytest.approx([2.0, 3.0], abs=0.1)
    # Trained by a command of its own, which the notebook then found done.
    files.write_json(paths.work / "tiny.stages.json", {"dapt": 60.0, "tapt": 30.0})
    wall = ledger.stage_costs(paths).set_index("stage")["wall_minutes"]
    assert wall["02_dapt"] == pytest.approx(3.0) and wall["03_tapt"] == pytest.approx(0.5)


def test_a_notebook_s_seconds_are_the_ledger_s_and_a_killed_papermill_s_copy_has_none(root):
    paths = Paths("tiny", root)
    code, prose = {"cell_type": "code", "source": "1"}, {"cell_type": "markdown", "source": ["# 1"]}
    executed = {"metadata": {"papermill": {"duration": 120.0}}, "cells": [code | {"execution_count": 1}, prose]}
    place = paths.results / "notebooks" / "02_dapt.ipynb"
    files.write_json(place, executed)
    assert ledger.notebook_seconds(paths, "02_dapt") == 120.0
    files.write_json(place, executed | {"cells": [code | {"execution_count": 1}, code | {"execution_count": None}]})
    assert ledger.notebook_seconds(paths, "02_dapt") is None
    files.write_json(paths.work / "tiny.stages.json", {"notebook 02_dapt": 7.0})
    assert ledger.notebook_seconds(paths, "02_dapt") == 7.0


def test_rankings_that_replicates_share_cost_once(root):
    paths = Paths("tiny", root)
    for replicate, seconds in enumerate((7.0, 9.0)):
        place = paths.selected / f"replicate_{replicate}" / "task" / "rankings.json"
        files.write_json(place, {"tfidf": {"wall_seconds": 5.0}, "vampire": {"wall_seconds": seconds}})
    assert ledger.selected_seconds(paths) == 21.0


def test_a_stage_that_failed_is_not_written_down(root):
    paths = Paths("tiny", root)
    with pytest.raises(ValueError), ledger.timed(paths, "base"):
        raise ValueError
    assert ledger.read_ledger(paths) == {}


def test_a_stage_that_finds_its_work_done_keeps_the_minutes_that_it_took(root, monkeypatch):
    paths, clock = Paths("tiny", root), iter([0.0, 60.0, 100.0, 200.0, 230.0, 300.0, 302.0])
    monkeypatch.setattr(ledger.time, "monotonic", lambda: next(clock))
    rows = [{"seed": 0, "wall_seconds": 30.0}, {"seed": 1, "wall_seconds": 30.0}]
    for expected, num_rows in ((60.0, 1), (60.0, 1), (30.0, 2)):  # trained; found done; a replicate more
        with ledger.timed(paths, "dapt"):
            records.write_records(paths.results / "records" / "02_dapt", "dapt", rows[:num_rows])
        assert ledger.read_ledger(paths)["dapt"] == expected
    with ledger.timed(paths, "claims"):  # which neither trains nor selects
        pass
    assert ledger.read_ledger(paths)["claims"] == 2.0


def test_what_a_killed_command_has_half_written_goes_with_the_next(root):
    paths = Paths("smoke", root)
    part = paths.work / f".{paths.results.name}.stages.json.12345678.part"
    part.parent.mkdir(parents=True)
    part.write_text("{")
    with ledger.timed(paths, "prepare"):
        pass
    assert not part.exists() and list(ledger.read_ledger(paths)) == ["prepare"]


LEDGERS = ['{"base": "x", "dapt": 1.0}', '{"base": {}, "dapt": 1.0}', '["ab"]', "[1]", "5", "{"]


@pytest.mark.parametrize("content", LEDGERS)
def test_a_damaged_ledger_tells_of_no_stage_that_it_has_no_seconds_of(root, content):
    paths = Paths("tiny", root)
    files.write_text(paths.work / "tiny.stages.json", content)
    assert ledger.read_ledger(paths) == ({"dapt": 1.0} if "dapt" in content else {})
    assert ledger.stage_costs(paths)["stage"].iloc[-1] == "all"


EXECUTED = ["{}", "[]", "{", '{"cells": []}', '{"cells": [], "metadata": {"papermill": {"duration": "x"}}}']
EXECUTED += ['{"cells": [{"cell_type": "code"}], "metadata": {}}', '{"cells": [1], "metadata": {}}']


@pytest.mark.parametrize("content", EXECUTED)
def test_a_damaged_executed_notebook_is_told(root, content):
    paths = Paths("tiny", root)
    files.write_text(paths.results / "notebooks" / "02_dapt.ipynb", content)
    with pytest.raises(StudyError, match=r"02_dapt.ipynb,? (which )?is damaged[\s\S]*delete"):
        ledger.stage_costs(paths)


def test_damaged_rankings_are_told_and_do_not_stop_the_stage_that_makes_them_again(root):
    paths = Paths("tiny", root)
    place = paths.selected / "replicate_0" / "task" / "rankings.json"
    files.write_json(place, {"tfidf": {"wall_seconds": 5.0}})
    digests.write_folder_digests(paths.selected / "replicate_0")
    place.write_text("[]")
    with pytest.raises(StudyError, match="rankings.json is not as it was written[\\s\\S]*dontstop select"):
        ledger.stage_costs(paths)
    with ledger.timed(paths, "select"):
        pass
    assert "select" in ledger.read_ledger(paths)

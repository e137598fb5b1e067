"""Changes of the masked-LM loss: replicate by replicate, and their mean beside the paper's."""

import pandas as pd
import pytest

from dontstop.verdicts import losses

COURSE = ["checkpoint", "parent", "replicate", "phase", "domain", "step", "held_out", "masked_lm_loss"]


@pytest.fixture
def recorded():
    """Return two replicates of a base and two DAPT encoders; the second replicate lies half a nat higher."""
    first = {"base": (3.0, 5.0, 6.0), "dapt_a": (3.2, 4.0, 5.5), "dapt_b": (3.1, 4.9, 5.0)}
    rows = [
        {"encoder": encoder, "replicate": r, "held_out": text, "masked_lm_loss": loss + 0.5 * r * (encoder == "dapt_a")}
        for encoder, of in first.items()
        for r in (0, 1)
        for text, loss in zip(("general", "a", "b"), of, strict=True)
    ]
    return pd.DataFrame(rows)


def test_changes_are_by_replicate(recorded):
    found = losses.changes(recorded, "general").set_index(["replicate", "domain"])
    assert found["in_domain_delta_loss"].tolist() == pytest.approx([-1.0, -1.0, -0.5, -1.0])
    assert found["general_delta_loss"].tolist() == pytest.approx([0.2, 0.1, 0.7, 0.1])
    assert losses.changes(recorded[:0], "general").empty


def test_forgetting_is_the_mean_over_replicates_beside_the_papers(recorded):
    found = losses.forgetting(recorded, "general")
    ours = found[found["study"] == "ours"].set_index("domain")
    assert ours["in_domain_delta_loss"].to_dict() == pytest.approx({"a": -0.75, "b": -1.0})
    assert (found["study"] == "paper").sum() == 4
    matrix = losses.loss_matrix(recorded)
    assert matrix.loc["dapt_a", "a"] == pytest.approx(4.25) and matrix.index.tolist() == ["base", "dapt_a", "dapt_b"]
    fewer = recorded[(recorded["encoder"] != "dapt_b") | (recorded["replicate"] == 0)]
    assert losses.loss_matrix(fewer).loc["dapt_a", "a"] == 4.0  # beside dapt_b, of the replicate that both have


def test_the_course_lists_each_arms_losses_and_their_change_from_the_base_in_the_same_replicate(recorded):
    rows = [(arm, encoder, "a", r) for arm, encoder in (("base", "base"), ("dapt", "dapt_a")) for r in (0, 1)]
    runs = pd.DataFrame([*rows, ("tapt", "tapt_x", "a", 0)], columns=["arm", "checkpoint", "domain", "replicate"])
    found = losses.course(runs, recorded, "general").set_index(["arm", "text", "replicate"])
    assert found["masked_lm_loss"].unstack().loc[("dapt", "own")].tolist() == pytest.approx([4.0, 4.5])
    changes = found["change"].unstack()
    assert changes.loc[("dapt", "general")].tolist() == pytest.approx([0.2, 0.7])
    assert changes.loc[("base", "own")].tolist() == [0.0, 0.0] and len(changes) == 4  # without TAPT
    fewer = recorded[(recorded["encoder"] != "dapt_a") | (recorded["replicate"] == 0)]
    assert losses.course(runs, fewer, "general").groupby("arm").size().to_dict() == {"base": 4, "dapt": 2}


def test_the_course_of_training_begins_where_it_started_from(recorded):
    points = [(100, "a", 4.5), (100, "general", 3.1), (200, "a", 4.0), (200, "general", 3.2)]
    about = ("dapt_a", "base", 0, "dapt", "a")
    course = pd.DataFrame([(*about, *point) for point in points], columns=COURSE)
    after = pd.DataFrame([("dapt_a_then_tapt_x", "dapt_a", 0, "tapt", "a", 50, "a", 4.2)], columns=COURSE)
    found = losses.on_the_way(pd.concat([course, after]), recorded, "general").set_index(["phase", "text", "step"])
    found = found.sort_index()
    assert found.loc[("dapt", "own"), "masked_lm_loss"].to_dict() == {0: 5.0, 100: 4.5, 200: 4.0}
    assert found.loc[("dapt", "general"), "change"].tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert found.loc[("tapt", "own"), "masked_lm_loss"].to_dict() == {0: 4.0, 50: 4.2}
    assert losses.on_the_way(course[:0], recorded, "general").empty

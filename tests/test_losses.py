"""Changes of the masked-LM loss: replicate by replicate, and their mean beside the paper's."""

import pandas as pd
import pytest

from dontstop.verdicts import losses

COURSE = ["checkpoint", "replicate", "phase", "domain", "step", "held_out", "masked_lm_loss"]


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


def test_the_course_of_training_tells_changes_from_the_base():
    points = [(0, "a", 5.0), (0, "general", 3.0), (100, "a", 4.5), (100, "general", 3.1)]
    course = pd.DataFrame([("dapt_a", 0, "dapt", "a", *point) for point in points], columns=COURSE)
    after = pd.DataFrame([("dapt_a_then_tapt_x", 0, "tapt", "a", 50, "a", 4.2)], columns=COURSE)
    found = losses.on_the_way(pd.concat([course, after], ignore_index=True), "general")
    assert found["change"].tolist() == pytest.approx([0.0, 0.0, -0.5, 0.1, -0.8])
    assert found["text"].tolist() == ["own", "general", "own", "general", "own"]
    assert losses.on_the_way(after, "general").empty and losses.on_the_way(course[:0], "general").empty


def test_a_mean_over_encoders_is_over_the_same_ones_at_every_check():
    rows = [("a", 0, 5.0), ("b", 0, 4.0), ("a", 10, 4.0), ("b", 12, 3.0), ("a", 20, 3.0), ("b", 24, 1.0)]
    rows.append(("b", 36, 0.0))  # which the other has not
    courses = pd.DataFrame(rows, columns=["checkpoint", "step", "masked_lm_loss"])
    mean = losses.mean_course(courses.assign(change=courses["masked_lm_loss"] - 5.0))
    assert mean.reset_index().to_numpy().tolist() == [[0, 4.5, -0.5], [11, 3.5, -1.5], [22, 2.0, -3.0]]

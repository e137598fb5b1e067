"""What figures find, a sentence each: their titles, filled in from the frames that they draw.

Where there is one replicate the sentence says so, and where an interval includes zero, that nothing is shown.
"""

from collections.abc import Mapping

import numpy as np
from pandas import DataFrame, Series

from dontstop.design.arms import BASE
from dontstop.errors import counted
from dontstop.report import labels
from dontstop.report.labels import listing, number, sentence, signed
from dontstop.text.tasks import GENERAL
from dontstop.verdicts.claims import DOES_NOT_HOLD, EQUIVALENT, HOLDS
from dontstop.verdicts.losses import mean_course
from dontstop.verdicts.scores import MEAN, NAIVE_BAYES

ONE_REPLICATE = "one replicate, hence no interval and no verdict"
_MOST = 4  # comparisons that are told one by one, whatever they are
_STEEP = 0.05  # nats: a smaller fall of the loss in the last tenth of a training is not told


def intervals(frame: DataFrame, what: str = "bars", more: str = "") -> str:
    """Say in a note what the intervals are and, where the frame has it, over how many replicates; or of none, that."""
    known = frame[frame["low"].notna()]
    if known.empty:
        return f"{ONE_REPLICATE}."
    number_of = f"{labels.span(known['num_replicates'])} " if "num_replicates" in known else ""
    return f"{what}: 95 % interval, Student's t over {number_of}replicates{more}."


def lead(frame: DataFrame) -> str:
    """Begin a sentence on effects: with the number of replicates where that is one, else with nothing."""
    return "in one replicate, " if frame["low"].isna().all() else ""


def percent(values: np.ndarray) -> str:
    """Write from where to where shares reach: `20 to 60 %`."""
    return f"{labels.span(values[~np.isnan(values)])} %"


def is_shown(effects: DataFrame) -> Series:
    """Mark the effects whose interval excludes zero; those without an interval too, since nothing is said of these."""
    bounds = effects[["low", "high"]].astype(float)
    return ~((bounds["low"] <= 0) & (bounds["high"] >= 0))


def told_singly(effects: DataFrame) -> DataFrame:
    """Choose the effects that are told one by one: all if they are few, else those that differ from zero."""
    return effects if len(effects) <= _MOST else effects[is_shown(effects)]


def differences(effects: DataFrame) -> str:
    """Say what the contrasts' means over tasks are; of many, those that differ from zero; of three, that none does."""
    whole, told, last = labels.over_tasks(effects), [], None
    whole = whole.assign(is_shown=is_shown(whole))
    if len(whole) > 2 and not whole["is_shown"].any():
        return f"None of {len(whole)} differences is distinguished from zero"
    chosen = told_singly(whole)
    num_more, num_others = int(chosen["low"].iloc[_MOST:].notna().sum()), len(whole) - len(chosen)
    rest = f"; {num_more} more {'differs' if num_more == 1 else 'differ'} from zero" if num_more else ""
    rest += f"; the other {num_others} not distinguished from zero" if num_others else ""
    for row in chosen.iloc[:_MOST].itertuples():
        effect, arm, other = float(row.effect), labels.arm(row.arm), labels.arm(row.other)
        subject = "" if arm == last else f"{arm} "
        if row.is_shown:
            told.append(f"{subject}{number(abs(effect))} points {'above' if effect > 0 else 'below'} {other}")
        else:
            told.append(f"{subject}not distinguished from {other} ({signed(effect)})")
        last = arm
    return sentence(lead(effects), listing(told), rest)


def curves(curves: DataFrame, held_out: DataFrame, what: str) -> str:
    """Say how the loss on `what` text ends, that of the encoder kept, and whether training still lowers the loss."""
    whole = curves.groupby(["checkpoint", "replicate"])["masked_lm_loss"]
    tenth = max(1, int(whole.size().min() // 10))
    fall = float((whole.apply(lambda loss: loss.iloc[-2 * tenth : -tenth].mean() - loss.iloc[-tenth:].mean())).mean())
    told = f"; in training it still falls at the end ({signed(-fall, 2)} in the last tenth)" * (fall >= _STEEP)
    if held_out.empty:
        return f"The training loss ends at {number(whole.last().mean(), 2)} nats{told}"
    ends = held_out.groupby(["checkpoint", "replicate"])["masked_lm_loss"]
    before, after = ends.first().mean(), ends.apply(lambda loss: loss.iloc[1:].min()).mean()
    moves, place = "falls" if after < before else "rises", " at the step kept" if ends.size().max() > 2 else ""
    mean = f"from {number(before, 2)} to {number(after, 2)} nats{place}, in the mean"
    return sentence(f"{what} loss {moves} {mean}{told}")


def checks(table: DataFrame) -> str:
    """Say in how many trainings the last check is the best."""
    ends = table.groupby(["task", "replicate"])["step"].max()
    kept = table[table["kept"]].set_index(["task", "replicate"])["step"]
    num = int((kept.reindex(ends.index) == ends).sum())
    words = "Longer TAPT might still help" if num > len(ends) / 2 else "TAPT is long enough"
    return f"{words}: on unseen texts the last check is best in {num} of {counted(len(ends), 'training')}"


def tapt_curve(curve: DataFrame) -> str:
    """Say at which number of epochs a task's mean dev score is highest, and what the test score is there."""
    told = []
    for task, rows in curve.groupby("task", sort=False):
        dev, test = (rows[rows["split"] == split].set_index("epochs") for split in ("dev", "test"))
        best = dev["mean"].idxmax()
        at = "as kept" if best == "kept" else f"at {counted(best, 'epoch')}"
        both = (test.loc[epochs] for epochs in (best, "0"))
        scores = [number(row["mean"]) + f" ± {number(row['std'])}" * bool(row["std"] > 0) for row in both]
        told.append(f"{labels.spelt(task)} scores highest on dev {at} (on test {scores[0]}; base {scores[1]})")
    return sentence(listing(told))


def label_curve(gains: DataFrame) -> str:
    """Say what the arm that gains most with fewest labels gains there and with most, and where counting words wins."""
    few, many = gains["num_train"].min(), gains["num_train"].max()
    arms = gains[~gains["arm"].isin([BASE.name, NAIVE_BAYES])].set_index("num_train")
    best = arms.loc[[few]].sort_values("gain")["arm"].iloc[-1]
    own = arms[arms["arm"] == best]["gain"]
    told = f"{labels.arm(best)} gains {signed(own[few])} points with {few} labels, {signed(own[many])} with {many}"
    first = gains.loc[gains.groupby("num_train")["score"].idxmax()]
    won = first[first["arm"] == NAIVE_BAYES]["num_train"].map("{:,}".format).tolist()
    more = f"; with {listing(won)} naive Bayes scores highest" if won else "; naive Bayes never scores highest"
    return sentence(lead(arms), told, more if NAIVE_BAYES in set(gains["arm"]) else "")


def probability_best(best: DataFrame) -> str:
    """Say who is likeliest to rank first over all tasks."""
    whole = best.loc[MEAN]
    told = f"{labels.arm(whole.idxmax())} ranks first over all tasks with probability {number(100 * whole.max(), 0)} %"
    return sentence(told)


def changed(counts: DataFrame) -> str:
    """Say how many texts are mended for each that is broken."""
    mended, broken = counts["mended"].sum(), counts["broken"].sum()
    names = labels.arm(counts["arm"].iloc[0]), labels.arm(counts["other"].iloc[0])
    told = f"{names[0]} mends the labels of {number(mended, 0)} of {counts['num_test'].sum():,} test texts"
    return sentence(f"{told} and breaks {number(broken, 0)} that {names[1]} has right")


def power_curve(curve: DataFrame, claim: str = "C2") -> str:
    """Say how large DAPT's gain must be for its claim to be decided with 80 % power."""
    some = curve[(curve["claim"] == claim) & (curve["percent"] >= 80) & (curve["points"] > 0)]
    if some.empty:
        return f"No gain tried decides {claim} with 80 % power"
    return f"{claim} is decided rightly with 80 % power from a gain of {number(some['points'].min())} points on"


def losses(changes: DataFrame, own: Mapping[str, str], domains: Mapping[str, str]) -> str:
    """Say how the loss changes on encoders' own texts, on those of their domain's other task, and on the rest.

    Args:
        changes: From the base encoder's loss, encoders by texts.
        own: The text of each encoder that has adapted to one.
        domains: Of texts that are tasks'.
    """
    kinds: dict[str, list[float]] = {"the encoder's own text": [], "its domain's other task": [], "general text": []}
    for (encoder, text), change in changes.loc[list(own)].stack().items():
        same = text in domains and domains[text] == domains.get(own[encoder])
        other = "general text" if text == GENERAL else "its domain's other task" if same else "other domains' text"
        kinds.setdefault("the encoder's own text" if text == own[encoder] else other, []).append(change)
    told = [f"{signed(np.mean(values), 2)} on {kind}" for kind, values in kinds.items() if values]
    return f"Adapting changes the loss, in nats: {', '.join(told)}, in the mean"


def course(losses: DataFrame) -> str:
    """Say what arms forget of the general text, and what they learn of their own."""
    changes = losses[losses["arm"] != BASE.name].groupby(["text", "arm"], sort=False)["change"].mean()
    told = [f"{labels.arm(arm)} {signed(change, 2)}" for arm, change in changes["general"].items()]
    return f"Change of the loss on general text, in nats: {', '.join(told)}"


def on_the_way(losses: DataFrame) -> str:
    """Say when DAPT forgets what it forgets of the general text."""
    of_dapt = losses[(losses["phase"] == "dapt") & (losses["text"] == "general")]
    change = mean_course(of_dapt)["change"]
    last, first = change.index[-1], change.index[change.index > 0][0]
    if change[last] <= 0:
        return f"DAPT forgets nothing of general text: its loss changes by {signed(change[last], 2)} nats"
    told = f"{signed(change[first], 2)} of {signed(change[last], 2)} nats come in the first {round(first)} of"
    return f"What DAPT forgets of general text: {told} {counted(round(last), 'step')}"


def guesses(firsts: Mapping[str, int], num: int) -> str:
    """Say how many masked words each encoder's first guess is right for."""
    told = [f"{labels.column(name)} {right}" for name, right in firsts.items()]
    return f"Of {counted(num, 'masked word')}, the first guess is right: {listing(told)}"


def gallery(changes: Series, after: str) -> str:
    """Say how many masked words become more probable."""
    up = int((changes > 0).sum())
    told = f"{labels.column(after)} makes {up} of {counted(len(changes), 'masked word')} more probable"
    return sentence(f"{told}; in the mean their log-probability changes by {signed(changes.mean(), 2)} nats")


_DECIDED = {HOLDS: ("holds", "hold"), EQUIVALENT: ("is equivalent", "are equivalent")}
_DECIDED |= {DOES_NOT_HOLD: ("does not hold", "do not hold")}


def claims_forest(parts: Mapping[str, DataFrame], ids: list[str]) -> str:
    """Say how many claims hold, do not hold and are equivalent: by study, rows of claims by id."""
    told = []
    for name, part in parts.items():
        some = part.reindex(ids)
        counts = some["verdict"].value_counts()
        found = [f"{counts[v]} {words[int(counts[v] > 1)]}" for v, words in _DECIDED.items() if v in counts]
        is_one = name != "paper" and some["effect"].notna().any() and some["low"].isna().all()
        told.append(f"{name}: {ONE_REPLICATE if is_one else ', '.join(found) or 'none decided'}")
    return f"Of {counted(len(ids), 'claim')} on scores, {'; '.join(told)}"


def against_paper(both: DataFrame) -> str:
    """Say for how many comparisons our effect has the paper's sign: columns ours, paper."""
    same = int((np.sign(both["ours"]) == np.sign(both["paper"])).sum())
    told = f"In {same} of {counted(len(both), 'comparison')} on the paper's own tasks our effect has the paper's sign"
    return f"{told} (in the mean {signed(both['ours'].mean())} points, the paper {signed(both['paper'].mean())})"

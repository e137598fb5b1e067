"""What is told of the claims: a sentence each for the notebooks, and the page of all.

The frames `overview` and `judged` are those of `verdicts.judgements`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from dontstop.errors import StudyError
from dontstop.inputs import checked_name
from dontstop.machine import files
from dontstop.report import claim_plots, labels, plots
from dontstop.report.display import narrowed, to_csv, to_markdown, write_figure
from dontstop.report.labels import signed
from dontstop.runs.results import RUN_COLUMNS
from dontstop.verdicts import calibration, judgements
from dontstop.verdicts.calibration import World
from dontstop.verdicts.claims import CLAIMS, EQUIVALENT, INCONCLUSIVE, NOT_RUN, VERDICTS
from dontstop.verdicts.scores import MEAN

_NUMBERS = ["effect", "low", "high"]  # columns of claims.csv; and those that designs before replicates lacked
_LATER_NUMBERS = ["p_value", "p_holm", "detectable", "margin", "num_replicates"]
_NOT_BETTER = {claim.id for claim in CLAIMS if claim.rule == "not_better"}


def sentences(overview: DataFrame) -> list[str]:
    """Say of claims in points, a line each: the verdict, the effect with its interval, what decides, the paper's."""
    return [f"*{labels.sentence(row.statement)}*: **{row.ours}**{_evidence(row)}." for row in overview.itertuples()]


def _evidence(row) -> str:
    if row.ours == NOT_RUN:
        return ""
    theirs = f"The paper: **{row.paper}** ({signed(row.paper_effect)})"
    if row.reason:
        return f", {signed(row.effect)} points ({row.reason}). {theirs}"
    decides = ""
    if row.ours == EQUIVALENT or row.claim in _NOT_BETTER:
        decides = f"; half of DAPT's gain is {labels.number(row.margin)}"
    if row.ours == INCONCLUSIVE:
        decides = f"; an effect of {labels.number(row.detectable)} would be detected with 80 % power"
    interval = labels.interval(row.low, row.high)
    tasks = f" (tasks: {row.tasks})" if row.tasks != "-" else ""
    return f", {signed(row.effect)} points {interval}, {labels.p_value(row.p_holm)}{decides}{tasks}. {theirs}"


def claims_page(judged: DataFrame, heading: str) -> str:
    """Write verdicts, as `judgements.judge` returns them, as a page: all in one table, then each with its rule."""
    page = (
        f"# {heading}\n\n"
        "Each of the paper's claims, judged by this study's replicates and, by the same rule as far as its means and "
        "standard deviations allow, by the paper's own numbers. Effects are points of F1 (C12: nats; C13: factors), "
        "their 95 % intervals over replicates; `p` is corrected for all claims together (Holm, C1 to C12). The "
        "smallest detectable effect is what these replicates would detect with 80 % power. Tasks are judged "
        f"within claims that hold.\n\n{to_markdown(narrowed(judgements.overview(judged)))}"
    )
    shown = ["study", "task", "effect", "low", "high", "p_holm", "detectable", "margin", "verdict"]
    for claim in CLAIMS:
        rows = judged[judged["claim"] == claim.id]
        if not set(rows["verdict"]) <= {NOT_RUN}:
            rule = f"{claim.place}. Rule: {claim.text}; else inconclusive."
            page += f"\n\n## {claim.id}: {claim.statement}\n\n{rule}\n\n{to_markdown(rows[shown])}"
    return page


def machines(runs: DataFrame) -> str:
    """Say which replicates of runs which kind of machine made, where there is more than one; else nothing."""
    replicates = runs.groupby("capability")["replicate"].unique()
    if len(replicates) < 2:
        return ""
    told = (f"{', '.join(map(str, sorted(some)))} on {kind}" for kind, some in replicates.items())
    return f"Replicates by the kind of machine: {'; '.join(sorted(told))}."


def save_claims(judged: DataFrame, folder: Path, profile: str, notes: Sequence[str] = ()) -> None:
    """Write claims.csv (in full precision), claims.md, claims.svg and .png; the page ends with notes, a line each."""
    files.write_text(folder / "claims.csv", to_csv(judged))
    page = claims_page(judged, f"The paper's claims, profile `{profile}`")
    files.write_text(folder / "claims.md", "\n\n".join([page, *notes]) + ("\n" if notes else ""))
    write_figure(claim_plots.claims_forest({profile: judged}), folder / "claims")


def load_judged(folder: Path) -> DataFrame:
    """Load the verdicts that stand under a profile's results; before there are any, the paper's own alone."""
    there = (folder / "claims.csv").is_file()
    return read_judged(folder) if there else judgements.judge(pd.DataFrame(columns=RUN_COLUMNS))


def read_judged(folder: Path) -> DataFrame:
    """Read a profile's claims.csv.

    Raises:
        StudyError: If it is not there, or not whole: no table, or without some of the claims.
    """
    path, expected = folder / "claims.csv", "the verdicts on all claims, ours and the paper's"
    remedy = f"run `dontstop claims --profile {folder.name}`"
    if not path.is_file():
        raise StudyError(f"no claims.csv of profile {folder.name}", expected, remedy)
    try:
        judged = pd.read_csv(path)
        whole = judged[["claim", "study"]].drop_duplicates()
        numbers = judged[_NUMBERS + [name for name in _LATER_NUMBERS if name in judged]]
        are_numbers = all(map(pd.api.types.is_numeric_dtype, numbers.dtypes))
    except (ValueError, KeyError) as error:
        raise StudyError(f"{path} is damaged: {error}", expected, remedy) from error
    if len(whole) != 2 * len(CLAIMS) or not are_numbers or not judged["verdict"].isin(VERDICTS).all():
        raise StudyError(f"{path}, which is not whole", expected, remedy)
    return judged


def save_metrics(judged: DataFrame, mean_f1: Mapping[str, float], folder: Path) -> None:
    """Write metrics.json, by which DVC compares studies: the mean F1 x 100 of each arm, the verdict on each claim."""
    ours = judged[(judged["study"] == judgements.OURS) & (judged["task"] == MEAN)].set_index("claim")["verdict"]
    scores = {arm: round(score, 2) for arm, score in mean_f1.items()}
    files.write_json(folder / "metrics.json", {"mean_f1": scores, "verdict": ours.to_dict()})


def write_forest(results: Path, profiles: Sequence[str]) -> None:
    """Draw profiles' claims side by side, from the claims.csv of each, as claims.svg and .png under `results`.

    Raises:
        StudyError: If a profile has no verdicts yet, or damaged ones.
    """
    judged = {profile: read_judged(results / checked_name("profile", profile)) for profile in profiles}
    write_figure(claim_plots.claims_forest(judged), results / "claims")


def write_calibration(world: World, source: str, num_studies: int, folder: Path) -> None:
    """Simulate studies, and write calibration.md, calibration.csv and the power curve's picture under `folder`."""
    page, curve = calibration.calibrate(world, source, num_studies)
    files.write_text(folder / "calibration.md", page)
    files.write_text(folder / "calibration.csv", curve.to_csv(index=False))
    write_figure(plots.power_curve(curve), folder / "calibration")

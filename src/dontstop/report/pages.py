"""The verdicts on all claims as a page and as data."""

from pathlib import Path

import pandas as pd

from dontstop.machine import files
from dontstop.report import display
from dontstop.verdicts.claims import CLAIMS, NOT_RUN
from dontstop.verdicts.judgements import overview

_SHOWN = ["study", "task", "effect", "low", "high", "p_holm", "verdict"]


def claims_page(judged: pd.DataFrame, heading: str) -> str:
    """Write the verdicts as a page: all claims in one table, then each with its tasks and its rule.

    Args:
        judged: As `judgements.judge` returns it.
    """
    page = (
        f"# {heading}\n\n"
        "Each of the paper's claims, judged by this study's runs and, by the same rule as far as its means and "
        "standard deviations allow, by the paper's own numbers. Effects are points of F1 with 95 % intervals (C1: a "
        "rank correlation; C12: nats; C13: factors); `p` is corrected for the comparisons of the table (Holm), tasks "
        f"and means apart.\n\n{display.to_markdown(overview(judged))}"
    )
    for claim in CLAIMS:
        rows = judged[judged["claim"] == claim.id]
        if not set(rows["verdict"]) <= {NOT_RUN}:
            rule = f"{claim.place}. Rule: {claim.text}; else inconclusive."
            page += f"\n\n## {claim.id}: {claim.statement}\n\n{rule}\n\n{display.to_markdown(rows[_SHOWN])}"
    return page


def save_claims(judged: pd.DataFrame, folder: Path, heading: str) -> None:
    """Write claims.csv (every row in full precision) and claims.md under `folder`."""
    files.write_text(folder / "claims.csv", judged.to_csv(index=False))
    files.write_text(folder / "claims.md", claims_page(judged, heading))

"""What the site has beside notebooks and docs, as Markdown: the front page, a profile's, tables and figures."""

import re
from collections.abc import Collection, Mapping, Sequence

import pandas as pd
from pandas import DataFrame

from dontstop.report import labels, tables
from dontstop.report.display import listed, to_markdown
from dontstop.verdicts.claims import BYTES, DOES_NOT_HOLD, EQUIVALENT, FLOPS, HOLDS, INCONCLUSIVE, NOT_RUN
from dontstop.verdicts.judgements import OURS, PAPER, papers_rows
from dontstop.verdicts.losses import GENERAL, IN_DOMAIN
from dontstop.verdicts.scores import MEAN

SCORES = ("naive_bayes", "base_mean", "dapt_mean")  # columns of Table 3 that the front page tells of
_TOLD = {
    HOLDS: "shown by",
    DOES_NOT_HOLD: "contradicted by",
    EQUIVALENT: "found too small to matter by",
    INCONCLUSIVE: "not decided by",
    NOT_RUN: "not asked by",
}
_EARLIER = (
    "**These results are of an earlier design**: several seeds of one pretraining, without replicates, so that no "
    "interval covers the pretraining. Its notebooks are left out, since their words are not today's.\n"
)
_HEADING = re.compile(r"^(#+ )", re.MULTILINE)
_COSTS = {"seconds": "time", FLOPS: "compute", BYTES: "storage"}  # the first of designs before FLOPs were counted


def front_page(judged: Mapping[str, DataFrame], scores: Mapping[str, DataFrame]) -> str:
    """Write the front page: the picture of all claims, what it means for a practitioner, verdicts side by side.

    By profile, verdicts are as `tables.side_by_side` takes them and may be empty; scores are Table 3 as its CSV file
    has it.
    """
    page = (
        "# Don't Stop Pretraining, as a study\n\nDoes a language model get better at a domain's tasks when its "
        "pretraining goes on over the domain's text? The paper of that name (Gururangan et al., ACL 2020) found that "
        "it does. Here its experiments are run again with small encoders, and its claims judged by one rule: by the "
        "paper's own numbers, and by those of the profiles below.\n\n"
    )
    if judged:
        table = tables.side_by_side(judged)
        told = listed(*advice(judged, scores)).data
        page += (
            "![Effects of every claim on scores, by the paper's own numbers and by each profile](claims.svg)\n\n"
            f"## What it means for a practitioner\n\n{told}\n\nThe field's numbers since 2020, and a chart to decide "
            "by: [Should I adapt my model?](docs/should_i_adapt.md)\n\n## The claims\n\nPoints of test F1 with 95 % "
            f"intervals, in the mean over tasks; [how verdicts are made](docs/verdicts.md).\n\n{_plain(table)}\n"
        )
    return page


def _plain(table: DataFrame) -> str:
    """Write a table whose cells are Markdown already."""
    head = ["the paper's numbers" if name == PAPER else name for name in table.columns]
    rows = [head, ["---"] * len(head), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def advice(judged: Mapping[str, DataFrame], scores: Mapping[str, DataFrame]) -> list[str]:
    """Say in five bullets what was found that a practitioner decides by: words, DAPT, TAPT, both, forgetting."""
    found = {"the paper": _of(papers_rows(judged), PAPER)}
    found |= {f"`{profile}`": _of(table, OURS) for profile, table in judged.items()}
    counted = [_counting(profile, table) for profile, table in scores.items()]
    return [
        f"**Count words first.** {' '.join(counted) or 'No profile has scores yet.'}",
        f"**Pretrain on the domain's text (DAPT)?** A gain over the base encoder is {_told(found, 'C2')}. That the "
        f"domain's text does more than another domain's is {_told(found, 'C3')}.",
        f"**Or on the task's own texts (TAPT)?** A gain over the base encoder is {_told(found, 'C5')}. Of DAPT's costs "
        f"it has: {_prices(found)}.",
        f"**DAPT and then TAPT, or TAPT with neighbours?** That DAPT and then TAPT is best is {_told(found, 'C6')}. "
        f"That neighbours from the domain's text add more to TAPT than random texts is {_told(found, 'C10')}.",
        f"**What is forgotten?** Loss (nats per masked token) on its own domain, and on general text: "
        f"{_forgotten(found)}.",
    ]


def _of(table: DataFrame, study: str) -> DataFrame:
    return table[table["study"] == study].set_index(["claim", "task"])


def _told(found: Mapping[str, DataFrame], claim: str) -> str:
    """Say which studies a claim is shown by, or is not, each with its effect in points."""
    by_verdict: dict[str, list[str]] = {}
    for study, rows in found.items():
        verdict, effect = (rows[name].get((claim, MEAN)) for name in ("verdict", "effect"))
        points = "" if verdict is None or pd.isna(effect) else f" ({labels.signed(effect)})"
        by_verdict.setdefault(verdict or NOT_RUN, []).append(study + points)
    return "; ".join(f"{_TOLD[verdict]} {', '.join(by_verdict[verdict])}" for verdict in _TOLD if verdict in by_verdict)


def _prices(found: Mapping[str, DataFrame]) -> str:
    told = []
    for study, rows in found.items():
        costs = {what: rows["effect"].get(("C13", name)) for name, what in _COSTS.items()}
        parts = [f"{labels.percent(cost)} of the {what}" for what, cost in costs.items() if cost is not None]
        told += [f"{study} {' and '.join(parts)}"] if parts else []
    return "; ".join(told) or NOT_RUN


def _forgotten(found: Mapping[str, DataFrame]) -> str:
    told = []
    for study, rows in found.items():
        own, general = (rows["effect"].get(("C12", name)) for name in (IN_DOMAIN, GENERAL))
        told += [] if own is None else [f"{study} {labels.signed(own, 2)} and {labels.signed(general, 2)}"]
    return "; ".join(told) or NOT_RUN


def _counting(profile: str, table: DataFrame) -> str:
    """Set naive Bayes beside the base encoder and DAPT, in the mean over tasks."""
    whole = table[(table["study"] == OURS) & (table["task"] == MEAN)]
    if whole.empty:
        return ""
    bayes, base, dapt = (labels.number(whole[name].iloc[0]) for name in SCORES)
    return f"At `{profile}` naive Bayes scores {bayes}, the base encoder {base}, after DAPT {dapt}."


def profile_page(
    profile: str,
    provenance: Sequence[str],
    costs: DataFrame,
    notebooks: Mapping[str, str],
    wrote: Collection[str],
    has_claims: bool,
    is_earlier: bool = False,
) -> str:
    """Write a profile's page: its notebooks by title, the provenance that they print, and the costs of its stages.

    Notebooks are by name, with their titles; of those that wrote some, tables and figures have a page. Of an earlier
    design there are only these.
    """
    judged = "[The paper's claims, judged](claims.md); its" if has_claims else "Its"
    titles = {n: notebooks[n] if is_earlier else f"[{notebooks[n]}](notebooks/{n}.ipynb)" for n in notebooks}
    data = {n: f"[tables and figures](data/{n}.md)" if n in wrote else "" for n in notebooks}
    rows = [f"| {titles[n]} | {data[n]} |" for n in notebooks]
    lines = "\n".join(f"    {line}" for line in provenance)
    return "\n".join(
        [
            f"# Profile `{profile}`\n",
            f"{judged} [settings](../../docs/settings.md) stand in `configs/{profile}.yaml`.\n",
            *([_EARLIER] if is_earlier else []),
            *("| notebook | what it wrote |", "|---|---|", *rows, ""),
            "## Costs\n",
            "Minutes of each stage: by the clock, of its execution here; and of processes that trained, over "
            f"all replicates.\n\n{to_markdown(costs)}",
            f"## Provenance\n\nWhat its notebooks were executed with:\n\n{lines}\n",
        ]
    )


def data_page(title: str, named: Mapping[str, Mapping[str, str]]) -> str:
    """Write a page of tables and figures under their names, each with its files.

    Args:
        named: By name, by the ending of a file: the path of a `csv`, `svg` or `png` as seen from the page; of `md`,
            the table itself; as `alt` what a figure shows.
    """
    parts = [f"# {title}\n"]
    for name, files in named.items():
        parts.append(f"## {name}\n")
        if "svg" in files:
            parts.append(f"![{files.get('alt', labels.spelt(name))}]({files['svg']})\n")
        if "md" in files:
            parts.append(_HEADING.sub(r"##\1", files["md"]))
        links = [f"[{kind.upper()}]({path})" for kind, path in files.items() if kind not in ("md", "alt")]
        parts.append(" · ".join(links) + "\n")
    return "\n".join(parts)


def contents(caption: str, entries: Sequence[str]) -> str:
    """Write what a page adds to the site's table of contents: documents, as seen from the page."""
    return "\n".join(["```{toctree}", f":caption: {caption}", ":hidden:", "", *entries, "```", ""])

"""The pipeline as a picture: text, encoder, arms, runs and verdicts, with a profile's own numbers."""

from collections.abc import Mapping

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from dontstop.errors import counted
from dontstop.report import labels, theme
from dontstop.report.theme import StudyFigure, styled, wrapped

_COLOURS = ("#dbe9f6", "#e6e6e6", "#fde7c8", "#d9f0e4", "#f3dfec")
_STATIONS = {  # what stands in each, a line a bar; numbers as `measures.pipeline_counts` has them
    "Text": "{domains}|{documents} documents|{words} words|{tasks} with {labels} labels each|{num_test} test texts",
    "Encoder": "{encoder}|{vocabulary} word pieces|pretrained on {general_words} words of general text",
    "Arms": "{arms} ways to read on before fine-tuning|DAPT: {dapt} on the domain|"
    "TAPT: {tapt} on the task's own texts|both, neighbours, …",
    "Runs": "replicates, each the whole study anew: {replicates}|seeds in each: {seeds}|{runs} classifiers",
    "Verdicts": "differences within a replicate|95 % intervals over replicates|{claims} claims of the paper, judged",
}
_GAP = 0.28  # inches between two


@styled
def pipeline(counts: Mapping[str, object]) -> StudyFigure:
    """Draw the stations in a row, an arrow from each to the next, with what stands in each.

    Args:
        counts: As `measures.pipeline_counts` returns them.
    """
    told, inches = {name: labels.text(value) for name, value in counts.items()}, StudyFigure.INCHES - 0.2
    told |= {f"{what}s": counted(counts[f"{what}s"], what) for what in ("domain", "task")}
    width = (inches - _GAP * (len(_STATIONS) - 1)) / len(_STATIONS)
    texts = {name: _bulleted(text.format_map(told).split("|"), width - 0.14) for name, text in _STATIONS.items()}
    height = 0.5 + 0.178 * max(len(text.splitlines()) for text in texts.values())
    title = "From text to verdict: {domains}, {tasks}, {arms} arms, {runs} fine-tuned classifiers"
    figure = StudyFigure(height + 0.1, title.format_map(told))
    axes = figure.add_axes((0, 0, 1, figure.get_layout_engine().get()["rect"][3]))
    figure.set_layout_engine("none")
    figure.note = "; ".join(f"{name}: {_STATIONS[name].format_map(told).replace('|', ', ')}" for name in _STATIONS)
    axes.set(xlim=(-0.1, inches + 0.1), ylim=(-0.05, height + 0.05))
    axes.axis("off")
    for place, ((name, text), colour) in enumerate(zip(texts.items(), _COLOURS, strict=True)):
        x = place * (width + _GAP)
        looks = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": colour, "edgecolor": theme.GREY}
        axes.add_patch(FancyBboxPatch((x, 0), width, height, **looks))
        axes.text(x + 0.08, height - 0.08, name, va="top", fontsize=11, fontweight="bold")
        axes.text(x + 0.08, height - 0.36, text, va="top", fontsize=9, linespacing=1.3, parse_math=False)
        if place:
            ends = (x - _GAP + 0.02, height / 2), (x - 0.02, height / 2)
            axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=13, color=theme.INK))
    return figure


def _bulleted(lines: list[str], inches: float) -> str:
    return "\n".join("· " + wrapped(line, 9, inches=inches - 0.12).replace("\n", "\n  ") for line in lines)

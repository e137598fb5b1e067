"""How all figures look: colours, markers, sizes; and a figure that notebooks show by itself."""

import functools
import io
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import matplotlib
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dontstop.report import labels
from dontstop.runs.arms import Arm

# Okabe and Ito's colours, which readers with any colour vision distinguish.
ARM_COLOURS = {
    "base": "#555555",
    "dapt": "#0072B2",
    "not_dapt": "#D55E00",
    "tapt": "#009E73",
    "dapt_tapt": "#CC79A7",
    "transfer_tapt": "#E69F00",
    "curated_tapt": "#8C6BB1",
    "dapt_curated_tapt": "#54278F",
    "lora_dapt": "#56B4E9",
    "lora_tapt": "#A6D854",
    "embedding_tapt": "#B15928",
}
CYCLE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, INK = "#999999", "#333333"
# Shades, from few neighbours to many; and the colours of the retrieval methods that are compared.
_SHADES = {"knn_tapt": ("#66C2A4", "#238B45", "#00441B"), "rand_tapt": ("#FDAE6B", "#E6550D", "#8C2D04")}
_SELECTOR_COLOURS = {"tfidf": "#1FA2B8", "encoder": "#E7298A", "bm25": "#A6761D", "dsir": "#3F51B5"}
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.titlesize": 12,
    "svg.hashsalt": "dontstop",
}


class StudyFigure(Figure):
    """A figure that notebooks show by itself, and that pyplot knows nothing of.

    Args:
        width: In inches.
        height: In inches.
        question: What it answers, written above it.
    """

    def __init__(self, width: float, height: float, question: str, **how):
        super().__init__(figsize=(width, height), dpi=110, layout="constrained")
        FigureCanvasAgg(self)
        self.suptitle(question, x=0.01, ha="left", **how)

    def _repr_png_(self) -> bytes:
        return rendered(self, "png")


def style() -> AbstractContextManager:
    """Return a context in which figures are drawn in the study's style; the caller's comes back after it."""
    return matplotlib.rc_context(_STYLE)


def styled(draw: Callable) -> Callable:
    """Draw in the study's style, and leave the caller's as it is."""

    @functools.wraps(draw)
    def styled(*args, **kwargs):
        with style():
            return draw(*args, **kwargs)

    return styled


def rendered(figure: Figure, kind: str) -> bytes:
    """Return a figure as `png` or `svg`; equal data gives equal bytes."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, metadata={"png": {"Software": None}, "svg": {"Date": None}}[kind])
    return buffer.getvalue()


def colours(arms: Iterable[str | Arm]) -> dict[str, str]:
    """Give each arm its colour; of neighbours and of random text, the more the darker."""
    known = [labels.known_arm(arm) for arm in arms]
    found = {arm.name: ARM_COLOURS.get(arm.name, _SELECTOR_COLOURS.get(arm.selector, GREY)) for arm in known}
    for kind, shades in _SHADES.items():
        same = {arm.k: arm.name for arm in known if arm.selector is None and arm.phases and arm.phases[-1].kind == kind}
        ordered = [same[k] for k in sorted(same)]
        for place, name in enumerate(ordered):
            found[name] = shades[1 if len(ordered) == 1 else round(2 * place / (len(ordered) - 1))]
    return found


def cycle(values: Iterable) -> dict:
    """Give each of some domains, say, a colour: in turn."""
    return {value: CYCLE[place % len(CYCLE)] for place, value in enumerate(dict.fromkeys(values))}


def changes_palette():
    """Return the colours of changes: blue below zero, white at zero, orange above."""
    return seaborn.blend_palette(["#2f7fb8", "#cfe1ee", "#ffffff", "#f7dcc0", "#e08a2e"], as_cmap=True)

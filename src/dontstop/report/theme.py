"""How all figures look: colours, markers, sizes; and a figure that notebooks show by itself."""

import io
from collections.abc import Iterable

import seaborn
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dontstop.report import labels
from dontstop.runs.arms import Arm

# Okabe and Ito's colours, which readers with any colour vision distinguish.
CYCLE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Of changes: blue below zero, white at zero, orange above.
CHANGES = seaborn.blend_palette(["#2f7fb8", "#cfe1ee", "#ffffff", "#f7dcc0", "#e08a2e"], as_cmap=True)
GREY, INK = "#999999", "#333333"
ARM_COLOURS, _SELECTOR_COLOURS = (labels.names(kind, "colour") for kind in ("arm", "selector"))
# Shades, from few neighbours to many.
_SHADES = {"knn_tapt": ("#66C2A4", "#238B45", "#00441B"), "rand_tapt": ("#FDAE6B", "#E6550D", "#8C2D04")}

# A decorator: what draws does so in the study's style, and the caller's stays as it is.
styled = style.context("dontstop.report.study")


class StudyFigure(Figure):
    """A figure, so many inches wide and high, its question above it, that notebooks show and pyplot does not know."""

    DPI = 110

    def __init__(self, width: float, height: float, question: str, **how):
        super().__init__(figsize=(width, height), dpi=self.DPI, layout="constrained")
        FigureCanvasAgg(self)
        self.suptitle(question, x=0.01, ha="left", **how)

    def _repr_png_(self) -> bytes:
        return rendered(self, "png")


class WideFigure(StudyFigure):
    """A figure as wide as a notebook's column, 850 pixels, at two-fold density."""

    WIDTH, DPI = 850, 2 * StudyFigure.DPI

    def __init__(self, height: float, title: str, **how):
        super().__init__(self.WIDTH / StudyFigure.DPI, height, title, **how)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return rendered(self, "png"), {"width": self.WIDTH}


@styled
def rendered(figure: Figure, kind: str) -> bytes:
    """Return a figure as `png` or `svg`; equal data gives equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"png": {"Software": None}, "svg": {"Date": None}}[kind])
    return buffer.getvalue()


def colours(arms: Iterable[str | Arm]) -> dict[str, str]:
    """Give each arm its colour; of neighbours and of random text, the more the darker."""
    known = [labels.known_arm(arm) for arm in arms]
    found = {arm.name: ARM_COLOURS.get(arm.name, _SELECTOR_COLOURS.get(arm.selector, GREY)) for arm in known}
    for kind, shades in _SHADES.items():
        same = {arm.k: arm.name for arm in known if arm.selector is None and arm.phases and arm.phases[-1].kind == kind}
        for place, k in enumerate(sorted(same)):
            found[same[k]] = shades[1 if len(same) == 1 else round(2 * place / (len(same) - 1))]
    return found

"""How all figures look: colours, markers, sizes; and a figure that notebooks show by itself."""

import io
from collections.abc import Iterable

import seaborn
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from dontstop.design.arms import Arm
from dontstop.report import labels

# Okabe and Ito's colours, which readers with any colour vision distinguish; in grey, markers and lines tell them apart.
CYCLE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Of changes: blue below zero, white at zero, orange above.
CHANGES = seaborn.blend_palette(["#2f7fb8", "#cfe1ee", "#ffffff", "#f7dcc0", "#e08a2e"], as_cmap=True)
GREY, INK, BAND, ZERO = "#999999", "#333333", "#f4f4f4", {"color": "#555555", "linewidth": 1, "zorder": 1}
ARM_COLOURS, _SELECTOR_COLOURS = (labels.names(kind, "colour") for kind in ("arm", "selector"))
# Shades, from few neighbours to many.
_SHADES = {"knn_tapt": ("#66C2A4", "#238B45", "#00441B"), "rand_tapt": ("#FDAE6B", "#E6550D", "#8C2D04")}
_MARGIN = 0.08  # inches
_FEW = 4  # panels that a figure's description names

# A decorator: what draws does so in the study's style, and the caller's stays as it is.
styled = style.context("dontstop.report.study")


class StudyFigure(Figure):
    """A figure as wide as a notebook's column, 850 pixels, at two-fold density; pyplot does not know it.

    Args:
        height: Inches, of what is drawn below the heading.
        title: What is found.
        note: How it is read, and what the intervals are.
        question: What is asked; it stands above the title, small.
    """

    WIDTH, DPI = 850, 220
    INCHES = 2 * WIDTH / DPI

    def __init__(self, height: float, title: str, note: str = "", question: str = ""):
        parts = [(question, 9.5, "#666666", "normal"), (title, 12, "black", "bold"), (note, 9, "#555555", "normal")]
        blocks = [(wrapped(text, size, weight), size, *how, weight) for text, size, *how, weight in parts if text]
        heights = [0.0185 * size * len(text.splitlines()) + 0.05 for text, size, *_ in blocks]
        whole = height + _MARGIN + sum(heights)
        super().__init__((self.INCHES, whole), dpi=self.DPI, layout="constrained")
        FigureCanvasAgg(self)
        self._png: bytes | None = None
        self.title, self.note = title.replace("\n", " "), note
        top = whole - _MARGIN
        for (text, size, colour, weight), taken in zip(blocks, heights, strict=True):
            how = {"fontsize": size, "color": colour, "fontweight": weight, "linespacing": 1.25, "parse_math": False}
            how |= {"x": _MARGIN / self.INCHES, "y": top / whole, "ha": "left", "va": "top"}
            if weight == "bold":
                self.suptitle(text, **how)
            else:
                self.text(s=text, **how)
            top -= taken
        self.get_layout_engine().set(rect=(0, 0, 1, top / whole))

    def __repr__(self) -> str:
        return f"Figure: {self.title}"

    @property
    def alternative(self) -> str:
        """What readers have who do not see it: the title, its panels (if they are few), its axes, and the note."""
        panels = [axes.get_title("left") for axes in self.axes if len(self.axes) <= _FEW]
        sides = [label for axes in self.axes for label in (axes.get_xlabel(), axes.get_ylabel())]
        parts = (("Panels", panels), ("Axes", sides))
        named = [(what, dict.fromkeys(" ".join(text.split()) for text in some if text)) for what, some in parts]
        told = [self.title, *(f"{what}: {'; '.join(some)}" for what, some in named if some), self.note]
        return " ".join(text if text.endswith(".") else f"{text}." for text in told if text)

    def _repr_png_(self) -> tuple[bytes, dict[str, int | str]]:
        # What was drawn for its file serves, unless something of it was changed since.
        png = rendered(self, "png") if self.stale or self._png is None else self._png
        return png, {"width": self.WIDTH, "alt": self.alternative}


def wrapped(text: str, points: float, weight: str = "normal", inches: float = StudyFigure.INCHES - 0.4) -> str:
    """Break a text into lines that are as long as the width in inches has room for: a little less, as drawn."""
    font, lines = FontProperties(size=points, weight=weight), []
    for line in text.split("\n"):
        lines.append("")
        for word in line.split(" "):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            fits = text_to_path.get_text_width_height_descent(longer, font, ismath=False)[0] <= 72 * inches
            lines[-1:] = [longer] if fits or not lines[-1] else [lines[-1], word]
    return "\n".join(lines)


@styled
def rendered(figure: Figure, kind: str) -> bytes:
    """Return a figure as `png` or `svg`; equal data gives equal bytes. What it shows is told in the file too."""
    buffer, without = io.BytesIO(), {"png": "Software", "svg": "Date"}[kind]
    told = {"Title": getattr(figure, "title", ""), "Description": getattr(figure, "alternative", "")}
    figure.savefig(buffer, format=kind, metadata=told | {without: None})
    if kind == "png":
        figure._png, figure.stale = buffer.getvalue(), False
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

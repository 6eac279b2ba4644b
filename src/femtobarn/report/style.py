"""The look of all figures: one colour and line for each model, one for each process, readable without colour too."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator

from femtobarn.events.names import is_printable

#: Told apart with every common colour blindness: Petroff, arXiv:2107.02270.
MODEL_COLORS = (
    "#3f90da", "#bd1f01", "#832db6", "#e76300", "#a96b59", "#ffa90e", "#717581", "#92dadd", "#b9ac70", "#94a4a2",
)  # fmt: skip
#: The same ones, for kinds of models; shades of neighbours stay apart.
FAMILY_COLORS = (
    "#3f90da", "#bd1f01", "#717581", "#832db6", "#ffa90e", "#a96b59", "#92dadd", "#e76300", "#b9ac70", "#94a4a2",
)  # fmt: skip
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1.5, 1.2)), (0, (8, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*")

#: Okabe and Ito, jfly.uni-koeln.de/color; the signal takes the first.
PROCESS_COLORS = ("#000000", "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
PROCESS_DASHES: tuple[Any, ...] = ("-", *DASHES[1:], (0, (3, 1, 1, 1)))

#: With more models than this, curves are drawn without their bands, and several panels stand in a row.
MANY = 8

#: Width of the page in inches, at which text of the figures and of the page have the same size.
WIDTH = 10.0

RC: Any = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.linewidth": 0.8,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.6,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "mathtext.fontset": "dejavusans",
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.fonttype": "path",
    "svg.hashsalt": "femtobarn",
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True)
class PlotStyle:
    """How one model or process is drawn, in every figure."""

    color: str
    dash: Any
    marker: str


@dataclass(frozen=True, eq=False)
class FigureEntry:
    """A figure of the report.

    Args:
        name: of its file.
        title: heading above it.
        caption: what it shows, for someone who sees such a figure for the first time.
        figure: the drawing.
    """

    name: str
    title: str
    caption: str
    figure: Figure

    @property
    def inline(self) -> str:
        """The drawing as a data URI, so that the page needs no other file."""
        buffer = io.BytesIO()
        with mpl.rc_context(RC):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None})
        return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()

    @property
    def width(self) -> float:
        """Width on the page, in percent, at which its text is as large as that of the other figures."""
        return min(100.0, 100 * self.figure.get_figwidth() / WIDTH)

    def html(self) -> Markup:
        """The figure as an HTML element, with its heading and caption."""
        return Markup(
            '<figure id="figure-{name}">\n<h3>{title}</h3>\n'
            '<img style="width: {width:.0f}%" src="{source}" alt="{title}. {caption}">\n'
            "<figcaption>{caption}</figcaption>\n</figure>"
        ).format(name=self.name, title=self.title, width=self.width, source=self.inline, caption=self.caption)

    def save(self, folder: Path) -> None:
        """Writes the drawing as PDF and PNG."""
        folder.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context(RC):
            self.figure.savefig(folder / f"{self.name}.pdf", metadata={"CreationDate": None})
            self.figure.savefig(folder / f"{self.name}.png")


def model_styles(labels: Sequence[str], families: Sequence[str] | None = None) -> dict[str, PlotStyle]:
    """One look a model, all different up to fifty of them.

    Args:
        labels: of the models.
        families: what kind of model each is; if there are several kinds with several models, each kind has a colour,
            and its models go from light to dark.
    """
    if families is not None and 1 < len(set(families)) < len(labels):
        return _family_styles(labels, families)
    return {
        label: PlotStyle(
            MODEL_COLORS[index % len(MODEL_COLORS)],
            DASHES[(index + index // len(MODEL_COLORS)) % len(DASHES)],
            MARKERS[index % len(MARKERS)],
        )
        for index, label in enumerate(labels)
    }


def _family_styles(labels: Sequence[str], families: Sequence[str]) -> dict[str, PlotStyle]:
    sizes = Counter(families)
    kinds = [family for family, _ in sizes.most_common()]  # those of many models have the colours that differ most
    colors = {family: FAMILY_COLORS[place % len(FAMILY_COLORS)] for place, family in enumerate(kinds)}
    met: Counter[str] = Counter()
    styles = {}
    for label, family in zip(labels, families, strict=True):
        place, count = met[family], sizes[family]
        met[family] += 1
        shade = 0.0 if count == 1 else 0.45 - 0.95 * place / (count - 1)
        # kinds beyond the number of colours take those of the first ones with other lines and marks
        turn = place + 2 * (kinds.index(family) // len(FAMILY_COLORS))
        dash, marker = DASHES[turn % len(DASHES)], MARKERS[turn % len(MARKERS)]
        styles[label] = PlotStyle(mix_color(colors[family], shade), dash, marker)
    return styles


def literal(name: str, max_length: int = 30) -> str:
    """The name of a process or model as text of a figure: no mathematics, no control characters, never long.

    Args:
        name: any text, such as `$x^$` or `_a`; as it is, matplotlib would take the first for a formula and leave the
            second out of a legend.
        max_length: maximum number of characters; an ellipsis replaces the rest.

    Example:
        >>> literal("$x^$"), literal("_a")
        ('\\\\$x^\\\\$', ' _a')
    """
    text = "".join(letter if is_printable(letter) else "\N{REPLACEMENT CHARACTER}" for letter in name)
    text = text if len(text) <= max_length else f"{text[: max_length - 1]}…"
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def mix_color(color: str, by: float) -> str:
    """A colour mixed with black (by < 0) or white (by > 0)."""
    target = 1.0 if by > 0 else 0.0
    red, green, blue = ((1 - abs(by)) * part + abs(by) * target for part in to_rgb(color))
    return to_hex((red, green, blue))


def process_styles(names: Sequence[str]) -> dict[str, PlotStyle]:
    """One look a process; the first is the signal."""
    return {
        name: PlotStyle(
            PROCESS_COLORS[index % len(PROCESS_COLORS)],
            PROCESS_DASHES[(index + index // len(PROCESS_COLORS)) % len(PROCESS_DASHES)],
            MARKERS[index % len(MARKERS)],
        )
        for index, name in enumerate(names)
    }


def panels(count: int, *, columns: int = 3, height: float = 2.5, share: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of small panels; a lone one is not blown up to the width of the page."""
    columns = min(columns, max(count, 1))
    rows = -(-count // columns)
    figure = Figure(
        figsize=(WIDTH if columns > 1 else 0.5 * WIDTH, height * rows + 0.5),
        # labels of a panel with none below it take no part in the layout (`label_edges`): leave them room on the right
        layout=ConstrainedLayoutEngine(wspace=0.06, rect=(0, 0, 0.98 if count % columns else 1, 1)),
    )
    grid = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def label_edges(grid: Sequence[Axes], x: str, y: str, *, columns: int = 3) -> None:
    """Labels below the last panel of each column and left of each row, where panels share their axes."""
    for index, axes in enumerate(grid):
        last = index + columns >= len(grid)
        if last and index // columns < (len(grid) - 1) // columns:
            axes.xaxis.set_in_layout(False)  # there is no panel below: its labels need no room between the rows
        axes.set_xlabel(x if last else "")
        axes.set_ylabel(y if index % columns == 0 else "")
        axes.xaxis.set_tick_params(labelbottom=last)


def plain_log(axes: Axes) -> None:
    """A logarithmic axis upwards with plain numbers: 20, 50, 100."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
    axes.grid(visible=True, which="minor", axis="y")


def subscripts(heading: str) -> str:
    """The heading of a table as the label of an axis, with the letter of ε_B below the line."""
    return re.sub(r"ε_([A-Z])", r"ε$_\1$", heading)


def legend_below(figure: Figure, axes: Axes, *, columns: int = 4) -> None:
    """One legend for all panels, under them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, max(len(labels), 1)))

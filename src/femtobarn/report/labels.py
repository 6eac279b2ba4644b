"""Labels: names beside the points of a figure, none upon another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray

from femtobarn.report.style import literal

#: Boxes as rows of left, lower, right and upper edge, in points.
Boxes = NDArray[np.float64]

#: Directions and distances that are tried, in degrees and points.
ANGLES = np.array([0, 180, 90, 270, 45, 135, 315, 225, 22, 158, 338, 202])
REACHES = np.array([7, 12, 18, 26, 36, 48, 62])

#: A label farther away than this is tied to its point by a line.
NEAR = 13.0

#: Half the size of a mark, in points.
MARK = 4.5

#: What a point of distance, and a line through another mark or name, are worth in covered square points.
FAR, THROUGH = 1.5, 60.0


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float, float]],
    names: Sequence[str],
    colors: Sequence[str],
    *,
    size: float = 8,
) -> None:
    """Writes a name at each point where it covers no other name, no point and hardly a bar.

    Names are set one by one, the most crowded points first, each where it covers least and is nearest to its point.

    Args:
        axes: with their final limits.
        points: x, y and the error of y.
        names: of the points.
        colors: of the names.
        size: of the letters.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # the layout engine moves the axes once: no place is known before
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    scale = figure.dpi / 72
    x, y, error = np.array(points, dtype=np.float64).T
    at, low, high = (
        axes.transData.transform(np.stack([x, values], axis=1)) / scale for values in (y, y - error, y + error)
    )
    marks = np.concatenate([at - MARK, at + MARK], axis=1)
    aside = np.array([1.0, 0.0])
    bars = np.concatenate([low - aside, high + aside], axis=1)
    frame = np.array([axes.get_window_extent(renderer).extents]) / scale
    taken: Boxes = np.empty((0, 4))
    distance = np.linalg.norm(at[:, None] - at[None], axis=-1)
    for place in np.argsort(-(1 / (1 + distance)).sum(axis=1), kind="stable"):
        text = axes.annotate(
            literal(names[place]), (x[place], y[place]), xytext=(0, 0), textcoords="offset points", fontsize=size,
            va="bottom", color=colors[place],
            arrowprops={"arrowstyle": "-", "color": colors[place], "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
        )  # fmt: skip
        corners, reach = _corners(text.get_window_extent(renderer).width / scale, size * 1.25)
        boxes = corners + np.tile(at[place], 2)
        solid = np.concatenate([np.delete(marks, place, axis=0), taken])
        covered = _shared(boxes, np.concatenate([solid, bars])).sum(axis=1)
        outside = _area(boxes) - _shared(boxes, frame)[:, 0]
        crossed = np.where(reach > NEAR, _crossed(at[place], boxes, solid), 0)
        best = int(np.argmin(covered + outside + FAR * reach + THROUGH * crossed))
        taken = np.concatenate([taken, boxes[best : best + 1]])
        text.set_position((corners[best, 0], corners[best, 1]))
        assert text.arrow_patch is not None
        text.arrow_patch.set_visible(bool(reach[best] > NEAR))


def _corners(width: float, height: float) -> tuple[Boxes, NDArray[np.float64]]:
    """Boxes of a label around the origin, one for each distance and direction, and their distances."""
    reach, angle = (grid.ravel().astype(np.float64) for grid in np.meshgrid(REACHES, np.radians(ANGLES), indexing="ij"))
    along, up = np.cos(angle), np.sin(angle)
    left = along * reach + np.select([along > 0.1, along < -0.1], [0.0, -width], -width / 2)
    lower = up * reach + np.select([up > 0.5, up < -0.5], [0.0, -height], -height / 2)
    return np.stack([left, lower, left + width, lower + height], axis=1), reach


def _area(boxes: Boxes) -> NDArray[np.float64]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _shared(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """The area that each box shares with each of the others."""
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    return np.asarray(np.maximum(sides, 0).prod(axis=-1))


def _crossed(point: NDArray[np.float64], labels: Boxes, others: Boxes) -> NDArray[np.int64]:
    """Through how many other boxes the line from a point to the middle of each label runs."""
    middle = (labels[:, :2] + labels[:, 2:]) / 2
    steps = point + np.linspace(0.05, 0.95, 19)[None, :, None] * (middle - point)[:, None]
    own = np.asarray(((steps >= labels[:, None, :2]) & (steps <= labels[:, None, 2:])).all(axis=-1))
    inside = ((steps[:, :, None] >= others[:, :2]) & (steps[:, :, None] <= others[:, 2:])).all(axis=-1)
    return np.asarray((inside & ~own[..., None]).any(axis=1).sum(axis=1))

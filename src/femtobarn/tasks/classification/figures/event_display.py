"""Event display: single events, unrolled in pseudorapidity and azimuth, and seen along the beam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from femtobarn.events import Events
from femtobarn.physics import objects
from femtobarn.report.style import WIDTH, literal
from femtobarn.tasks.classification.scores import Scores


@dataclass(frozen=True)
class MarkerStyle:
    """How an object type is drawn; types of one family share the colour, charges differ by the triangle."""

    color: str
    marker: str


MARKER_STYLES = {
    objects.JET: MarkerStyle("#717581", "o"),
    objects.BJET: MarkerStyle("#0072b2", "s"),
    objects.ELECTRON: MarkerStyle("#d55e00", "v"),
    objects.POSITRON: MarkerStyle("#d55e00", "^"),
    objects.MUON: MarkerStyle("#009e73", "v"),
    objects.ANTIMUON: MarkerStyle("#009e73", "^"),
    objects.PHOTON: MarkerStyle("#e69f00", "*"),
}
MET = "#000000"


@dataclass(frozen=True)
class EventChoice:
    """An event worth looking at: where it stands among the scores and why it was chosen."""

    index: int
    reason: str


def choose(scores: Scores) -> list[EventChoice]:
    """The most signal-like signal, the most signal-like background and a typical background event."""
    signal, background = np.flatnonzero(scores.is_signal), np.flatnonzero(~scores.is_signal)
    ranked = background[np.argsort(scores.score[background], kind="stable")]
    return [
        EventChoice(int(signal[scores.score[signal].argmax()]), "the most signal-like signal"),
        EventChoice(int(ranked[-1]), "the most signal-like background"),
        EventChoice(int(ranked[len(ranked) // 2]), "a typical background event"),
    ]


def draw_events(scores: Scores, events: Events) -> Figure:
    """Three events that tell what the model looks for.

    Raises:
        ValueError: the events chosen by their scores are not among `events`.
    """
    chosen = choose(scores)
    places = [_find(events, str(scores.process[choice.index]), int(scores.number[choice.index])) for choice in chosen]
    displayed = events[np.array(places)]
    figure = Figure(figsize=(WIDTH, 7.0), layout="constrained")
    maps, views = figure.subplots(2, len(chosen), height_ratios=[1, 1.05])
    for column, choice in enumerate(chosen):
        process, number, score = (column_[choice.index] for column_ in (scores.process, scores.number, scores.score))
        _map(maps[column], displayed, column)
        maps[column].set_title(f"{choice.reason}\n{literal(str(process))} {number}, score {score:.3f}", fontsize=9.5)
        _view(views[column], displayed, column)
    _legend(figure, displayed)
    return figure


def _find(events: Events, process: str, number: int) -> int:
    places = np.flatnonzero((events.process == process) & (events.number == number))
    if places.size != 1:
        raise ValueError(f"event {number} of {process} is {places.size} times among the {len(events)} events given")
    return int(places[0])


def _map(axes: Axes, events: Events, index: int) -> None:
    shown = events.padded()
    real = shown.mask[index]
    for kind, drawn in MARKER_STYLES.items():
        of_kind = real & (shown.kind[index] == kind)
        axes.scatter(
            shown.eta[index, of_kind],
            shown.phi[index, of_kind],
            s=12 + 1.6 * shown.pt[index, of_kind],
            marker=drawn.marker,
            color=drawn.color,
            alpha=0.75,
            edgecolor="white",
            linewidth=0.6,
        )
    phi = float(events.context["phi_MET"][index])
    axes.axhline(phi, color=MET, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.set(xlim=(-3, 3), ylim=(-1.1 * np.pi, 1.1 * np.pi), xlabel=r"pseudorapidity $\eta$", ylabel=r"azimuth $\phi$")
    axes.set_yticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])
    if index:
        axes.set_ylabel("")


def _view(axes: Axes, events: Events, index: int) -> None:
    shown = events.padded()
    real = shown.mask[index]
    met = float(events.context["MET"][index])
    phi = float(events.context["phi_MET"][index])
    reach = max(float(shown.pt[index, real].max(initial=0.0)), met, 1.0)
    for place in np.flatnonzero(real):
        drawn = MARKER_STYLES[int(shown.kind[index, place])]
        x, y = (shown.pt[index, place] * turn(shown.phi[index, place]) for turn in (np.cos, np.sin))
        axes.plot([0, x], [0, y], color=drawn.color, linewidth=2.2, solid_capstyle="round", alpha=0.85)
        axes.plot(x, y, marker=drawn.marker, color=drawn.color, markersize=7, markeredgecolor="white")
    axes.annotate(
        "",
        xy=(met * np.cos(phi), met * np.sin(phi)),
        xytext=(0, 0),
        arrowprops={"arrowstyle": "-|>", "color": MET, "linestyle": (0, (4, 2)), "linewidth": 1.4},
    )
    limit = 1.15 * reach
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel=r"$p_x$ [GeV]", ylabel=r"$p_y$ [GeV]", aspect="equal")
    if index:
        axes.set_ylabel("")
    axes.text(
        0.02, 0.98, f"$H_T$ = {_scalar_sum(events, index):.0f} GeV\nMET = {met:.0f} GeV", transform=axes.transAxes,
        va="top", fontsize=8.5, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )  # fmt: skip


def _scalar_sum(events: Events, index: int) -> float:
    shown = events.padded()
    counted = shown.mask[index] & (shown.kind[index] != objects.PHOTON)
    return float(shown.pt[index, counted].sum())


def _legend(figure: Figure, events: Events) -> None:
    shown = events.padded()
    present: Sequence[int] = [kind for kind in MARKER_STYLES if (shown.kind[shown.mask] == kind).any()]
    handles = [
        Line2D(
            [],
            [],
            marker=MARKER_STYLES[kind].marker,
            color=MARKER_STYLES[kind].color,
            linestyle="none",
            label=objects.NAMES[kind],
        )
        for kind in present
    ]
    handles.append(Line2D([], [], color=MET, linestyle=(0, (4, 2)), label="missing transverse momentum (MET)"))
    for pt in (50, 200):
        size = float(np.sqrt(12 + 1.6 * pt))
        handles.append(
            Line2D([], [], marker="o", color="#bbbbbb", linestyle="none", markersize=size, label=f"$p_T$ = {pt} GeV")
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))

"""Looks: figures of what the models look at, from the explain.json of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from femtobarn.events.storage.checksums import read_checked_json
from femtobarn.explain import EXPLAIN, MIXTURE
from femtobarn.explain.show import contrasted, merged
from femtobarn.report.style import WIDTH, FigureEntry, PlotStyle, literal, process_styles
from femtobarn.report.text import listing
from femtobarn.tasks.classification.comparison import Comparison, ModelResult
from femtobarn.tasks.classification.metrics import AUC

#: Columns of boosted trees that are drawn, those with the largest contributions.
COLUMNS = 20

#: What all figures of this section are called, before a name of their own.
PREFIX = "look_"

Found = Mapping[str, Any]


def read_attributions(rows: Sequence[ModelResult]) -> dict[str, Found]:
    """What `femtobarn explain` wrote for each model: of its first training that has it."""
    attributions = {}
    for row in rows:
        path = next((run.path / EXPLAIN for run in row.runs if (run.path / EXPLAIN).is_file()), None)
        if path is not None:
            attributions[row.label] = read_checked_json(path, "delete it and run `femtobarn explain` again").content
    return attributions


def draw_attributions(comparison: Comparison, rows: Sequence[ModelResult]) -> list[FigureEntry]:
    """Figures of what the models look at, as far as their runs were explained; of the best where one will do."""
    attributions = read_attributions(rows)
    styles = process_styles((*comparison.signal, *comparison.backgrounds))
    styles[MIXTURE] = PlotStyle("#888888", "-", "s")
    area = {row.label: row.measurements[AUC].value or 0.0 for row in rows}
    best = sorted(attributions, key=lambda label: -area[label])
    entries = []
    for label in (label for label in best if "relevance" in attributions[label]):
        entries.append(_relevance(label, attributions[label], styles))
        break
    networks = {label: attributions[label] for label in attributions if "gradient" in attributions[label]}
    if networks:
        entries.append(_features(networks))
    for label in (label for label in best if "attention" in attributions[label]):
        entries.append(_attention(label, attributions[label]))
        break
    with_u = [label for label in best if "bias" in attributions[label]]
    with_u.sort(key=lambda label: not attributions[label]["bias"]["couplings"])
    for label in with_u[:1]:
        entries.append(_bias(label, attributions[label]))
    for label in (label for label in best if "contributions" in attributions[label]):
        entries.append(_columns(label, attributions[label], styles))
        break
    return entries


def _relevance(label: str, attribution: Found, styles: Mapping[str, PlotStyle]) -> FigureEntry:
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    method = attribution["relevance"]
    groups = [group for group in method["type"] if group != MIXTURE]
    _points(left, method["type"], groups, styles, "mean", "error", across=True)
    left.axvline(0, color="black", linewidth=0.8)
    left.set(xlabel="relevance of one object (log odds of signal)", title="By type")
    ranks = {group: {name: entry for name, entry in method["rank"][group].items() if entry["mean"] is not None}
             for group in groups}  # fmt: skip
    longest = max(ranks.values(), key=len)
    _points(right, {group: {name: method["rank"][group][name] for name in longest} for group in groups}, groups, styles,
            "mean", "error", across=False)  # fmt: skip
    right.axhline(0, color="black", linewidth=0.8)
    right.set(xlabel="rank of the object in transverse momentum", ylabel="relevance of the object", title="By rank")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    sums = method["sums"][groups[0]]
    constants = sums["constants"]["mean"] / sums["explained"]["mean"] if sums["explained"]["mean"] else 0.0
    return FigureEntry(
        PREFIX + "relevance",
        f"Relevance of objects for {label}",
        "Layer-wise relevance propagation shares the answer of the network out to its inputs: positive is towards "
        f"{listing(attribution['signal'])}, negative towards background. Nothing is lost on the way "
        f"(event by event within a relative {method['lost']:.0e}); {_format_value(100 * constants, '.0f')} % of the "
        f"answer to {groups[0]} events come from constants of the network and belong to no object. Gamma rule with "
        f"γ = {method['gamma']:g}; bars are statistical errors of the mean.",
        figure,
    )  # fmt: skip


def _features(attributions: Mapping[str, Found]) -> FigureEntry:
    shares, errors = {}, []
    names: list[str] = []
    for label, attribution in attributions.items():
        entries = merged(attribution["gradient"])
        group = contrasted(attribution, entries)[0]
        shares[label] = {name: 100 * (entry["share"] or 0.0) for name, entry in entries[group].items()}
        errors += [100 * (entry["share_error"] or 0.0) for entry in entries[group].values()]
        names += [name for name in shares[label] if name not in names]
    values = np.array([[shares[label].get(name) or np.nan for label in attributions] for name in names])
    figure = Figure(figsize=(min(WIDTH, 2.2 + 0.95 * len(attributions)), 1.2 + 0.27 * len(names)), layout="constrained")
    axes = figure.subplots()
    cells(axes, values, None, names, list(attributions), "Blues", Normalize(0, _largest(values)), ".1f")
    if len(attributions) > 4:
        axes.set_xticks(
            range(len(attributions)), list(map(literal, attributions)), rotation=40, ha="right", rotation_mode="anchor"
        )
    first = next(iter(attributions.values()))
    return FigureEntry(
        PREFIX + "features",
        "Shares of the features",
        f"Gradient x input for {first['signal'][0]} events, in percent of the sum of all absolute values (statistical "
        f"errors are {max(errors):.1g} or less): to first order, how far each feature moves the log odds from where "
        "its average would leave them. Features of all objects and of all pairs are added up. Shares of models with "
        "different inputs add up to 100 each, so that pairs take from the others what they explain instead. "
        "Empty: the model does not get this feature, or not as a number "
        "(a fully connected network knows the type of an object from its slot).",
        figure,
    )


def _attention(label: str, attribution: Found) -> FigureEntry:
    attention = attribution["attention"]
    types = list(attention["types"])
    groups = contrasted(attribution, next(entry for name, entry in attention.items() if name in ("objects", "readout")))
    values, errors, names = [], [], list(types)
    for group in groups:
        columns = [np.array(attention["objects"][group]["values"], dtype=float)] if "objects" in attention else []
        spread = [np.array(attention["objects"][group]["errors"], dtype=float)] if "objects" in attention else []
        for extra in ("itself", "readout"):
            if extra in attention:
                columns.append(np.array([[attention[extra][group][name]["mean"]] for name in types], dtype=float))
                spread.append(np.array([[attention[extra][group][name]["error"]] for name in types], dtype=float))
        values.append(np.concatenate(columns, axis=1))
        errors.append(np.concatenate(spread, axis=1))
    names = [*(types if "objects" in attention else []), *(["itself"] if "itself" in attention else []),
             *(["read"] if "readout" in attention else [])]  # fmt: skip
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    norm = TwoSlopeNorm(1.0, 0.0, max(1.1, *map(_largest, values)))
    for axes, group, value, error in zip(
        figure.subplots(1, len(groups), squeeze=False)[0], groups, values, errors, strict=True
    ):
        cells(axes, value, error, types, names, "PuOr", norm, ".2f")
        axes.set(title=literal(group), ylabel="object that looks")
        axes.set_xlabel("object that is looked at")
        axes.axvline(len(types) - 0.5, color="white", linewidth=4)
    return FigureEntry(
        PREFIX + "attention",
        f"Who looks at whom in {label}",
        "Attention weights, averaged over layers, heads, events and pairs of these types, in units of what an object "
        "gives to each if it looks at all alike: above 1 is more, below 1 less. “itself”: what an object of the type "
        "gives to itself"
        + (", “read”: what it gets where the event is read out for the answer" if "readout" in attention else "")
        + ". Small: statistical errors, where they are not below 0.005. "
        "Attention says where a network styles, not what it makes of it.",
        figure,
    )


def _bias(label: str, attribution: Found) -> FigureEntry:
    bias = attribution["bias"]
    types = list(bias["types"])
    group = contrasted(attribution, bias["mean"])[0]
    mean = {key: np.array(bias["mean"][group][key], dtype=float) for key in ("values", "errors")}
    panels: list[tuple[str, NDArray[np.float64], NDArray[np.float64] | None]]
    panels = [("mean of U over heads", mean["values"], mean["errors"])]
    heads = [np.array(head[group], dtype=float) for head in bias["heads"]]
    for name, matrices in bias["couplings"].items():
        coupling = np.array(matrices[group]["values"], dtype=float)
        alike = [_correlation(head, coupling) for head in heads]
        chosen = int(np.argmax(np.abs(alike)))
        panels.append(
            (f"U of head {chosen + 1} (correlation {_format_value(alike[chosen], '+.2f')})", heads[chosen], None)
        )
        panels.append((f"Standard Model, {name}", coupling, None))
        break
    figure = Figure(figsize=(WIDTH if len(panels) > 1 else 0.5 * WIDTH, 3.6), layout="constrained")
    for number, (axes, (title, values, errors)) in enumerate(
        zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True)
    ):
        reach = _largest(values) or 1.0
        cells(axes, values, errors, types, types, "RdBu_r", Normalize(-reach, reach), ".2f")
        axes.set_title(title)
        if number:
            axes.set_yticklabels([])
    return FigureEntry(
        PREFIX + "u",
        f"What {label} has learned about pairs",
        f"U is what the pair of objects adds to the attention before it is normalised; here its average over {group} "
        "events by types of the pair, with statistical errors (small, where not below 0.005). "
        "Within a row only differences matter."
        + (
            " Beside it the head whose U goes most, up or down, with the Standard Model couplings of the same pairs "
            "(correlation over pairs of types), and these couplings as the network is given them."
            if len(panels) > 1
            else ""
        ),
        figure,
    )


def _columns(label: str, attribution: Found, styles: Mapping[str, PlotStyle]) -> FigureEntry:
    method = attribution["contributions"]
    groups = contrasted(attribution, method["column"])
    leading = sorted(method["column"][groups[0]], key=lambda name: -(method["column"][groups[0]][name]["share"] or 0))
    chosen = leading[:COLUMNS]
    figure = Figure(figsize=(WIDTH, 1.4 + 0.22 * len(chosen)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    leading_columns = {group: {name: method["column"][group][name] for name in chosen} for group in groups}
    _points(left, leading_columns, groups, styles, "share", "share_error", across=True, scale=100.0)
    gains = [100 * method["gain"][name] for name in chosen]
    left.plot(gains, range(len(chosen)), marker="x", color="#bd1f01", linestyle="none", label="gain in training")
    left.set(xlabel="share in %", title="How much", xlim=(0, None))
    _points(right, leading_columns, groups, styles, "mean", "error", across=True)
    right.axvline(0, color="black", linewidth=0.8)
    right.set(xlabel="mean contribution to the log odds of signal", title="In which direction")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return FigureEntry(
        PREFIX + "columns",
        f"Columns that {label} decides by",
        f"The {len(chosen)} columns with the largest contributions (Shapley values) to the answer for {groups[0]} "
        "events; contributions of all columns and a constant sum to the output of the trees, event by event within a "
        f"relative {method['lost']:.0e}. Crosses: share of the loss that splits on the column saved in training. Bars "
        "are statistical errors.",
        figure,
    )


def cells(
    axes: Axes,
    values: NDArray[np.float64],
    errors: NDArray[np.float64] | None,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: str,
    norm: Normalize,
    digits: str,
) -> None:
    """A coloured table with its values, and their errors in small print; empty where there is no number."""
    image = axes.imshow(values, cmap=colours, norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        red, green, blue, _ = image.cmap(float(norm(value)))
        ink = "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 else "black"
        text: dict[str, Any] = {"ha": "center", "color": ink}
        if errors is None:
            axes.text(column, row, _format_value(value, digits), va="center", fontsize=7.5, **text)
        else:
            axes.text(column, row + 0.05, _format_value(value, digits), va="bottom", fontsize=7.5, **text)
            error = _format_value(float(errors[row, column]), digits)
            if float(error):  # "±0.00" would claim too much
                axes.text(column, row + 0.1, f"±{error}", va="top", fontsize=5.5, **text)
    axes.set_xticks(range(len(columns)), list(map(literal, columns)))
    axes.set_yticks(range(len(rows)), list(map(literal, rows)))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _largest(values: NDArray[np.float64]) -> float:
    """The largest absolute value there is, 0 if there is none."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _format_value(value: float, digits: str) -> str:
    return f"{value:{digits}}".replace("-", "\N{MINUS SIGN}")


def _points(
    axes: Axes,
    entries: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    groups: Sequence[str],
    styles: Mapping[str, PlotStyle],
    key: str,
    error: str,
    *,
    across: bool,
    scale: float = 1.0,
) -> None:
    """A point with its error for each name and group of events, names down the side (`across`) or along the bottom."""
    names = list(entries[groups[0]])
    for number, group in enumerate(groups):
        place = np.arange(len(names)) + (number - (len(groups) - 1) / 2) * 0.7 / len(groups)
        columns = [[entries[group][name][which] for name in names] for which in (key, error)]
        value, spread = scale * np.array(columns, dtype=float)
        style = styles[group]
        axes.errorbar(
            *((value, place) if across else (place, value)),
            **{"xerr" if across else "yerr": spread},
            color=style.color,
            marker=style.marker,
            markersize=4,
            linestyle="none",
            elinewidth=1.2,
            label=literal(group),
        )
    (axes.set_yticks if across else axes.set_xticks)(range(len(names)), list(map(literal, names)))
    if across:
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        for line in range(1, len(names)):
            axes.axhline(line - 0.5, color="#eeeeee", linewidth=0.6)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3 or not (first[both].std() > 0 and second[both].std() > 0):
        return 0.0
    return float(np.corrcoef(first[both], second[both])[0, 1])

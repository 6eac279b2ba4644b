"""Sections: which numbers of a comparison stand in which table, and what they are called there."""

from __future__ import annotations

from collections.abc import Sequence

from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.tables import Column, Section
from femtobarn.tasks.classification import tagging
from femtobarn.tasks.classification.comparison import Comparison
from femtobarn.tasks.classification.metrics import AUC, BEST


def percent(point: str) -> str:
    """A working point as people say it: 30 %, 99.5 %."""
    return f"{100 * float(point):g} %"


def main_sections(comparison: Comparison) -> list[Section]:
    """All backgrounds together: for collision events separation, significance and luminosity, for jets tagging."""
    if comparison.settings.tagging:
        return [_overview(comparison), *_classes(comparison)]
    settings = comparison.settings
    kinds = (("plain", "s/√b"), ("systematic", f"δ = {settings.systematic:g}"))

    def columns(name: str) -> tuple[Column, ...]:
        return tuple(
            Column(Metric(name, kind, at=point), f"{text}, ε_S = {percent(point)}")
            for point in comparison.points
            for kind, text in kinds
        )

    sections_ = [
        _overview(comparison),
        Section(f"Significance at {settings.luminosity:g}/fb, in standard deviations", columns("significance")),
    ]
    if len(comparison.rows) > 1:
        title = f"Luminosity that {comparison.baseline} needs to match each model, in units of its own"
        note = "With a systematic uncertainty the ratio is a convention: no luminosity makes up for δ."
        sections_.append(Section(title, columns("gain"), note))
    return sections_


def sections(comparison: Comparison) -> tuple[Section, ...]:
    """The tables of a comparison: the main ones, the fit, then each background."""
    fit = [] if comparison.settings.tagging else [fit_section(comparison)]
    return (*main_sections(comparison), *fit, *background_sections(comparison))


def _overview(comparison: Comparison) -> Section:
    signal = " + ".join(comparison.signal)
    columns = [Column(AUC, "AUC")]
    if comparison.settings.tagging:
        columns = [Column(Metric("accuracy", "total"), "accuracy"), *columns]
        columns += [Column(Metric("rejection", "total", at=point), _rejection(point)) for point in comparison.points]
        others = " + ".join(comparison.backgrounds)
        return Section(f"{signal} against {others}", tuple(columns))
    columns += [
        Column(Metric("background_efficiency", "total", at=point), f"ε_B at ε_S = {percent(point)}")
        for point in comparison.points
    ]
    return Section(f"{signal} against all backgrounds", tuple(columns))


def _rejection(point: str) -> str:
    return f"1/ε_B at ε_S = {percent(point)}"


def _classes(comparison: Comparison) -> list[Section]:
    """The metrics of JetClass, where every process is a class."""
    if Metric("pair_auc", "mean") not in comparison.rows[0].measurements:
        return []
    both = (
        Column(Metric("accuracy", "total"), "accuracy"),
        Column(Metric("pair_auc", "mean"), "AUC, mean over pairs of classes"),
    )
    sections_ = [Section("All classes", both)]
    for background in comparison.backgrounds:
        columns = [
            Column(
                Metric("class_rejection", background, at=name),
                f"{name}, ε_S = {percent(str(tagging.working_point(name, comparison.settings)))}",
            )
            for name in comparison.signal
        ]
        title = f"1/ε_B of {background} for each class X, by P_X/(P_X + P_{background})"
        sections_.append(Section(title, tuple(columns)))
    return sections_


def fit_section(comparison: Comparison) -> Section:
    """Asimov significances of a counting experiment beside those of a fit, where all runs have been fitted."""
    settings = comparison.settings
    columns = [
        Column(Metric("significance", "asimov_systematic", at=point), f"counting, ε_S = {percent(point)}")
        for point in comparison.points
    ]
    columns.append(Column(BEST, "counting, best cut"))
    if comparison.fitted:
        columns += [
            Column(Metric("fit", "discovery"), "fit to the score"),
            Column(Metric("fit", "limit"), "95 % CLs limit on μ"),
        ]
    title = f"Expected discovery significance at {settings.luminosity:g}/fb, δ = {settings.systematic:g}"
    return Section(title, tuple(columns))


def background_sections(comparison: Comparison) -> list[Section]:
    """AUC and efficiency, or rejection, of each background on its own; nothing for taggers of a single one."""
    names = comparison.backgrounds
    if comparison.settings.tagging and len(names) == 1:
        return []
    which, title = "background_efficiency", "Background efficiency"
    if comparison.settings.tagging:
        which, title = "rejection", "Rejection 1/ε_B of each background"
    return [
        Section("AUC against each background", tuple(Column(Metric("auc", name), name) for name in names)),
        *(
            Section(
                f"{title} at ε_S = {percent(point)}",
                tuple(Column(Metric(which, name, at=point), name) for name in names),
            )
            for point in comparison.points
        ),
    ]


def growth_columns(comparison: Comparison) -> Sequence[Column]:
    """What is shown against the size of the training set: the area, for taggers a rejection too."""
    columns = [Column(AUC, "AUC")]
    if comparison.settings.tagging:
        point = comparison.points[-1]
        columns.append(Column(Metric("rejection", "total", at=point), _rejection(point)))
    return columns

"""Terms that the page of a comparison of classifiers uses."""

from __future__ import annotations

from markupsafe import Markup

from femtobarn.tasks.classification.comparison import Comparison

_SIGNIFICANCE = (
    (
        "significance",
        "s/√b, with s and b the expected signal and background events after the cut at {luminosity:g} fb⁻¹: the signal "
        "in units of the fluctuations of the background. With a relative systematic uncertainty δ on the background, "
        "s/√(b + (bδ)²); here δ = {systematic:g}.",
    ),
    (
        "Asimov significance, Z<sub>A</sub>",
        "The median significance of many repeated experiments, from data in which every count equals its expectation "
        "(arXiv:1007.1727). It holds for few events too, where s/√b is too large.",
    ),
    (
        "luminosity, fb⁻¹",
        "The number of collisions, in inverse femtobarns: a process of 1 fb has one event in 1 fb⁻¹. s/√b grows with "
        "its square root, so a model with twice the significance saves three quarters of the luminosity: the gain is "
        "(σ<sub>model</sub>/σ<sub>baseline</sub>)².",
    ),
)

_TAGGING = (
    (
        "accuracy",
        "The part of the jets that are given their true class, as if all classes were equally frequent: with a score "
        "of 0.5 or more for signal or, where each process is a class, with the most probable class.",
    ),
    (
        "AUC, mean over pairs of classes",
        "Every class against every other one, with its probability as the score, and the mean of these areas (one "
        "against one, macro).",
    ),
    ("&gt;", "No background jet of the test sample is left; the rejection exceeds this at 95 % confidence."),
)


def classification_terms(comparison: Comparison) -> list[tuple[Markup, Markup]]:
    """Terms and their meaning, as HTML."""
    settings = comparison.settings
    score = Markup(
        "Output of a model for an event: near 1 for {}, near 0 for background. A cut on it keeps the events above."
    ).format(" or ".join(comparison.signal))
    terms = [
        (Markup("score"), score),
        (
            Markup("ε<sub>S</sub>, ε<sub>B</sub>"),
            Markup(
                "Signal and background efficiency: the part of the signal and of the background that is kept, by event "
                "weight. Lower ε<sub>B</sub> at the same ε<sub>S</sub> is better. All backgrounds are mixed as they "
                "are expected in collisions."
            ),
        ),
        (Markup("rejection"), Markup("1/ε<sub>B</sub>: out of how many background events one is kept.")),
        (
            Markup("ROC, AUC"),
            Markup(
                "The curve of ε<sub>S</sub> against ε<sub>B</sub> as the cut moves, and the area under it: the "
                "probability that a signal event has a higher score than a background event. 0.5 is guessing, 1 is "
                "perfect."
            ),
        ),
        (
            Markup("calibrated"),
            Markup(
                "Of the events with a predicted probability of 70 %, 70 % belong to the class. Cuts need no "
                "calibration, but a fit, a mixture of classes or a decision does."
            ),
        ),
    ]
    numbers = {"luminosity": settings.luminosity, "systematic": settings.systematic}
    special = _TAGGING if settings.tagging else _SIGNIFICANCE
    return terms + [(Markup(term), Markup(meaning.format(**numbers))) for term, meaning in special]

"""Published: results of others for tables beside one's own, marked as such."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files

from femtobarn.evaluation.rounding import NOTHING
from femtobarn.evaluation.table import Table
from femtobarn.tasks.classification.comparison import Comparison
from femtobarn.tasks.classification.sections import percent

#: The file of published results.
FILE = "published.toml"

#: What stands above a table of them.
TITLE = "Published, not measured here"


def published_table(comparison: Comparison) -> list[Table]:
    """Published taggers in one table, with a note on the data they were measured with.

    Empty where the evaluation asks for no published results (`evaluation.published`).
    """
    if comparison.settings.published is None:
        return []
    text = (files("femtobarn") / "data" / FILE).read_text(encoding="utf-8")
    reference = tomllib.loads(text)[comparison.settings.published]
    headings = ["accuracy", "AUC", *(f"1/ε_B at ε_S = {percent(point)}" for point in comparison.points), "source"]
    lines = []
    for model in reference["models"]:
        rejections = [_number(model["rejection"].get(point, ())) for point in comparison.points]
        before = f" (first trained on {model['trained_on']})" if "trained_on" in model else ""
        lines.append(
            (model["model"], [model["accuracy"], model["auc"], *rejections, f"arXiv:{model['source']}{before}"])
        )
    same = "They compare only with models trained and evaluated on the same data"
    data = comparison.rows[0].runs[0].config.get("data") or {}
    if data.get("sample"):
        same = f"The models above were trained and evaluated on other and fewer jets ({data['sample']}): do not compare"
    return [Table.of_texts(TITLE, headings, lines, f"On the {reference['title']}: {reference['about']}. {same}.")]


def _number(value: Sequence[int | float]) -> str:
    return " ± ".join(f"{part:g}" for part in value) if value else NOTHING

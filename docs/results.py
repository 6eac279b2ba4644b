"""Puts the results of a study into docs/results, and those of four-top-small into the README, exactly as computed.

    python docs/results.py runs/four-top-small
    python docs/results.py runs/four-top-cpu --scan runs/scan-four-top-cpu

Results of `femtobarn fit` and `femtobarn systematics` are among the tables, and with --scan the record of a
search. `make results` calls it after the study.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from femtobarn.evaluation.comparison import Comparison
from femtobarn.studies.estimate import ESTIMATE
from femtobarn.studies.progress import duration
from femtobarn.studies.tuning_report import MARKDOWN as SCAN
from femtobarn.tasks.classification.comparison import Comparison as ClassifierComparison
from femtobarn.tasks.classification.figures.systematics import systematics_of, systematics_tables
from femtobarn.tasks.results import compare, markdown, report

ROOT = Path(__file__).parents[1]

#: Figures shown beside the tables, as far as a study has them.
FIGURES = (
    "overview",
    "sizes",
    "sizes_rejection",
    "performance_vs_cost",
    "ratios",
    "ratios_2",
    "ratios_3",
    "shifts",
    "safety",
    "errors",
    "scatter",
)

#: The study whose main table stands in the README.
SHOWN = "four-top-small"


def main(study: Path, scan: Path | None = None, baseline: str | None = None, root: Path = ROOT) -> None:
    """Write tables and figures of a finished study, with where and how they were measured, below this folder."""
    results = root / "docs" / "results"
    name = study.resolve().name
    comparison = compare([study], baseline=baseline)
    told = measured(comparison, study)
    text = markdown(comparison)
    results.mkdir(parents=True, exist_ok=True)
    for old in results.glob(f"{name}-*.png"):
        if old.stem.removeprefix(f"{name}-") in FIGURES:
            old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        report([study], Path(scratch) / "report.html", baseline=baseline, figures=Path(scratch))
        drawn = [figure for figure in FIGURES if (Path(scratch) / f"{figure}.png").is_file()]
        for figure in drawn:
            shutil.copy(Path(scratch) / f"{figure}.png", results / f"{name}-{figure}.png")
    parts = [f"# {name}", told, text.strip()]
    if changed := systematics_text(comparison):
        parts += ["## A detector one standard deviation off", changed]
    parts += [f"![{figure}]({name}-{figure}.png)" for figure in drawn]
    if scan is not None:
        parts.append((scan / SCAN).read_text(encoding="utf-8").strip())
    (results / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if name == SHOWN:
        show(told, text, root / "README.md")


def measured(comparison: Comparison[Any], study: Path) -> str:
    """Command, number of trainings, times, device, versions and checksum of the data, in a paragraph."""
    metas = [run.meta for row in comparison.rows for run in row.runs]

    def all_of(values: list[str]) -> str:
        return ", ".join(dict.fromkeys(values))

    threads = all_of([f"{meta.get('threads') or 'all'}" for meta in metas])
    told = (
        f"`{all_of([meta['command'] for meta in metas])}`: {len(metas)} trainings, "
        f"{duration(sum(meta['seconds'] for meta in metas))} of training in all with {threads} thread(s) each"
    )
    if (study / ESTIMATE).is_file():
        times = json.loads((study / ESTIMATE).read_text(encoding="utf-8"))
        wall, guess = (duration(times["wall_seconds"][which]) for which in ("actual", "estimated"))
        told += (
            f"; the last call computed {times['trained']} of them in {wall} with {times['workers']} worker(s), "
            f"evaluation included (estimated without it: {guess})"
        )
    versions = [f"{key} {value}" for key, value in metas[0]["versions"].items() if key in ("torch", "lightgbm")]
    release = all_of([f"femtobarn {meta['versions']['femtobarn']}" for meta in metas])
    events = all_of([meta["inputs"]["fingerprint"][:16] for meta in metas])
    devices = all_of([meta["device"] for meta in metas])
    return f"{told}; on {devices}; {', '.join([release, *versions])}; events of SHA-256 `{events}…`."


def systematics_text(comparison: Comparison[Any]) -> str:
    """Tables of `femtobarn systematics`; empty if it was not run."""
    if not isinstance(comparison, ClassifierComparison):
        return ""
    return "\n\n".join(table.markdown() for table in systematics_tables(systematics_of(comparison.largest)))


def show(told: str, text: str, readme: Path) -> None:
    """Write the main table and its legend between the marks in the README."""
    first, legend = text.split("\n**")[0].strip(), text.strip().splitlines()[-1]
    figure = f"![{FIGURES[0]}](docs/results/{SHOWN}-{FIGURES[0]}.png)"
    link = f"All tables: [docs/results/{SHOWN}.md](docs/results/{SHOWN}.md)."
    block = "\n\n".join((told, first, legend, figure, link))
    old = readme.read_text(encoding="utf-8")
    marks = r"(<!-- results:.*?-->\n).*(<!-- end of results -->)"
    new, count = re.subn(marks, lambda match: f"{match[1]}{block}\n{match[2]}", old, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{readme} has no place for results")
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Results of a study for docs/results.")
    parser.add_argument("study", type=Path, help="folder of a finished study")
    parser.add_argument("--scan", type=Path, help="folder of a scan whose record to append")
    parser.add_argument("--baseline", help="model that luminosity gains refer to")
    given = parser.parse_args()
    main(given.study, given.scan, given.baseline)

"""Puts the results of a study into docs/results and the README, exactly as the tool made them.

    python docs/update_readme.py runs/four-top-small

`make results` calls it after the study.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from femtobarn.evaluation import compare, load_run, markdown, run_folders
from femtobarn.report import report

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"

#: Figures shown beside the tables.
FIGURES = ("overview", "ratios")


def main(study: Path) -> None:
    """Tables and figures of a finished study, with where and how they were measured."""
    runs = [load_run(folder) for folder in run_folders([study])]
    text = markdown(compare(runs))
    meta = runs[0].meta
    seconds = sum(run.meta["seconds"] for run in runs)
    told = (
        f"`make study` (`femtobarn study {study.name}`): {len(runs)} trainings, {seconds / 60:.0f} processor-minutes "
        f"in all, one thread each, on {meta['device']}; femtobarn {meta['versions']['femtobarn']}, "
        f"torch {meta['versions']['torch']}, lightgbm {meta['versions']['lightgbm']}; "
        f"events of SHA-256 `{meta['inputs']['fingerprint'][:16]}…`."
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        report([study], Path(scratch) / "report.html", figures=Path(scratch))
        for name in FIGURES:
            shutil.copy(Path(scratch) / f"{name}.png", RESULTS / f"{study.name}-{name}.png")
    pictures = "\n\n".join(f"![{name}]({{}}{study.name}-{name}.png)" for name in FIGURES)
    page = f"# {study.name}\n\n{told}\n\n{text}\n{pictures.replace('{}', '')}\n"
    (RESULTS / f"{study.name}.md").write_text(page, encoding="utf-8")
    first = text.split("\n**")[0].strip()
    legend = text.strip().splitlines()[-1]
    block = "\n\n".join(
        (
            told,
            first,
            legend,
            f"![{FIGURES[0]}](docs/results/{study.name}-{FIGURES[0]}.png)",
            f"All tables: [docs/results/{study.name}.md](docs/results/{study.name}.md).",
        )
    )
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    marks = r"(<!-- results:.*?-->\n).*(<!-- end of results -->)"
    new, count = re.subn(marks, lambda match: f"{match[1]}{block}\n{match[2]}", old, flags=re.DOTALL)
    if count != 1:
        raise ValueError("README.md has no place for results")
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Brings the fingerprints of events on the pages of docs/results, and in the README, to today's definition.

    python docs/fingerprints.py
    python docs/fingerprints.py --write

A page names its events by the first digits of a SHA-256 over all of them (`femtobarn.runs.splits.fingerprint`). Its
definition has changed: up to 2026-11-26 numbers counted to the last bit, in which processors differ. A fingerprint is
rewritten only where the file of the shipped events is, byte for byte, the one that the page was committed with; all
other numbers of a page stay as they are.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import femtobarn
from femtobarn.experiments.amplitudes import AmplitudesConfig
from femtobarn.runs.splits import fingerprint
from femtobarn.simulate.amplitudes import draw_amplitudes
from femtobarn.studies import study

ROOT = Path(__file__).resolve().parents[1]

#: A fingerprint on a page, with the command before it that made the page.
PRINT = re.compile(r"events of SHA-256 `([0-9a-f]{16})…`")
COMMAND = re.compile(r"femtobarn (?:study|scan) (\S+?)[ `,]")


class Mention(NamedTuple):
    """A fingerprint on a page: the page, its line, the digits, and the events: a shipped sample, or drawn points."""

    page: Path
    line: int
    digits: str
    sample: str
    selection: str | None
    points: AmplitudesConfig | None


def mentions() -> list[Mention]:
    """All fingerprints on the pages.

    Raises:
        ValueError: a page with a fingerprint that does not say which study it is of, or not of a shipped sample.
    """
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs" / "results").glob("*.md"))):
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines()):
            for digits in PRINT.findall(line):
                command = COMMAND.search(line)
                if command is None:
                    raise ValueError(f"{page}, line {number + 1}: no study beside the fingerprint {digits}")
                found.append(Mention(page, number, digits, *data_of(command[1])))
    return found


@lru_cache
def data_of(name: str) -> tuple[str, str | None, AmplitudesConfig | None]:
    """Name of the shipped sample that a study reads, its selection, and the points that it draws."""
    source = ROOT / name if (ROOT / name).is_file() else name
    sections = [planned.experiment.data for planned in study.plan(study.load(source), "runs")]
    ((sample, selection, points),) = {(data.sample, data.selection, data.amplitudes) for data in sections}
    if points is not None:
        return points.process, selection, points
    if sample is None:
        raise ValueError(f"{name} reads files of its own, which are not at hand")
    return str(sample), selection, None


@lru_cache
def today(sample: str, selection: str | None = None, points: AmplitudesConfig | None = None) -> str:
    """First digits of the fingerprint of the selected events of a sample or of drawn points, by today's definition."""
    events = femtobarn.load_sample(sample) if points is None else draw_amplitudes(points.plan())
    return fingerprint(events.select(selection) if selection else events)[:16]


@lru_cache
def is_same_file(page: Path, digits: str, sample: str) -> bool:
    """True if the sample's file is the one of the commit that brought these digits to the page."""
    file = f"src/femtobarn/data/{sample}.parquet"
    commits = _git("log", "--format=%H", f"-S{digits}", "--", str(page.relative_to(ROOT))).split()
    return bool(commits) and _git("rev-parse", f"{commits[-1]}:{file}") == _git("hash-object", file)


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def main(write: bool) -> None:
    """Tells which pages have another fingerprint, and rewrites them on request."""
    for mention in mentions():
        place = f"{mention.page.relative_to(ROOT)}, line {mention.line + 1}: {mention.sample}, {mention.digits}"
        current = today(mention.sample, mention.selection, mention.points)
        if mention.digits == current:
            print(f"{place}, as today")
        elif not is_same_file(mention.page, mention.digits, mention.sample):
            print(f"{place}: other events than today's {current}, or an unknown page; left alone")
        else:
            print(f"{place}: the same file, {current} today{', rewritten' if write else ''}")
            if write:
                text = mention.page.read_text(encoding="utf-8")
                mention.page.write_text(text.replace(mention.digits, current), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fingerprints of events on the pages of docs/results.")
    parser.add_argument("--write", action="store_true", help="rewrite those of an older definition")
    main(parser.parse_args().write)

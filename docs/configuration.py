"""Writes the tables of docs/configuration.md from the settings that they describe.

python docs/configuration.py           # an error if the page differs
python docs/configuration.py --write   # writes the tables

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; everything else on the page is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from femtobarn.experiments.reference import section_settings, sections, settings_of, settings_table
from femtobarn.experiments.search_space import MODEL_SPACES, NETWORK_SPACE
from femtobarn.experiments.spelling import former_keys
from femtobarn.models import MODELS
from femtobarn.models.registry import published_sizes
from femtobarn.studies.study import StudyConfig

PAGE = Path(__file__).with_suffix(".md")
BLOCK = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def tables() -> dict[str, str]:
    """Generated parts of the page, by name."""
    settings = {name: section_settings(name) for name in ("experiment", *sections())}
    spaces = {"every network": NETWORK_SPACE} | MODEL_SPACES
    rows = [
        f"| {name} | {'; '.join(f'`{path}` {values}' for path, values in space.items())} |"
        for name, space in spaces.items()
    ]
    return {name: settings_table(rows) for name, rows in settings.items()} | {
        "study": settings_table(settings_of(StudyConfig)),
        "search spaces": "\n".join(["| model | range or choices |", "|---|---|", *rows]),
        "models": f"Architectures: {_names(MODELS)}. Published sizes: {_names(published_sizes())}.",
        "former names": "\n".join(["| key | former name |", "|---|---|", *_former_names()]),
    }


def render(page: str) -> str:
    """The page with its tables written anew.

    Raises:
        ValueError: a table is missing, stands twice or has an unknown name.
    """
    found, expected = [name for _, name, _ in BLOCK.findall(page)], tables()
    if sorted(found) != sorted(expected):
        raise ValueError(f"{PAGE.name} should have each of these tables once: {', '.join(expected)}; got {found}")
    return BLOCK.sub(lambda match: f"{match[1]}{expected[match[2]]}\n{match[3]}", page)


def _former_names() -> Iterator[str]:
    schemas = [(f"{path.partition(':')[0]}.", schema) for path, schema in sections().items()]
    models = [("model.", spec.schema) for spec in MODELS.values()]
    for prefix, schema in schemas + models:
        for former, key in former_keys(schema).items():
            yield f"| `{prefix}{key}` | `{prefix}{former}` |"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="Write the tables.")
    page = PAGE.read_text(encoding="utf-8")
    rendered = render(page)
    if parser.parse_args().write:
        PAGE.write_text(rendered, encoding="utf-8")
    elif rendered != page:
        sys.exit(f"{PAGE.name} differs from the settings; run: python docs/configuration.py --write")


if __name__ == "__main__":
    main()

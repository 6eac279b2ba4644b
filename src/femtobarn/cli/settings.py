"""Verbs of settings: reference of the keys of a YAML file, and a JSON schema for editors."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from femtobarn.cli.common import app, complaints, out


@app.command()
def config(
    section: Annotated[
        str | None, typer.Argument(help="Section, such as training; all sections if not given.", show_default=False)
    ] = None,
) -> None:
    """Keys of a YAML file with types, defaults and meaning.

    Example: femtobarn config training
    """
    with complaints():
        from rich.markup import escape
        from rich.table import Table

        from femtobarn.experiments.reference import section_settings, sections, settings_of
        from femtobarn.studies.study import StudyConfig

        names = [section] if section is not None else ["experiment", *sections(), "study"]
        for name in names:
            settings = settings_of(StudyConfig) if name == "study" else section_settings(name)
            table = Table(
                "key", "type", "default", "meaning", title=name, title_justify="left", box=None, pad_edge=False
            )
            for setting in settings:
                table.add_row(*map(escape, setting))
            out.print(table)


@app.command()
def schema() -> None:
    """JSON schema of experiments and studies, for editors that complete and check YAML files.

    First line of the YAML file: # yaml-language-server: $schema=femtobarn.schema.json

    Example: femtobarn schema > femtobarn.schema.json
    """
    with complaints():
        from femtobarn.experiments.json_schema import json_schema
        from femtobarn.studies.study import StudyConfig

        typer.echo(json.dumps(json_schema(StudyConfig), indent=1, ensure_ascii=False))

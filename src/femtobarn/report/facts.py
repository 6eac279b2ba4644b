"""Facts: configuration, versions, data and commands behind a comparison, each told once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from femtobarn.evaluation.comparison import Comparison, ModelResult

#: Lines of provenance that are shown; the whole of it lies in the run folders.
LINES = 60


def facts(comparison: Comparison[Any]) -> dict[str, Any]:
    """Configuration, versions, data and commands, each told once."""
    best = comparison.leader
    runs = [run for row in comparison.rows for run in row.runs]
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, value in (run.meta.get("versions") or {}).items():
            versions.setdefault(str(name), set()).add(str(value))
    root = Path(os.path.commonpath([run.path.resolve().parent for run in runs]))
    inputs = [run.meta.get("inputs") or {} for run in runs]
    sample = _plain(inputs[0].get("provenance") or {})
    processes = sample.pop("processes") if isinstance(sample.get("processes"), dict) else {}
    lines = yaml.safe_dump(sample, sort_keys=False, allow_unicode=True, width=110).splitlines() if sample else []
    return {
        "best": best.label,
        "config": yaml.safe_dump(
            _plain(best.runs[0].config), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
        ),
        "differences": [(row.label, _differences(best, row)) for row in comparison.rows if row is not best],
        "versions": {name: " or ".join(sorted(values)) for name, values in versions.items()},
        "fingerprints": sorted({str(record["fingerprint"]) for record in inputs if record.get("fingerprint")}),
        "processes": [_process(name, record) for name, record in processes.items() if isinstance(record, dict)],
        "cut_flow": _cut_flow(processes),
        "provenance": "\n".join(lines[:LINES]),
        "left_out": max(len(lines) - LINES, 0),
        "commands": list(dict.fromkeys(str(run.meta["command"]) for run in runs if run.meta.get("command"))),
        "folders": [
            (row.label, [(run.seed, run.path.resolve().relative_to(root).as_posix()) for run in row.runs])
            for row in comparison.rows
        ],
    }


def _process(name: str, record: Mapping[str, Any]) -> tuple[str, ...]:
    """Name, cross section, where it is from, events generated and how, as far as the events say it."""
    simulation = record.get("simulation") or {}
    section, error = record.get("cross_section_pb"), record.get("cross_section_error_pb")
    return (
        name,
        "" if section is None else f"{section:.4g}" + (f" ± {error:.2g}" if error else ""),
        str(record.get("cross_section_from", "")),
        "" if record.get("generated") is None else f"{record['generated']:,}".replace(",", "\u202f"),
        str(simulation.get("source") or ", ".join(simulation.get("settings", ()))),
        str(simulation.get("responses", "")),
    )


def _cut_flow(processes: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Expected events after each cut: the processes, and a line for each cut; a process without the cut has none."""
    flows = {
        name: {step["cut"]: f"{step['yield']:.4g}" for step in record["cut_flow"]}
        for name, record in processes.items()
        if isinstance(record, dict) and record.get("cut_flow")
    }
    cuts = dict.fromkeys(cut for flow in sorted(flows.values(), key=len, reverse=True) for cut in flow)
    return list(flows), [(cut, [flow.get(cut, "") for flow in flows.values()]) for cut in cuts]


def _differences(best: ModelResult[Any], row: ModelResult[Any]) -> list[tuple[str, str]]:
    base, other = (_flat(result.runs[0].config) for result in (best, row))
    changed = [name for name in (*base, *(name for name in other if name not in base)) if name not in ("label", "seed")]
    another = base.get("model.name") != other.get("model.name")
    return [
        (name, _short(other[name]) if name in other else "not there")
        for name in changed
        # another architecture has other settings, and those of the first one say nothing about it
        if base.get(name, ...) != other.get(name, ...) and not (another and name not in other)
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Through JSON and back, so that YAML writes tuples and the like as what they are."""
    return json.loads(json.dumps(value, default=str))

"""Generation: what the provenance of a sample states of cross sections, generated events and cut flows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

#: How files of one process are combined: `average` runs of one generation, or `add` up what complements one another.
Combine = Literal["average", "add"]


def merge(parts: Sequence[Mapping[str, Any]], combine: Combine = "average") -> dict[str, Any]:
    """One provenance of many: files are listed once, processes kept by name.

    A process described differently by two parts (two generator runs, say) keeps both under `samples`, and is described
    by `combined_record`. Other entries stay where all parts agree and become a list of the different values, in order,
    where they do not.
    """
    merged: dict[str, Any] = {}
    described: dict[str, list[Mapping[str, Any]]] = {}
    for part in parts:
        for key, value in part.items():
            if key == "processes":
                for name, record in value.items():
                    records = described.setdefault(name, [])
                    records += [record] if record not in records else []
            elif key in ("files", "left_out"):
                merged.setdefault(key, []).extend(entry for entry in value if entry not in merged.get(key, []))
            else:
                merged.setdefault(key, _Different()).add(value)
    for key, value in merged.items():
        if isinstance(value, _Different):
            merged[key] = value[0] if len(value) == 1 else list(value)
    if described:
        merged["processes"] = {name: combined_record(records, combine) for name, records in described.items()}
    return merged


def rename(provenance: Mapping[str, Any], process: str | None) -> dict[str, Any]:
    """The provenance of events that were all given one process name; what a file holds of several adds up."""
    processes = provenance.get("processes")
    if process is None or not processes:
        return dict(provenance)
    return {**provenance, "processes": {process: combined_record(list(processes.values()), "add")}}


class _Different(list[Any]):
    """Values met so far, each once."""

    def add(self, value: Any) -> None:
        if value not in self:
            self.append(value)


def is_stated(record: Mapping[str, Any]) -> bool:
    """Whether a record states the normalisation of its events: cross section and number of generated events."""
    values = (record.get("cross_section_pb"), record.get("generated"))
    return all(isinstance(value, int | float) and value > 0 and np.isfinite(value) for value in values)


def shares(records: Sequence[Mapping[str, Any]]) -> list[float]:
    """Share of each production in the generated events of all, the factors of an average."""
    total = sum(record["generated"] for record in records)
    return [record["generated"] / total for record in records]


def combined_record(records: Sequence[Mapping[str, Any]], combine: Combine) -> dict[str, Any]:
    """The description of a process made of several productions, which stay listed under `samples`.

    Cross section and yields of the cut flow are averages weighted by the generated events, or sums; numbers of events
    are sums.
    """
    samples = [dict(sample) for record in records for sample in _samples(record, combine)]
    samples = [sample for at, sample in enumerate(samples) if sample not in samples[:at]]
    if len(samples) == 1:
        return samples[0]
    if combine == "average" and not all(map(is_stated, samples)):
        combine = "add"  # as their weights do
    weights = shares(samples) if combine == "average" else [1.0] * len(samples)
    combined: dict[str, Any] = {}
    if all(isinstance(sample.get("cross_section_pb"), int | float) for sample in samples):
        sections = [sample["cross_section_pb"] for sample in samples]
        combined["cross_section_pb"] = float(np.dot(weights, sections))
        error = _combined_error(samples, weights)
        if error is not None:
            combined["cross_section_error_pb"] = error
        if any(sample.get("branching", 1.0) != 1.0 for sample in samples):
            branchings = [sample.get("branching", 1.0) for sample in samples]
            combined["branching"] = float(np.dot(np.multiply(weights, sections), branchings)) / (
                combined["cross_section_pb"] or 1.0
            )
    if all(isinstance(sample.get("generated"), int) for sample in samples):
        combined["generated"] = sum(sample["generated"] for sample in samples)
    flow = _combined_flow(samples, weights)
    if flow:
        combined["cut_flow"] = flow
    return combined | {"combine": combine, "samples": samples}


def _samples(record: Mapping[str, Any], combine: Combine) -> Sequence[Mapping[str, Any]]:
    """The productions of a record that was combined in the same way; others are one production."""
    return record["samples"] if "samples" in record and record.get("combine", "add") == combine else [record]


def _combined_error(samples: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> float | None:
    """Error of a weighted sum of cross sections; equal cross sections with equal errors are one measurement."""
    measurements: dict[tuple[Any, Any], float] = {}
    for sample, weight in zip(samples, weights, strict=True):
        error = section_error(sample)
        if error is None:
            return None
        measurement = (sample["cross_section_pb"], error)
        measurements[measurement] = measurements.get(measurement, 0.0) + weight
    return float(np.hypot.reduce([weight * error for (_, error), weight in measurements.items()]))


def _combined_flow(samples: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> list[dict[str, Any]]:
    """Cut flow of all, if all have the same cuts, at the luminosity of the first one."""
    flows = [sample.get("cut_flow", []) for sample in samples]
    if not flows[0] or len({tuple(step["cut"] for step in flow) for flow in flows}) > 1:
        return []
    # the first step is the whole cross section, at the luminosity that the flow was made for
    luminosities = [
        flow[0]["yield"] / sample["cross_section_pb"] if sample.get("cross_section_pb") else 0.0
        for sample, flow in zip(samples, flows, strict=True)
    ]
    scales = [luminosities[0] / luminosity if luminosity and luminosities[0] else 1.0 for luminosity in luminosities]
    return [
        {
            "cut": steps[0]["cut"],
            "events": sum(step["events"] for step in steps),
            "yield": float(sum(w * s * step["yield"] for w, s, step in zip(weights, scales, steps, strict=True))),
        }
        for steps in zip(*flows, strict=True)
    ]


def leaves(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The single productions of a record."""
    if "samples" not in record:
        return [record]
    return [leaf for sample in record["samples"] for leaf in leaves(sample)]


def record_key(record: Mapping[str, Any]) -> str:
    """Checksum of a record: parts of one production have the same one."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()


def section_error(record: Mapping[str, Any]) -> float | None:
    """Error of the cross section; None where it is not known."""
    error = record.get("cross_section_error_pb")
    is_valid = isinstance(error, int | float) and np.isfinite(error) and error > 0
    return float(error) if is_valid and error is not None else None

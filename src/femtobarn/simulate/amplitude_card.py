"""The card of phase-space points: process, couplings, cuts, sampling and checks."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from femtobarn.events import Events
from femtobarn.events.storage.files import checksum
from femtobarn.physics.amplitudes import process

CHECKS = {
    False: "Berends-Giele recursion in float64. The code agrees with pyamplicol 1.0.1 to 1e-12 on 2 808 points of "
    "six processes (`pytest tests/physics/test_amplitudes.py` holds a part of them), with closed formulas, and is "
    "gauge invariant.",
    True: "Closed one-loop formulas in float64, five massless quarks, no top. Checked by exchange and reflection "
    "symmetry, cancellation of poles and the soft limit, not against an independent program "
    "(`pytest tests/physics/test_amplitudes.py`).",
}

LACKS = """\
- Leading order in the couplings; massless quarks, stable Z without width; no parton densities, no shower, no detector.
- Phase space is flat (RAMBO) unless `unweighted`: it lacks the peaks of events from collisions.
- Training on these points learns the matrix element of the process within these cuts only."""


def summary(events: Events) -> dict[str, str]:
    """Facts about points of `femtobarn.simulate.simulate_amplitudes`, in words by name.

    Raises:
        KeyError: events without the provenance of amplitudes.
    """
    name, record, _ = _origin(events)
    amplitude = np.log(np.asarray(events.context["amplitude"]))
    couplings = record["couplings"]
    return {
        "process": f"`{name}`, {record['order']}",
        "points": f"{len(events)}, {'as the squared amplitude' if record['unweighted'] else 'flat phase space'}",
        "energy": _energy(record),
        "boost along the beam": f"rapidity within ±{record['max_rapidity']:g}" if record["max_rapidity"] else "none",
        "cuts": _cuts(record, name),
        "couplings": f"alpha_s = {couplings['alpha_s']:g}, alpha = 1/{1 / couplings['alpha']:.3f}, "
        f"m_Z = {couplings['m_z']:g} GeV, m_W = {couplings['m_w']:.3f} GeV",
        "efficiency of masses and cuts": f"{record['passed'] / record['drawn']:.3f}",
        "ln(amplitude)": f"mean {amplitude.mean():.3f}, standard deviation {amplitude.std():.3f}, "
        f"range {amplitude.min():.2f} to {amplitude.max():.2f}",
        "partonic cross section within the cuts": _cross_section(record),
        "largest change of an amplitude by a rotation": f"{record['rotation_difference']:.1e} "
        f"({record['unstable']} of {record['evaluated']} points drawn again)",
        "formulas": record["source"],
    }


def amplitude_card(events: Events, file: str | Path) -> str:
    """Card of a file of `femtobarn.simulate.simulate_amplitudes`, in Markdown.

    Args:
        events: the points, with their provenance.
        file: the file that the card stands beside.

    Raises:
        KeyError: events without the provenance of amplitudes.
    """
    name, record, versions = _origin(events)
    matrix_element = process(name)
    size = Path(file).stat().st_size / 1e6
    lines = [f"# Amplitudes of {name}", "", f"`{Path(file).name}`, {size:.1f} MB. SHA-256 `{checksum(file)}`.", ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in summary(events).items()), ""]
    lines += ["The squared amplitude is averaged over spins and colours of the incoming partons, summed over those of "]
    lines += [f"the outgoing particles, with 1/n! for identical ones; unit GeV^{4 - 2 * len(matrix_element.legs[2:])}."]
    lines += ["", "## How it was made", "", "```", command(record, Path(file).name), "```", ""]
    programs = ", ".join(f"{package} {number}" for package, number in versions.items())
    lines += [f"Any number of workers gives the same points. Versions: {programs}."]
    lines += ["", "## Checks", "", CHECKS[matrix_element.has_loop], "", "## Limits", "", LACKS, ""]
    return "\n".join(lines)


def _origin(events: Events) -> tuple[str, Mapping[str, Any], Mapping[str, str]]:
    """Process, record of the simulation, and versions of the programs."""
    (name,) = events.processes
    source = events.provenance["processes"][name]
    return name, source["amplitudes"], source["versions"]


def command(record: Mapping[str, Any], output: str) -> str:
    """The command that makes the points."""
    words = ["femtobarn", "simulate", "amplitudes", record["process"], "--events", str(record["points"])]
    words += ["--sqrt-s", f"{record['sqrt_s']:g}"]
    words += ["--max-sqrt-s", f"{record['max_sqrt_s']:g}"] if record["max_sqrt_s"] else []
    words += ["--max-rapidity", f"{record['max_rapidity']:g}"] if record["max_rapidity"] else []
    words += ["--unweighted"] if record["unweighted"] else []
    cuts = record["cuts"]
    words += ["--min-pt", f"{cuts['min_pt']:g}", "--min-delta-r", f"{cuts['min_delta_r']:g}"]
    return shlex.join([*words, "--seed", str(record["seed"]), "--output", output])


def _energy(record: Mapping[str, Any]) -> str:
    if record["max_sqrt_s"] is None:
        return f"sqrt(s) = {record['sqrt_s']:g} GeV"
    return f"sqrt(s) from {record['sqrt_s']:g} to {record['max_sqrt_s']:g} GeV, density falling as 1/s"


def _cuts(record: Mapping[str, Any], name: str) -> str:
    cuts = record["cuts"]
    text = f"gluons: pT > {cuts['min_pt']:g} GeV; every pair of gluons and photons: ΔR > {cuts['min_delta_r']:g}"
    if " a" in name:
        hard, soft = cuts["photon_pt"]
        text += f"; photons: pT > {hard:g} and {soft:g} GeV, |eta| < {cuts['max_photon_eta']:g}"
    return text


def _cross_section(record: Mapping[str, Any]) -> str:
    if record["partonic_cross_section_pb"] is None:
        return "not computed where the energy varies"
    value, error = record["partonic_cross_section_pb"]
    digits = max(0, 1 - math.floor(math.log10(error))) if error > 0 else 3
    return f"{value:.{digits}f} ± {error:.{digits}f} pb"

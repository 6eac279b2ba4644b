"""Quark/gluon data of EnergyFlow: NumPy archives of jets with the momenta and PDG numbers of their particles.

Komiske, Metodiev and Thaler, *Energy Flow Networks*, arXiv:1810.05165; data: doi:10.5281/zenodo.3164691.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.formats.conversion import plain, whole
from femtobarn.events.formats.jets import NAME_IT, QUARK_NAMES, all_named, jets, names_of
from femtobarn.events.formats.padding import first_entries, pt_padding, real_entries
from femtobarn.events.formats.pdg import particles
from femtobarn.events.formats.row_checks import RowChecks
from femtobarn.events.formats.sizes import check_size
from femtobarn.events.reader_settings import Unit
from femtobarn.events.record import Events

#: Bytes of the header of an array at most; those of numbers have 128.
MAX_HEADER_BYTES = 10_000


def read_quark_gluon(
    path: str | Path, *, process: str | None = None, unit: Unit | None = None, tolerant: bool = False
) -> Events:
    """Jets of the processes `quark` and `gluon`, with the types and charges of their particles.

    The archive holds `X` (jets, particles, 4) with pT in GeV, rapidity, azimuth and PDG number, padding behind the last
    particle, and `y` (jets), 1 for quarks. Energies are those of particles with their masses.

    Args:
        process: name for all jets; `y` is not needed then.
        unit: unit of pT; GeV by default.
        tolerant: leave out bad jets and count them.

    Raises:
        EventError: no such archive, arrays of other shapes, unknown labels or particles, with the row.
        FileNotFoundError: no such file.
    """
    arrays = _arrays(path, ("X",) if process is not None else ("X", "y"))
    x = arrays["X"]
    shapes = " and ".join(f"{name} {array.shape}" for name, array in arrays.items()).replace(" ", " has the shape ", 1)
    if x.ndim != 3 or x.shape[2] != 4 or ("y" in arrays and arrays["y"].shape != x.shape[:1]):
        remedy = "X is (jets, particles, 4) with pt, y, phi, pdgid, and y is (jets)"
        raise EventError(path, shapes, remedy=remedy)
    checks = RowChecks(path, len(x), tolerant=tolerant)
    names = names_of(checks, arrays["y"], QUARK_NAMES) if process is None else all_named(process, len(x))
    entries = x.reshape(-1, 4)
    entry_counts = np.full(len(x), x.shape[1], dtype=np.int64)
    pt, *others = entries.astype(np.float64).T
    padding = first_entries(pt_padding(pt, others), pt == 0, entry_counts)
    real = real_entries(padding, entry_counts, checks, lambda at: f"a particle has pT {plain(pt[at])}")
    row = np.repeat(np.arange(len(x)), x.shape[1])[real]
    pt, height, phi = (column[real] for column in (pt, *others[:2]))
    codes, wrong = whole(entries[real, 3])
    written = entries[real, 3]
    checks.refuse_entries(
        wrong, row, lambda at: f"a particle of PDG number {plain(written[at])}", "PDG numbers are whole numbers"
    )
    mass, kind, charge = particles(np.where(wrong, 22, codes), row, checks)
    scale = 1000.0 if unit == "MeV" else 1.0
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes NaN or infinite is refused
        transverse = np.sqrt(pt**2 + (mass * scale) ** 2)
        momenta = {"px": pt * np.cos(phi), "py": pt * np.sin(phi)}
        momenta |= {"pz": transverse * np.sinh(height), "E": transverse * np.cosh(height)}
    _refuse_odd(checks, row, pt=pt, phi=phi)
    counts = np.bincount(row, minlength=len(x)).astype(np.int64)
    return jets(checks, counts, momenta, kind, names, tracks={"charge": charge}, unit=unit)


def _refuse_odd(checks: RowChecks, row: NDArray[np.int64], *, pt: NDArray[Any], phi: NDArray[Any]) -> None:
    """Faults that the momenta do not show any more: they are computed from the absolute pT and the angle."""
    checks.refuse_entries(pt < 0, row, lambda at: f"negative pT: a particle has {plain(pt[at])}")
    with np.errstate(invalid="ignore"):
        turned = np.isfinite(phi) & (np.abs(phi) > 4 * np.pi)
    checks.refuse_entries(turned, row, lambda at: f"phi outside ±4π (degrees?): a particle has {plain(phi[at])}")


def _arrays(path: str | Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Arrays of an archive, once their headers are found to promise no more than there is.

    Raises:
        EventError: no archive of arrays of numbers, or an array is missing.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no zip archive")
            with zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                absent = [name for name in names if name not in members]
                if absent:
                    remedy = f"it has {', '.join(map(shorten, members)) or 'nothing'}".replace("'", "")
                    if absent == ["y"]:
                        remedy += f"; or {NAME_IT}"
                    raise EventError(path, f"has no array {absent[0]!r}", remedy=remedy)
                return {name: _array(path, archive, members[name], name) for name in names}
    except (FileNotFoundError, EventError):
        raise
    except Exception as error:  # zipfile and numpy raise many types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        problem = f"cannot be read as a NumPy archive ({shorten(reason, 200)[1:-1]})"
        raise EventError(path, problem, remedy="it may be cut short or of another format") from error


def _array(path: str | Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """One array of the archive."""
    check_size(path, f"array {name!r}", info.file_size, info.compress_size)
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](member, max_header_size=MAX_HEADER_BYTES)
        n_values = 1
        for size in shape:
            n_values *= size
        if dtype.kind not in "iufb":
            raise ValueError(f"array {name!r} holds {dtype}, no numbers")
        if n_values < 0 or n_values * dtype.itemsize > info.file_size:
            check_size(path, f"array {name!r}", abs(n_values) * dtype.itemsize, info.compress_size)
            raise ValueError(f"array {name!r} has the shape {shape}, and the file ends before")
    with archive.open(info) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False, max_header_size=MAX_HEADER_BYTES)
        return array

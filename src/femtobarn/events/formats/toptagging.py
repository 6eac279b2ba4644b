"""Top-tagging reference data: HDF5 tables of jets with the four-momenta of up to 200 constituents.

Kasieczka, Plehn et al., *The Machine Learning Landscape of Top Taggers*, arXiv:1902.09914; data:
doi:10.5281/zenodo.2603256.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.formats.conversion import context, floats, plain
from femtobarn.events.formats.jets import NAME_IT, TOP_NAMES, all_named, jets, names_of
from femtobarn.events.formats.padding import cartesian_padding, first_entries, real_entries
from femtobarn.events.formats.row_checks import RowChecks
from femtobarn.events.formats.sizes import check_size
from femtobarn.events.reader_settings import Unit
from femtobarn.events.record import Events
from femtobarn.physics.objects import PARTICLE

#: Columns of a constituent in the file.
MOMENTA = ("E", "PX", "PY", "PZ")

#: What to do with HDF5 files of other layouts.
OTHER = (
    "femtobarn reads HDF5 as the top-tagging reference data have it (a table of pandas with E_0, PX_0, PY_0, PZ_0, "
    "...); write others as Parquet and describe their columns with `data.mapping`"
)


def read_top_tagging(
    path: str | Path, *, process: str | None = None, unit: Unit | None = None, tolerant: bool = False
) -> Events:
    """Jets of the processes `top` and `QCD`; constituents are particles of no known type.

    The file is a table as pandas writes it: columns E_0, PX_0, PY_0, PZ_0, E_1, ... in GeV with padding behind the last
    constituent, `is_signal_new` (1 for top) and `ttv` (0 training, 1 test, 2 validation), which becomes a context
    column, so that `data.selection: ttv == 0` picks the events that others trained on.

    Args:
        process: name for all jets; `is_signal_new` is not needed then.
        unit: unit of the momenta; GeV by default.
        tolerant: leave out bad jets and count them.

    Raises:
        EventError: no such table, a missing column, unknown labels, impossible energies, with the row.
        FileNotFoundError: no such file.
        RuntimeError: h5py is not installed.
    """
    columns = _columns(path)
    label = "is_signal_new"
    n_slots = _count_slots(path, columns, label if process is None else None)
    n_jets = len(columns["E_0"])
    checks = RowChecks(path, n_jets, tolerant=tolerant)
    energy, px, py, pz = (
        np.stack([floats(columns[f"{name}_{slot}"], f"{name}_{slot}", checks) for slot in range(n_slots)], 1).reshape(
            -1
        )
        for name in MOMENTA
    )
    entries = np.full(n_jets, n_slots, dtype=np.int64)
    zero = (energy == 0) & (px == 0) & (py == 0) & (pz == 0)
    padding = first_entries(cartesian_padding(energy, px, py, pz), zero, entries)
    real = real_entries(padding, entries, checks, lambda at: f"constituent {at % n_slots} has E {plain(energy[at])}")
    row = np.repeat(np.arange(n_jets), n_slots)[real]
    return jets(
        checks,
        np.bincount(row, minlength=n_jets).astype(np.int64),
        {"px": px[real], "py": py[real], "pz": pz[real], "E": energy[real]},
        np.full(len(row), PARTICLE, dtype=np.int8),
        names_of(checks, columns[label], TOP_NAMES) if process is None else all_named(process, n_jets),
        context={"ttv": context(columns["ttv"], "ttv", checks)} if "ttv" in columns else None,
        unit=unit,
    )


def _count_slots(path: str | Path, columns: Mapping[str, NDArray[Any]], label: str | None) -> int:
    """Number of constituents that a row has room for.

    Raises:
        EventError: columns of constituents, or the column of the label, are missing.
    """
    for name in (*((label,) if label is not None else ()), *(f"{name}_0" for name in MOMENTA)):
        if name not in columns:
            remedy = f"it has {', '.join(list(columns)[:20])}" + (f"; or {NAME_IT}" if name == label else "")
            raise EventError(path, f"has no column {name!r}", remedy=remedy)
    n_slots = sum(bool(re.fullmatch(r"E_[0-9]+", name)) for name in columns)
    absent = [f"{name}_{slot}" for slot in range(n_slots) for name in MOMENTA]
    absent = [name for name in absent if name not in columns]
    if absent:
        raise EventError(path, f"has no column {absent[0]!r}", remedy="constituents are numbered from 0 without gaps")
    return n_slots


def _columns(path: str | Path) -> dict[str, NDArray[Any]]:
    """The columns of the one table in the file."""
    try:
        import h5py
    except ImportError:
        raise RuntimeError("h5py is missing; pip install 'femtobarn[jets]'") from None
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    try:
        with h5py.File(path, "r") as file:
            tables = [f"{name}/table" for name in file if isinstance(file.get(f"{name}/table"), h5py.Dataset)]
            if len(tables) != 1:
                problem = f"has {len(tables) or 'no'} tables of pandas; it holds {_contents(file)}"
                raise EventError(path, problem, remedy=OTHER if not tables else "one is expected: write it alone")
            return _table(path, file[tables[0]])
    except EventError:
        raise
    except Exception as error:  # h5py raises many types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        problem = f"cannot be read as HDF5 ({shorten(reason, 200)[1:-1]})"
        raise EventError(path, problem, remedy="it may be cut short or of another format") from error


def _contents(file: Any) -> str:
    """Names, shapes and columns of what a file holds, for a message."""
    texts: list[str] = []
    for name in list(file)[:8]:
        entry = file.get(name)
        shape = getattr(entry, "shape", None)
        fields = ", ".join((getattr(getattr(entry, "dtype", None), "names", None) or ())[:6])
        texts.append(name + (f" of shape {shape}" if shape is not None else "") + (f" with {fields}" if fields else ""))
    return "; ".join(texts) or "nothing"


def _table(path: str | Path, table: Any) -> dict[str, NDArray[Any]]:
    """The columns of a table of pandas, which has one block of them for each type."""
    check_size(path, f"table {table.name!r}", table.size * table.dtype.itemsize, table.id.get_storage_size())
    if table.ndim != 1 or not table.dtype.names:
        problem = f"its table {table.name!r} has the shape {table.shape} and no columns"
        raise EventError(path, problem, remedy="write it with pandas' to_hdf(format='table')")
    rows = table[:]
    columns: dict[str, NDArray[Any]] = {}
    for block in rows.dtype.names:
        if block == "index":
            continue
        names = _names(table.attrs.get(f"{block}_kind"))
        values = rows[block].reshape(len(rows), int(np.prod(rows[block].shape[1:])))
        if len(names) != values.shape[1]:
            problem = f"its block {block!r} has {values.shape[1]} columns and names for {len(names)}"
            raise EventError(path, problem, remedy="write the table with pandas' to_hdf(format='table')")
        twice = [name for name in names if name in columns or names.count(name) > 1]
        if twice:
            raise EventError(path, f"has two columns {twice[0]!r}", remedy="write every column once")
        columns |= {name: values[:, index] for index, name in enumerate(names)}
    return columns


def _names(pickled: Any) -> list[str]:
    """Names of the columns of a block, which pandas pickles: the texts in the pickle, which is never loaded."""
    if pickled is None:
        return []
    if isinstance(pickled, np.ndarray | np.generic):
        pickled = pickled.tobytes()
    if isinstance(pickled, str):
        pickled = pickled.encode("latin-1")
    try:
        return [argument for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)]
    except ValueError:
        return []

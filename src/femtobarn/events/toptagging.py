"""Top-tagging reference data: HDF5 tables of jets with the four-momenta of up to 200 constituents.

Kasieczka, Plehn et al., *The Machine Learning Landscape of Top Taggers*, arXiv:1902.09914; data:
doi:10.5281/zenodo.2603256.
"""

from __future__ import annotations

import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.jets import TOP, jets, named
from femtobarn.events.record import Events
from femtobarn.physics.objects import PARTICLE


def read_top_tagging(path: str | Path) -> Events:
    """Jets of the processes `top` and `QCD`; constituents are particles of no known type.

    The file is a table as pandas writes it: columns E_0, PX_0, PY_0, PZ_0, E_1, ... in GeV with zeros behind the last
    constituent, `is_signal_new` (1 for top) and `ttv` (0 training, 1 test, 2 validation), which becomes a context
    column, so that `data.selection: ttv == 0` picks the events that others trained on.

    Raises:
        EventError: no such table, a missing column, unknown labels, impossible energies, with the row.
        FileNotFoundError: no such file.
        RuntimeError: h5py is not installed.
    """
    columns = _columns(path)
    for name in ("is_signal_new", "E_0", "PX_0", "PY_0", "PZ_0"):
        if name not in columns:
            raise EventError(path, f"has no column {name!r}", remedy=f"it has {', '.join(list(columns)[:20])}")
    most = sum(bool(re.fullmatch(r"E_\d+", name)) for name in columns)
    absent = [f"{name}_{slot}" for slot in range(most) for name in ("E", "PX", "PY", "PZ")]
    absent = [name for name in absent if name not in columns]
    if absent:
        raise EventError(path, f"has no column {absent[0]!r}", remedy="constituents are numbered from 0 without gaps")
    energy, px, py, pz = (
        np.stack([columns[f"{name}_{slot}"] for slot in range(most)], axis=1).astype(np.float64)
        for name in ("E", "PX", "PY", "PZ")
    )
    real = (energy != 0) | (px != 0) | (py != 0) | (pz != 0)  # NaN is real, and found below
    return jets(
        path,
        real.sum(axis=1).astype(np.int64),
        {"px": px[real], "py": py[real], "pz": pz[real], "E": energy[real]},
        np.full(int(real.sum()), PARTICLE, dtype=np.int8),
        named(path, columns["is_signal_new"], TOP),
        context={"ttv": columns["ttv"].astype(np.float64)} if "ttv" in columns else None,
    )


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
                what = f"has {len(tables) or 'no'} tables of pandas"
                raise EventError(path, what, remedy=f"one is expected; the file holds {', '.join(file) or 'nothing'}")
            table = file[tables[0]]
            rows = table[:]
            found: dict[str, NDArray[Any]] = {}
            for block in rows.dtype.names or ():
                names = _names(table.attrs.get(f"{block}_kind"))
                values = rows[block].reshape(len(rows), int(np.prod(rows[block].shape[1:])))
                if block == "index":
                    continue
                if len(names) != values.shape[1]:
                    what = f"its block {block!r} has {values.shape[1]} columns and names for {len(names)}"
                    raise EventError(path, what, remedy="write the table with pandas' to_hdf(format='table')")
                found |= {name: values[:, index] for index, name in enumerate(names)}
            return found
    except OSError as error:
        what = f"cannot be read as HDF5 ({str(error).splitlines()[0]})"
        raise EventError(path, what, remedy="it may be cut short or of another format") from error


def _names(told: Any) -> list[str]:
    """Names of the columns of a block, which pandas pickles: the texts in the pickle, which is never loaded."""
    if told is None:
        return []
    if isinstance(told, np.ndarray | np.generic):
        told = told.tobytes()
    if isinstance(told, str):
        told = told.encode("latin-1")
    try:
        return [argument for _, argument, _ in pickletools.genops(told) if isinstance(argument, str)]
    except ValueError:
        return []

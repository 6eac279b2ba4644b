"""Settings of the readers of event files: format, names, units and weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from femtobarn.events.errors import EventError
from femtobarn.events.formats.mapping import Mapping
from femtobarn.events.generation import Combine

Unit = Literal["MeV", "GeV"]

Format = Literal["darkmachines", "parquet", "lhe", "top_tagging", "quark_gluon", "jetclass"]

#: Format by the end of a file's name.
SUFFIXES: dict[str, Format] = {
    ".csv": "darkmachines",
    ".csv.gz": "darkmachines",
    ".txt": "darkmachines",
    ".txt.gz": "darkmachines",
    ".parquet": "parquet",
    ".lhe": "lhe",
    ".lhe.gz": "lhe",
    ".h5": "top_tagging",
    ".hdf5": "top_tagging",
    ".npz": "quark_gluon",
    ".root": "jetclass",
}


@dataclass(frozen=True)
class ReaderSettings:
    """How event files are read.

    Args:
        format: darkmachines, parquet, lhe, or a layout of jets: top_tagging, quark_gluon, jetclass; by default after
            the suffix (.csv, .txt, .parquet, .lhe; .gz; .h5, .npz, .root).
        mapping: columns of a foreign Parquet file.
        process: name for all events, in place of the names in the files.
        luminosity: integrated luminosity of the weights in 1/fb.
        unit: unit of the energies. By default, Dark Machines text is in MeV, foreign Parquet and jets are in GeV.
        tolerant: leave out what cannot be used (bad lines of text, bad rows of tables, undecayed particles of LHE
            files) and count it in the provenance.
        combine: `average` productions of one process, or `add` them: decay channels, slices of H_T.
        renumber: mix event numbers with the checksum of their file, where they count within each file only.

    Example:
        >>> ReaderSettings(process="ttW", unit="GeV").format_of("events.csv.gz")
        'darkmachines'
    """

    format: Format | None = None
    mapping: Mapping | None = None
    process: str | None = None
    luminosity: float = 100.0
    unit: Unit | None = None
    tolerant: bool = False
    combine: Combine = "average"
    renumber: bool = False

    def format_of(self, path: str | Path) -> Format:
        """The format in the settings, or the format of the suffix.

        Raises:
            EventError: a suffix of no known format.
        """
        return self.format or format_of(path)

    def may_state_normalisation(self, path: Path) -> bool:
        """Whether a file of this format may state how its events are normalised."""
        format = self.format_of(path)
        return format == "lhe" or (format == "parquet" and self.mapping is None)

    def is_streamed(self, path: Path) -> bool:
        """Whether a file is read in memory that does not grow with it."""
        format = self.format_of(path)
        if self.mapping is not None or self.tolerant:
            return False
        return format == "darkmachines" or (format == "parquet" and self.unit is None)


def format_of(path: str | Path) -> Format:
    """The format of a file by its suffix.

    Raises:
        EventError: a suffix of no known format.
    """
    name = Path(path).name.lower()
    for suffix, format in SUFFIXES.items():
        if name.endswith(suffix):
            return format
    raise EventError(
        path,
        "has a suffix of no known format",
        remedy=f"name it by data.format (--format); known are {', '.join(SUFFIXES)}",
    )

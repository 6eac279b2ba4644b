"""Events: read, select, weigh, split."""

from femtobarn.events.errors import EventError
from femtobarn.events.lhe import LHEInfo, lhe_info, read_lhe
from femtobarn.events.mapping import Mapping
from femtobarn.events.parquet import read_parquet, write_parquet
from femtobarn.events.record import Events, Padded, concatenate
from femtobarn.events.split import Split, split, subset

__all__ = [
    "EventError",
    "Events",
    "LHEInfo",
    "Mapping",
    "Padded",
    "Split",
    "concatenate",
    "lhe_info",
    "read_lhe",
    "read_parquet",
    "split",
    "subset",
    "write_parquet",
]

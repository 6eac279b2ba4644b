"""Events: read, select, weigh, split."""

from femtobarn.events.errors import EventError
from femtobarn.events.formats.darkmachines import read_darkmachines, write_darkmachines
from femtobarn.events.formats.jetclass import read_jetclass
from femtobarn.events.formats.lhe import LHEInfo, lhe_info, read_lhe
from femtobarn.events.formats.mapping import Mapping
from femtobarn.events.formats.parquet import read_parquet, write_parquet
from femtobarn.events.formats.quarkgluon import read_quark_gluon
from femtobarn.events.formats.toptagging import read_top_tagging
from femtobarn.events.inspect import Inspection, inspect, show
from femtobarn.events.read import read, stream, write
from femtobarn.events.reader_settings import ReaderSettings
from femtobarn.events.record import Events, Padded, concatenate
from femtobarn.events.selection.cuts import SelectionError, Step, cutflow, select
from femtobarn.events.split import Split, split, subset
from femtobarn.events.systematics import VARIATIONS, vary

__all__ = [
    "VARIATIONS",
    "EventError",
    "Events",
    "Inspection",
    "LHEInfo",
    "Mapping",
    "Padded",
    "ReaderSettings",
    "SelectionError",
    "Split",
    "Step",
    "concatenate",
    "cutflow",
    "inspect",
    "lhe_info",
    "read",
    "read_darkmachines",
    "read_jetclass",
    "read_lhe",
    "read_parquet",
    "read_quark_gluon",
    "read_top_tagging",
    "select",
    "show",
    "split",
    "stream",
    "subset",
    "vary",
    "write",
    "write_darkmachines",
    "write_parquet",
]

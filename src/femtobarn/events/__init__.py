"""Events: read, select, weigh, split."""

from femtobarn.events.errors import EventError
from femtobarn.events.mapping import Mapping
from femtobarn.events.parquet import read_parquet, write_parquet
from femtobarn.events.record import Events, Padded, concatenate

__all__ = ["EventError", "Events", "Mapping", "Padded", "concatenate", "read_parquet", "write_parquet"]

"""Events: read, select, weigh, split."""

from femtobarn.events.record import Events, Padded, concatenate

__all__ = ["Events", "Padded", "concatenate"]

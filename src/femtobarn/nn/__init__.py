"""Layers that two models share."""

from femtobarn.nn.attention import attend, closed, listening, tell
from femtobarn.nn.batchnorm import BatchNorm
from femtobarn.nn.neighbours import all_pairs, nearest
from femtobarn.nn.rows import Rows

__all__ = ["BatchNorm", "Rows", "all_pairs", "attend", "closed", "listening", "nearest", "tell"]

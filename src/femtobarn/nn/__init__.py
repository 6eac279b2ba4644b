"""Layers that two models share."""

from femtobarn.nn.attention import attend, attend_once, closed, listening
from femtobarn.nn.batchnorm import BatchNorm
from femtobarn.nn.neighbours import all_pairs, nearest
from femtobarn.nn.pairs import pair_bias, pair_layers
from femtobarn.nn.readout import perceptron, readout
from femtobarn.nn.rows import Rows

__all__ = [
    "BatchNorm",
    "Rows",
    "all_pairs",
    "attend",
    "attend_once",
    "closed",
    "listening",
    "nearest",
    "pair_bias",
    "pair_layers",
    "perceptron",
    "readout",
]

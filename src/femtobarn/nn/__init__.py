"""Layers that two models share."""

from femtobarn.nn.attention import (
    Bias,
    as_many,
    attend,
    attend_from_last,
    attend_once,
    closed,
    listening,
    read_once,
    shared,
    tell,
)
from femtobarn.nn.batchnorm import BatchNorm, folded, normed
from femtobarn.nn.directions import Directions, directions, whole_event
from femtobarn.nn.dropout import dropout
from femtobarn.nn.neighbours import all_pairs, nearest
from femtobarn.nn.pairs import PairLayers, mirrored, once, pair_bias
from femtobarn.nn.pieces import at_once, in_pieces
from femtobarn.nn.products import Linear, filled, linear
from femtobarn.nn.readout import perceptron, readout, start
from femtobarn.nn.rows import Rows
from femtobarn.nn.steps import repeat
from femtobarn.nn.tokens import Reference, Tokens, followed, scalars_of, tokens
from femtobarn.nn.transport import Transport
from femtobarn.nn.trees import Tree, grow

__all__ = [
    "BatchNorm",
    "Bias",
    "Directions",
    "Linear",
    "PairLayers",
    "Reference",
    "Rows",
    "Tokens",
    "Transport",
    "Tree",
    "all_pairs",
    "as_many",
    "at_once",
    "attend",
    "attend_from_last",
    "attend_once",
    "closed",
    "directions",
    "dropout",
    "filled",
    "folded",
    "followed",
    "grow",
    "in_pieces",
    "linear",
    "listening",
    "mirrored",
    "nearest",
    "normed",
    "once",
    "pair_bias",
    "perceptron",
    "read_once",
    "readout",
    "repeat",
    "scalars_of",
    "shared",
    "start",
    "tell",
    "tokens",
    "whole_event",
]

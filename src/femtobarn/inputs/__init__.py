"""From events to padded tensors, and from padded tensors to features."""

from femtobarn.inputs.batch import CONTEXT, Batch, make_batch
from femtobarn.inputs.columns import columns
from femtobarn.inputs.constituents import FEATURES, OBJECTS
from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.inputs.features import Inputs
from femtobarn.inputs.interactions import INTERACTIONS
from femtobarn.inputs.loader import batches

__all__ = [
    "CONTEXT",
    "FEATURES",
    "INTERACTIONS",
    "OBJECTS",
    "Batch",
    "Features",
    "Inputs",
    "Sizes",
    "batches",
    "columns",
    "make_batch",
]

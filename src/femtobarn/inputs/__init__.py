"""From events to padded tensors, and from padded tensors to features."""

from femtobarn.inputs.batch import CONTEXT, Batch, make_batch
from femtobarn.inputs.columns import columns
from femtobarn.inputs.constituents import FEATURES, OBJECTS
from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.inputs.feature_sets import EVENTS, FEATURE_SETS, JETS, POINTS, Domain, feature_set
from femtobarn.inputs.features import Inputs
from femtobarn.inputs.interactions import INTERACTIONS
from femtobarn.inputs.loader import batches

__all__ = [
    "CONTEXT",
    "EVENTS",
    "FEATURES",
    "FEATURE_SETS",
    "INTERACTIONS",
    "JETS",
    "OBJECTS",
    "POINTS",
    "Batch",
    "Domain",
    "Features",
    "Inputs",
    "Sizes",
    "batches",
    "columns",
    "feature_set",
    "make_batch",
]

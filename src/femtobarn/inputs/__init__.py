"""From events to padded tensors, and from padded tensors to features."""

from femtobarn.inputs.batch import CONTEXT, Batch, make_batch
from femtobarn.inputs.encoded import Encoded, Sizes

__all__ = ["CONTEXT", "Batch", "Encoded", "Sizes", "make_batch"]

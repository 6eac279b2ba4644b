"""Training: a loop that yields, optimisers by name, checkpoints, devices."""

from femtobarn.training.devices import choose, seed_everything, use_threads
from femtobarn.training.feeds import outputs
from femtobarn.training.history import Epoch
from femtobarn.training.loop import fit
from femtobarn.training.pretrained import PretrainedParameters
from femtobarn.training.settings import TrainingConfig

__all__ = [
    "Epoch",
    "PretrainedParameters",
    "TrainingConfig",
    "choose",
    "fit",
    "outputs",
    "seed_everything",
    "use_threads",
]

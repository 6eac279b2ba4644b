"""Training: a loop that yields, optimisers by name, checkpoints, devices."""

from femtobarn.training.devices import choose, seed_everything, use_threads
from femtobarn.training.feeds import outputs
from femtobarn.training.history import Epoch
from femtobarn.training.loop import fit
from femtobarn.training.settings import TrainingConfig
from femtobarn.training.start import Start

__all__ = ["Epoch", "Start", "TrainingConfig", "choose", "fit", "outputs", "seed_everything", "use_threads"]

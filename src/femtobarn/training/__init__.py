"""Training: a loop that yields, loaders, optimizers by name, checkpoints, devices."""

from femtobarn.training.devices import resolve_device, seed_everything, use_threads
from femtobarn.training.history import EpochResult
from femtobarn.training.inference import predict_outputs
from femtobarn.training.loop import fit
from femtobarn.training.pretrained import PretrainedParameters
from femtobarn.training.settings import TrainingConfig
from femtobarn.training.task import Task

__all__ = [
    "EpochResult",
    "PretrainedParameters",
    "Task",
    "TrainingConfig",
    "fit",
    "predict_outputs",
    "resolve_device",
    "seed_everything",
    "use_threads",
]

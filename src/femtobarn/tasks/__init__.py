"""Tasks: what a network is asked, how its answer is punished and what is read off it."""

from femtobarn.tasks.calibration import Calibration, calibrate
from femtobarn.tasks.classification import ClassificationConfig, Classifier

__all__ = ["Calibration", "ClassificationConfig", "Classifier", "calibrate"]

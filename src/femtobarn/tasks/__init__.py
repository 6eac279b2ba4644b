"""Tasks: what a network is asked, how its answer is punished and what is read off it."""

from femtobarn.tasks.calibration import Calibration, calibrate
from femtobarn.tasks.classification import Classification, Classifier

__all__ = ["Calibration", "Classification", "Classifier", "calibrate"]

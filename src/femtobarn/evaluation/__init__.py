"""From scores to numbers with errors: efficiencies, significances, luminosities, and models side by side."""

from femtobarn.evaluation.best import Best, best_cut
from femtobarn.evaluation.compare import Comparison, ModelResult, by_model, compare
from femtobarn.evaluation.confusion import Confusion, confusion
from femtobarn.evaluation.judge import judge
from femtobarn.evaluation.measure import Measured, measure
from femtobarn.evaluation.measurement import Measurement, Metric
from femtobarn.evaluation.paired import Paired, delong, paired
from femtobarn.evaluation.reliability import Calibrated, Reliability, calibrated
from femtobarn.evaluation.runs import Run, load_run, run_folders
from femtobarn.evaluation.scores import Scores
from femtobarn.evaluation.sections import fit_section
from femtobarn.evaluation.settings import EvaluationConfig
from femtobarn.evaluation.shift_table import shift_table
from femtobarn.evaluation.shifts import NOTE as SHIFT_NOTE
from femtobarn.evaluation.shifts import judge_shifts, read_shifts
from femtobarn.evaluation.significance import asimov, luminosity_gain, significance
from femtobarn.evaluation.table import Table
from femtobarn.evaluation.tables import PAIR_NOTE, csv_table, legend, markdown, section_table, tables

__all__ = [
    "PAIR_NOTE",
    "SHIFT_NOTE",
    "Best",
    "Calibrated",
    "Comparison",
    "Confusion",
    "EvaluationConfig",
    "Measured",
    "Measurement",
    "Metric",
    "ModelResult",
    "Paired",
    "Reliability",
    "Run",
    "Scores",
    "Table",
    "asimov",
    "best_cut",
    "by_model",
    "calibrated",
    "compare",
    "confusion",
    "csv_table",
    "delong",
    "fit_section",
    "judge",
    "judge_shifts",
    "legend",
    "load_run",
    "luminosity_gain",
    "markdown",
    "measure",
    "paired",
    "read_shifts",
    "run_folders",
    "section_table",
    "shift_table",
    "significance",
    "tables",
]

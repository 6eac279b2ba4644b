"""Damaged YAML is a ConfigError that names the file, or an experiment or study that is written and read as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from femtobarn.experiments import document, experiment
from femtobarn.experiments.document import ConfigError
from femtobarn.experiments.experiment import Experiment
from femtobarn.studies import study
from femtobarn.studies.study import StudyConfig
from tests.support.fuzzing import N_MUTANTS, fuzz

TEXT = b"""# a comment
label: FCN
data:
  files: {tttt: [a/*.parquet, "b.parquet"], ttH: c.parquet}
  selection: n_jet >= 6 and HT > 600
  split: {train: 0.5, validation: 0.25, test: 0.25}
  luminosity: 139.5
inputs: {interactions: [], slots: 20}
model:
  name: fcn
  widths: [8, 16]
  norm: layer
  dropout: 1e-1
task: {signal: [tttt], loss: focal, gamma: 3, alpha: 0.75}
training: &training
  epochs: 5
  lr: 2.5e-3
  patience: null
  ema: 0.99
evaluation: {luminosity: 300, efficiencies: [0.3, 0.7], bootstrap: 20}
seed: 7
"""
STUDY = b"""name: do pairs help?
base: &base
  data: {sample: four-top}
  task: {signal: [tttt]}
  training: {epochs: 2, batch_size: 64}
models:
  BDT: &trees {model: {name: bdt, n_estimators: 8}}
  BDT_int: {<<: *trees, inputs: {interactions: [mass]}}
seeds: [1, 2]
sizes: [0.5, 1.0]
"""


def same_experiment(found: Experiment, _: Any) -> None:
    assert experiment.load(document.parse(experiment.dump(found))) == found
    assert all(value == value for value in document.flatten(found.model_dump(mode="json")).values())  # no NaN


def possible(found: StudyConfig, _: Any) -> None:
    planned = study.plan(found, Path("runs"))
    assert len({run.folder for run in planned}) == len(found.models) * len(found.seeds) * len(found.sizes)
    same_experiment(planned[0].experiment, None)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_a_damaged_experiment_is_refused_or_means_what_it_says(tmp_path, n_mutants):
    result = fuzz(experiment.load, TEXT, tmp_path / "one.yaml", n_mutants, errors=(ConfigError,), check=same_experiment)
    assert min(result.n_refused, result.n_accepted) > n_mutants // 20


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_wrong_values_of_an_experiment_are_refused_or_mean_what_they_say(tmp_path, n_mutants):
    def write(path: Path, tree: Any) -> None:
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")

    path, tree = tmp_path / "one.yaml", document.parse(TEXT.decode())
    unwritable = (yaml.representer.RepresenterError, UnicodeEncodeError)
    fuzz(
        experiment.load, tree, path, n_mutants, errors=(ConfigError,), check=same_experiment, write=write,
        unwritable=unwritable,
    )  # fmt: skip


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_a_damaged_study_is_refused_or_means_what_it_says(tmp_path, n_mutants):
    fuzz(study.load, STUDY, tmp_path / "two.yaml", n_mutants, errors=(ConfigError,), check=possible)

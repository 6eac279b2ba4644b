"""Run: one experiment in one folder, trained and evaluated.

    config.yaml          the experiment, every default written out
    history.json         losses, epoch by epoch
    weights.safetensors  the network, raw objects to outputs (trees.txt for boosted trees)
    meta.json            versions, device, seeds, checksums, classes; written last by `train`
    predictions.parquet  the held-out events
    replicas.parquet     metrics of bootstrap replicas
    metrics.json         metrics with errors; written last by `evaluate`

Every file is there whole or not at all. A killed training goes on from its last epoch to the same numbers. Checksums of
all files stand in `meta.json` and `metrics.json`, and are compared whenever the run is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from femtobarn.evaluation.runs import (
    CONFIG,
    CONFIG_CHECKSUM,
    EVALUATE_AGAIN,
    HISTORY,
    META,
    METRICS,
    PREDICTIONS,
    REPLICAS,
    TREES,
    WEIGHTS,
    config_checksum,
    predictions_file,
    read_metrics,
)
from femtobarn.events.storage.checksums import compare_checksums, write_checked_json
from femtobarn.experiments import document
from femtobarn.experiments import experiment as experiments
from femtobarn.experiments.experiment import Experiment
from femtobarn.runs import provenance
from femtobarn.runs.cost import cost
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.predictor import Predictor, is_trained, load_network, predict, require_trained
from femtobarn.runs.pretrained import PretrainedWeights, load_pretrained, pretrained_metadata
from femtobarn.runs.provenance import OpenFolder
from femtobarn.runs.splits import DataSplits, load_splits
from femtobarn.runs.trained_model import TrainedModel, new_model
from femtobarn.tasks.registry import task_kind
from femtobarn.training import distributed
from femtobarn.training.settings import RUNTIME_SETTINGS

__all__ = [
    "Predictor",
    "Progress",
    "Step",
    "differences",
    "evaluate",
    "is_finished",
    "is_trained",
    "load_network",
    "predict",
    "train",
]

CHECKPOINT = "checkpoint.safetensors"

#: Settings that may change between a kill and the resumption.
RUNTIME_PATHS = {f"training.{name}" for name in RUNTIME_SETTINGS}


class Step(NamedTuple):
    """Where a run stands, for whoever watches."""

    stage: str  # reading, training, evaluating
    done: int = 0  # epochs, or trees
    total: int = 0
    train_loss: float | None = None
    valid_loss: float | None = None
    best: float | None = None  # lowest validation loss so far


Progress = Callable[[Step], None]


def _silent(step: Step) -> None:
    pass


def train(
    experiment: Experiment, folder: str | Path, *, progress: Progress = _silent, cache: EventCache | None = None
) -> Path:
    """Trains the model of an experiment in its folder, from where an earlier attempt stopped; a finished one is kept.

    Called by several processes that `torchrun` started, it trains one network in all of them to the weights of a single
    process (`femtobarn.training.distributed`); the first one writes the folder.

    Args:
        experiment: the experiment.
        folder: run folder.
        progress: called after each epoch.
        cache: events of earlier runs, and those of this one for later runs.

    Returns:
        the folder.

    Raises:
        ValueError: the folder holds another experiment (the message shows the differences), the data lack a process or
            column, or the weights to begin with are of another network (the message shows the keys).
        RuntimeError: another process is at work in the folder, or it was deleted or replaced meanwhile.
    """
    folder = Path(folder)
    cache = EventCache() if cache is None else cache
    with distributed.process_group(experiment.training.device):
        if distributed.rank():
            _help(experiment, folder, cache)
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        with provenance.folder_lock(folder) as lock:
            _claim(experiment, lock)
            due = not is_trained(folder)
            distributed.broadcast_scalar(float(due))  # the others wait to hear it
            if due:
                progress(Step("reading"))
                pretrained = load_pretrained(experiment)
                splits = load_splits(experiment, cache)
                model = new_model(experiment, splits.task.outputs)
                history = _fit(model, splits, pretrained, cache, lock, progress)
                head = splits.validation.head()
                task, calibration = splits.task.calibrate(model.outputs(head.batch), head.targets(splits.task))
                model.save(folder, task, check=lock.check)
                provenance.atomic_write_json(folder / HISTORY, history, check=lock.check)
                facts = _meta(experiment, splits, history, model)
                facts |= {"task": task.state(), **calibration}
                facts |= cost(model, splits.test.head().batch) | pretrained_metadata(pretrained)
                write_checked_json(folder / META, facts, files=(HISTORY, model.file), check=lock.check)
                (folder / CHECKPOINT).unlink(missing_ok=True)
    return folder


def _fit(
    model: TrainedModel,
    splits: DataSplits,
    pretrained: PretrainedWeights | None,
    cache: EventCache,
    lock: OpenFolder,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Train a model and report its progress."""
    best = float("inf")

    def watch(entry: dict[str, Any]) -> None:
        nonlocal best
        best = min(best, entry["valid_loss"])
        progress(Step("training", entry["epoch"], model.n_epochs, entry["train_loss"], entry["valid_loss"], best))

    checkpoint = lock.path / CHECKPOINT
    return model.fit(splits, pretrained, cache, checkpoint=checkpoint, watch=watch, check=lock.check)


def _help(experiment: Experiment, folder: Path, cache: EventCache) -> None:
    """Compute a share of the training of the first process, without writing; trees grow in that process alone."""
    due = distributed.broadcast_scalar(0.0)
    if due and experiment.model.is_network:
        splits = load_splits(experiment, cache)
        model = new_model(experiment, splits.task.outputs)
        pretrained = load_pretrained(experiment)
        model.fit(splits, pretrained, cache, checkpoint=folder / CHECKPOINT, watch=lambda entry: None)


def evaluate(folder: str | Path, *, progress: Progress = _silent, cache: EventCache | None = None) -> dict[str, Any]:
    """Predict for the held-out events with a trained model and evaluate; a finished evaluation is read back.

    Returns:
        content of `metrics.json`; for a classifier see `femtobarn.tasks.classification.metrics`.

    Raises:
        ValueError: no trained run in the folder, a file of it was changed or damaged, or its events have changed since.
        RuntimeError: another process is at work in the folder, or it was deleted or replaced meanwhile.
    """
    folder = Path(folder)
    require_trained(folder)
    with provenance.folder_lock(folder) as lock:
        predictor = Predictor.load(folder)
        learned = predictor.model.file
        if not is_finished(folder):
            experiment, task = predictor.experiment, predictor.task
            progress(Step("evaluating"))
            cache = EventCache() if cache is None else cache
            splits = predictor.splits(folder, cache)
            columns = task.context_columns(experiment.evaluation)
            events, outputs = predictor.model.predict_dataset(splits.test, cache, columns)
            predictions = task.predictions(events, task.predict(outputs), experiment.evaluation, splits.yields)
            predictions.write(folder / PREDICTIONS, check=lock.check)
            metrics, replicas = task_kind(experiment.task.kind).evaluate(predictions, experiment.evaluation)
            replicas.write(folder / REPLICAS, metrics["settings"], check=lock.check)
            files = (PREDICTIONS, REPLICAS, learned)
            write_checked_json(folder / METRICS, metrics, files=files, check=lock.check)
        recorded = read_metrics(folder)
        if recorded.checked:
            compare_checksums(folder, recorded.files, (predictions_file(folder).name, learned), EVALUATE_AGAIN)
    metrics_of_run: dict[str, Any] = recorded.content
    return metrics_of_run


def is_finished(folder: Path) -> bool:
    """True for a folder with the evaluation in it; such a run is never computed again."""
    return is_trained(folder) and (folder / METRICS).is_file()


def differences(experiment: Experiment, folder: Path) -> dict[str, str]:
    """What an experiment changes against the one in a run folder, by path; device and threads change no result."""
    changes = experiments.differences(experiments.load(folder / CONFIG), experiment)
    return {path: change for path, change in changes.items() if path not in RUNTIME_PATHS}


def _claim(experiment: Experiment, lock: OpenFolder) -> None:
    """Claim the folder for this experiment, or refuse if it is another's; a changed evaluation is computed again."""
    folder = lock.path
    if (folder / CONFIG).is_file():
        changes = differences(experiment, folder)
        is_started = any((folder / name).exists() for name in (CHECKPOINT, HISTORY, META, METRICS, WEIGHTS, TREES))
        if is_started and any(not path.startswith("evaluation.") for path in changes):
            lines = "\n".join(f"  {path}: {change}" for path, change in changes.items())
            remedy = "choose another folder or delete it"
            raise ValueError(f"{folder} holds another experiment; {remedy}:\n{lines}{_longer(experiment, folder)}")
        if not changes:
            return
        (folder / METRICS).unlink(missing_ok=True)
        if is_started:  # META has the checksum of all other sections, with the names that their keys had then
            stored, *_ = document.read(folder / CONFIG)
            evaluation = experiment.evaluation.model_dump(mode="json")
            provenance.atomic_write_text(
                folder / CONFIG, document.write({**stored, "evaluation": evaluation}), check=lock.check
            )
            return
    elif any((folder / name).exists() for name in (META, METRICS, WEIGHTS, TREES)):
        raise ValueError(f"{folder} holds files of a run, but no {CONFIG}; choose another folder")
    provenance.atomic_write_text(folder / CONFIG, experiments.dump(experiment), check=lock.check)


def _longer(experiment: Experiment, folder: Path) -> str:
    """How to go on from a finished training that is asked for more epochs."""
    before = experiments.load(folder / CONFIG)
    if not (is_trained(folder) and before.model.is_network and experiment.model.is_network):
        return ""
    if experiment.training.epochs <= before.training.epochs:
        return ""
    return (
        f"\nIts training of {before.training.epochs} epochs is finished, and its learning rate has run out. To "
        f"continue from its weights, train in another folder with model.init_from={folder} and the epochs to add."
    )


def _meta(
    experiment: Experiment, splits: DataSplits, history: list[dict[str, Any]], model: TrainedModel
) -> dict[str, Any]:
    """What `meta.json` holds of every training."""
    seconds = sum(entry["seconds"] for entry in history)
    events = {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
    }
    return {
        CONFIG_CHECKSUM: config_checksum(yaml.safe_load(experiments.dump(experiment))),
        "label": experiment.label,
        "model": experiment.model.name,
        "seed": experiment.seed,
        "parameters": model.n_parameters,
        "epochs": len(history),
        "events": events,
        "seconds": seconds,
        "events_per_second": events["train"] * len(history) / seconds if seconds else None,
        "device": provenance.device(model.device),
        "threads": experiment.training.threads,
        "command": provenance.command(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": provenance.versions(),
        "inputs": {"fingerprint": splits.fingerprint, "provenance": splits.provenance},
    }

"""Run: one experiment in one folder, trained and judged.

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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
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
from femtobarn.events.storage.atomic import unchecked
from femtobarn.events.storage.checksums import compare_checksums, write_checked_json
from femtobarn.experiments import document
from femtobarn.experiments import experiment as experiments
from femtobarn.experiments.experiment import Experiment
from femtobarn.inputs import Inputs
from femtobarn.models import BDT, Network
from femtobarn.runs import provenance
from femtobarn.runs.cost import cost
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.predictor import Trained, as_scores, build, is_trained, load_network, require_trained, score
from femtobarn.runs.pretrained import PretrainedWeights, apply_pretrained, load_pretrained, pretrained_metadata
from femtobarn.runs.provenance import OpenFolder
from femtobarn.runs.splits import DataSplits, load_splits
from femtobarn.tasks.classification.calibration import Calibration, calibrate
from femtobarn.tasks.classification.metrics import evaluate as evaluate_scores
from femtobarn.training import EpochResult, PretrainedParameters, distributed, fit, resolve_device
from femtobarn.training.settings import RUNTIME_SETTINGS
from femtobarn.training.tensorfile import save_tensors

__all__ = [
    "Progress",
    "Step",
    "Trained",
    "build",
    "differences",
    "evaluate",
    "is_finished",
    "is_trained",
    "load_network",
    "score",
    "train",
]

CHECKPOINT = "checkpoint.safetensors"

#: Settings that may change between a kill and the resumption.
RUNTIME_PATHS = {f"training.{name}" for name in RUNTIME_SETTINGS}


class Step(NamedTuple):
    """Where a run stands, for whoever watches."""

    stage: str  # reading, training, judging
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
            _help(experiment, folder)
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        with provenance.alone(folder) as lock:
            _claim(experiment, lock)
            due = not is_trained(folder)
            distributed.broadcast_scalar(float(due))  # the others wait to hear it
            if due:
                progress(Step("reading"))
                pretrained = load_pretrained(experiment)
                splits = load_splits(experiment, cache)
                grow = (
                    partial(_train_network, pretrained) if experiment.model.is_network else partial(_train_trees, cache)
                )
                history, model = grow(experiment, splits, lock, progress)
                found = _calibration(experiment, splits, model, cache)
                provenance.write_json(folder / HISTORY, history, check=lock.check)
                costs = cost(Trained(experiment, {}, model, splits.task), splits.test.head().batch)
                facts = _meta(experiment, splits, history, model, found) | costs | pretrained_metadata(pretrained)
                files = (HISTORY, WEIGHTS if experiment.model.is_network else TREES)
                write_checked_json(folder / META, facts, files=files, check=lock.check)
                (folder / CHECKPOINT).unlink(missing_ok=True)
    return folder


def _help(experiment: Experiment, folder: Path) -> None:
    """Computes a share of the training of the first process, and writes nothing; trees are grown by that one alone."""
    due = distributed.broadcast_scalar(0.0)
    if due and experiment.model.is_network:
        pretrained = load_pretrained(experiment)
        splits = load_splits(experiment)
        network, learned = _network(experiment, splits, pretrained)
        for _ in _fit(network, learned, experiment, splits, folder):
            pass


def evaluate(folder: str | Path, *, progress: Progress = _silent, cache: EventCache | None = None) -> dict[str, Any]:
    """Scores the held-out events with a trained model and judges the scores; done already, the numbers are read back.

    Returns:
        what `metrics.json` holds; see `femtobarn.tasks.classification.metrics`.

    Raises:
        ValueError: no trained run in the folder, a file of it was changed or damaged, or its events have changed since.
        RuntimeError: another process is at work in the folder, or it was deleted or replaced meanwhile.
    """
    folder = Path(folder)
    require_trained(folder)
    with provenance.alone(folder) as lock:
        trained = Trained.load(folder)
        learned = WEIGHTS if trained.experiment.model.is_network else TREES
        if not is_finished(folder):
            experiment = trained.experiment
            progress(Step("judging"))
            cache = EventCache() if cache is None else cache
            splits = trained.splits(folder, cache)
            table = None if experiment.model.is_network else splits.table(experiment.inputs, cache).test
            events, logits = trained.judged(splits.test, table)
            said = trained.task.scores(logits)
            scores = as_scores(trained.task, events, said, experiment.evaluation.luminosity, splits.yields)
            scores.write(folder / PREDICTIONS, check=lock.check)
            metrics, replicas = evaluate_scores(scores, experiment.evaluation)
            replicas.write(folder / REPLICAS, metrics["settings"], check=lock.check)
            files = (PREDICTIONS, REPLICAS, learned)
            write_checked_json(folder / METRICS, metrics, files=files, check=lock.check)
        recorded = read_metrics(folder)
        if recorded.checked:
            compare_checksums(folder, recorded.files, (predictions_file(folder).name, learned), EVALUATE_AGAIN)
    judgement: dict[str, Any] = recorded.content
    return judgement


def is_finished(folder: Path) -> bool:
    """True for a folder with the judgement in it; such a run is never computed again."""
    return is_trained(folder) and (folder / METRICS).is_file()


def differences(experiment: Experiment, folder: Path) -> dict[str, str]:
    """What an experiment changes against the one in a run folder, by path; device and threads change no result."""
    found = experiments.differences(experiments.load(folder / CONFIG), experiment)
    return {path: change for path, change in found.items() if path not in RUNTIME_PATHS}


def _claim(experiment: Experiment, lock: OpenFolder) -> None:
    """Makes the folder this experiment's, or refuses if it is another's; a changed judgement alone is made again."""
    folder = lock.path
    if (folder / CONFIG).is_file():
        found = differences(experiment, folder)
        begun = any((folder / name).exists() for name in (CHECKPOINT, HISTORY, META, METRICS, WEIGHTS, TREES))
        if begun and any(not path.startswith("evaluation.") for path in found):
            lines = "\n".join(f"  {path}: {change}" for path, change in found.items())
            remedy = "choose another folder or delete it"
            raise ValueError(f"{folder} holds another experiment; {remedy}:\n{lines}{_longer(experiment, folder)}")
        if not found:
            return
        (folder / METRICS).unlink(missing_ok=True)
        if begun:  # META has the checksum of all other sections, with the names that their keys had then
            stored, *_ = document.read(folder / CONFIG)
            evaluation = experiment.evaluation.model_dump(mode="json")
            provenance.write_text(
                folder / CONFIG, document.write({**stored, "evaluation": evaluation}), check=lock.check
            )
            return
    elif any((folder / name).exists() for name in (META, METRICS, WEIGHTS, TREES)):
        raise ValueError(f"{folder} holds files of a run, but no {CONFIG}; choose another folder")
    provenance.write_text(folder / CONFIG, experiments.dump(experiment), check=lock.check)


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


def _train_network(
    pretrained: PretrainedWeights | None,
    experiment: Experiment,
    splits: DataSplits,
    lock: OpenFolder,
    progress: Progress,
) -> tuple[list[dict[str, Any]], Network]:
    network, learned = _network(experiment, splits, pretrained)
    history: list[dict[str, Any]] = []
    best = float("inf")
    settings = experiment.training
    for epoch in _fit(network, learned, experiment, splits, lock.path, lock.check):
        history.append(
            {
                "epoch": epoch.number,
                **{name: getattr(epoch, name) for name in ("train_loss", "valid_loss", "lr", "seconds")},
            }
        )
        best = min(best, epoch.valid_loss)
        progress(Step("training", epoch.number, settings.epochs, epoch.train_loss, epoch.valid_loss, best))
    save_tensors(lock.path / WEIGHTS, network.state_dict(), check=lock.check)
    return history, network


def _network(
    experiment: Experiment, splits: DataSplits, pretrained: PretrainedWeights | None
) -> tuple[Network, PretrainedParameters]:
    """Network before the training: with pretrained weights, or random ones and features standardized to the sample."""
    network = build(experiment, splits.task.outputs)
    if pretrained is not None:
        return network, apply_pretrained(network, pretrained, tuple(splits.task.names))
    head = splits.train.head()
    network.inputs.fit(head.batch, torch.from_numpy(head.columns(splits.task).weight))
    return network, PretrainedParameters()


def _fit(
    network: Network,
    learned: PretrainedParameters,
    experiment: Experiment,
    splits: DataSplits,
    folder: Path,
    check: Callable[[], object] = unchecked,
) -> Iterator[EpochResult]:
    return fit(
        network,
        splits.task,
        splits.train,
        splits.validation,
        experiment.training,
        seed=experiment.seed,
        checkpoint=folder / CHECKPOINT,
        pretrained=learned,
        check=check,
    )


def _train_trees(
    cache: EventCache, experiment: Experiment, splits: DataSplits, lock: OpenFolder, progress: Progress
) -> tuple[list[dict[str, Any]], BDT]:
    table = splits.table(experiment.inputs, cache)
    sizes = Inputs(experiment.inputs.interactions, experiment.inputs.features).sizes(splits.task.outputs)
    trees = BDT(sizes, **experiment.model.settings)
    best = float("inf")

    def watch(entry: dict[str, Any]) -> None:
        nonlocal best
        best = min(best, entry["valid_loss"])
        progress(Step("training", entry["epoch"], trees.n_estimators, entry["train_loss"], entry["valid_loss"], best))

    labels = [splits.task.labels(dataset.events) for dataset in (splits.train, splits.validation)]
    weights = [splits.task.weights(dataset.events) for dataset in (splits.train, splits.validation)]
    history = trees.fit(
        table.train,
        labels[0],
        weights[0],
        table.validation,
        labels[1],
        weights[1],
        table.names,
        experiment.seed,
        experiment.training.threads,
        watch,
    )
    trees.save(lock.path / TREES, check=lock.check)
    return history, trees


def _calibration(experiment: Experiment, splits: DataSplits, model: Network | BDT, cache: EventCache) -> Calibration:
    """The temperature from the validation events, weighted as in training."""
    trees = isinstance(model, BDT)
    dataset = splits.validation if trees else splits.validation.head()
    table = splits.table(experiment.inputs, cache).validation if trees else None
    logits = Trained(experiment, {}, model, splits.task).outputs(dataset.batch, table)
    labels, weights = dataset.targets(splits.task)
    return calibrate(splits.task, logits, labels, weights)


def _meta(
    experiment: Experiment, splits: DataSplits, history: list[dict[str, Any]], model: Network | BDT, found: Calibration
) -> dict[str, Any]:
    seconds = sum(entry["seconds"] for entry in history)
    device = resolve_device(experiment.training.device).type if experiment.model.is_network else "cpu"
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
        "parameters": 0 if isinstance(model, BDT) else sum(parameter.numel() for parameter in model.parameters()),
        "epochs": len(history),
        "events": events,
        "seconds": seconds,
        "events_per_second": events["train"] * len(history) / seconds if seconds else None,
        "device": provenance.device(device),
        "threads": experiment.training.threads,
        "command": provenance.command(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": provenance.versions(),
        "task": {
            "signal": splits.task.signal,
            "background": splits.task.background,
            "yields": splits.task.yields,
            "temperature": found.temperature,
        },
        "calibration": found._asdict(),
        "classes": dict(zip(splits.task.names, splits.task.priors.tolist(), strict=True)),
        "inputs": {"fingerprint": splits.fingerprint, "provenance": splits.provenance},
    }

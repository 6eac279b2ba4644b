"""Run: a finished run folder, read and compared with the checksums in `meta.json` and `metrics.json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from femtobarn.evaluation.bootstrap import Replicas
from femtobarn.evaluation.predictions import Predictions
from femtobarn.events.storage.checksums import (
    CheckedJson,
    compare_checksums,
    content_checksum,
    read_checked_json,
    read_json,
)
from femtobarn.training.settings import FORMER_KEYS, RUNTIME_SETTINGS

CONFIG, META, HISTORY, METRICS = "config.yaml", "meta.json", "history.json", "metrics.json"
PREDICTIONS, REPLICAS = "predictions.parquet", "replicas.parquet"
STUDY = "study.yaml"
FILES = (CONFIG, META, HISTORY, METRICS)

#: Name of the predictions in runs of earlier versions.
OLD_PREDICTIONS = "scores.parquet"

#: What a training has learned: of a network, of boosted trees.
WEIGHTS, TREES = "weights.safetensors", "trees.txt"

#: Key of `meta.json`: the checksum of what in `config.yaml` decides the training.
CONFIG_CHECKSUM = "config_sha256"

#: Keys of `config.yaml` that may change after a training: where files lie, which the fingerprint of the events makes
#: harmless, and what changes no result. Former spellings of keys are in files of earlier versions.
FREE_KEYS = {
    "data": {"files", "prepared"},
    "model": {"init_from", "start"},
    "training": RUNTIME_SETTINGS | {FORMER_KEYS[key] for key in RUNTIME_SETTINGS if key in FORMER_KEYS},
}

TRAIN_AGAIN = "copy the run folder again, or delete it and train again"
EVALUATE_AGAIN = f"copy the run folder again, or delete its {METRICS} and evaluate it again with `femtobarn train`"


@dataclass(frozen=True, eq=False)
class Run:
    """One training and its evaluation, as stored in its folder.

    Args:
        path: the run folder.
        label: name of the model in tables and figures; runs with the same label differ in their seed only.
        seed: of this training.
        config: the resolved experiment.
        meta: versions, device, parameters, wall time, checksums.
        history: one entry per epoch (or tree) with its losses.
        predictions: of the held-out events.
        metrics: content of `metrics.json`.
        replicas: metrics for bootstrap replicas of the events; None if the run has none for its settings.
    """

    path: Path
    label: str
    seed: int
    config: Mapping[str, Any]
    meta: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    predictions: Predictions
    metrics: Mapping[str, Any]
    replicas: Replicas | None = None

    @property
    def task(self) -> str:
        """Name of the task, from `task.kind` of the configuration."""
        return str((self.config.get("task") or {}).get("kind") or "classification")

    @property
    def fraction(self) -> float:
        """The part of the training events that was used."""
        return float((self.config.get("data") or {}).get("fraction") or 1.0)


def load_run(path: Path) -> Run:
    """A finished run.

    Raises:
        ValueError: no run folder, an unfinished run (`metrics.json` is written last), or a file that can't be read or
            was changed or damaged after it was written.
    """
    if not (path / CONFIG).is_file():
        raise ValueError(f"{path} is no run folder: there is no {CONFIG} in it")
    predictions = predictions_file(path)
    missing = [name for name in (*FILES, predictions.name) if not (path / name).is_file()]
    if missing:
        raise ValueError(f"{path} is an unfinished run ({', '.join(missing)} missing); finish it or leave it out")
    meta = read_meta(path)
    absent = [name for name in ("label", "seed") if name not in meta.content]
    if absent:
        raise ValueError(f"{path / META} lacks {', '.join(absent)}; it has {', '.join(meta.content)}")
    if type(meta.content["seed"]) is not int:
        raise ValueError(f"{path / META}: the seed is {meta.content['seed']!r}, not a whole number; {TRAIN_AGAIN}")
    config = read_config(path, meta)
    metrics = read_metrics(path)
    learned = [name for name in (WEIGHTS, TREES) if (path / name).is_file()]
    compare_checksums(path, meta.files, [HISTORY, *learned], TRAIN_AGAIN)
    stored = [name for name in (predictions.name, REPLICAS) if name in metrics.files or name != REPLICAS]
    compare_checksums(path, metrics.files, [*stored, *learned], EVALUATE_AGAIN)
    return Run(
        path=path,
        label=str(meta.content["label"]),
        seed=meta.content["seed"],
        config=config,
        meta=meta.content,
        history=_history(path / HISTORY),
        predictions=Predictions.read(predictions),
        metrics=metrics.content,
        replicas=Replicas.read(path / REPLICAS, metrics.content["settings"]),
    )


def predictions_file(folder: Path) -> Path:
    """File of the predictions of a run, under its present or its old name."""
    path, old = folder / PREDICTIONS, folder / OLD_PREDICTIONS
    return old if old.is_file() and not path.is_file() else path


def read_meta(folder: Path) -> CheckedJson:
    """What `meta.json` of a run holds, and the checksums of its other files.

    Raises:
        ValueError: it can't be read, or was changed or damaged.
    """
    return read_checked_json(folder / META, TRAIN_AGAIN)


def read_metrics(folder: Path) -> CheckedJson:
    """What `metrics.json` of a run holds, and the checksums of the files that were evaluated.

    Raises:
        ValueError: it can't be read, was changed or damaged, or is no evaluation.
    """
    metrics = read_checked_json(folder / METRICS, EVALUATE_AGAIN)
    if not isinstance(metrics.content.get("settings"), dict):
        raise ValueError(f"{folder / METRICS} lacks the settings of the evaluation; {EVALUATE_AGAIN}")
    if metrics.checked:
        asked = _mapping(_read(folder / CONFIG), folder / CONFIG).get("evaluation")
        changed = _changed(metrics.content["settings"], asked)
        if changed:
            raise ValueError(
                f"{folder / CONFIG} has another {', '.join(changed)} than {METRICS} was made with; set it as before, "
                f"or delete {METRICS} and evaluate the run again with `femtobarn train`"
            )
    return metrics


def read_config(folder: Path, meta: CheckedJson) -> Mapping[str, Any]:
    """The experiment of a run as its `config.yaml` has it.

    Args:
        folder: of the run.
        meta: from `read_meta`.

    Raises:
        ValueError: it can't be read, or says otherwise than when the run was trained.
    """
    config = _mapping(_read(folder / CONFIG), folder / CONFIG)
    if meta.content.get(CONFIG_CHECKSUM, config_checksum(config)) != config_checksum(config):
        raise ValueError(
            f"{folder / CONFIG} was changed or damaged after the training: it is not the experiment that {META} is of; "
            "set it as before, or train the changed experiment in another folder"
        )
    return config


def config_checksum(config: Mapping[str, Any]) -> str:
    """SHA-256 of the part of an experiment that decides its training: all but the evaluation and `FREE_KEYS`."""
    kept = {name: value for name, value in config.items() if name != "evaluation"}
    for name, free in FREE_KEYS.items():
        if isinstance(kept.get(name), Mapping):
            kept[name] = {key: value for key, value in kept[name].items() if key not in free}
    return content_checksum(_plain(kept))


def run_folders(paths: Iterable[Path]) -> list[Path]:
    """The run folders among and below some paths; a study's folder stands for all of its runs.

    Those of a study come in the order in which its `study.yaml` names the models, others by their path.

    Raises:
        ValueError: a path that does not exist or holds no run.
    """
    folders: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise ValueError(f"{path} is no folder; give run folders, or a study's folder")
        inside = [path] if (path / CONFIG).is_file() else sorted(config.parent for config in path.rglob(CONFIG))
        if not inside:
            raise ValueError(f"no run in {path}: no {CONFIG} there or in a folder below")
        order = list((_read(path / STUDY) or {}).get("models") or {}) if (path / STUDY).is_file() else []
        places = {label: place for place, label in enumerate(order)}
        inside.sort(
            key=lambda folder: min(
                (places[part] for part in folder.relative_to(path).parts if part in places), default=len(places)
            )
        )
        folders += [folder for folder in inside if folder not in folders]
    return folders


def _history(path: Path) -> Sequence[Mapping[str, Any]]:
    history = read_json(path, TRAIN_AGAIN)
    sound = isinstance(history, list) and all(
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), int | float) for name in ("epoch", "train_loss", "valid_loss"))
        for entry in history
    )
    if not sound:
        raise ValueError(f"{path} is no list of epochs with train_loss and valid_loss; {TRAIN_AGAIN}")
    return list(history)


def _changed(before: Mapping[str, Any], now: Any) -> list[str]:
    """Settings of an evaluation that both sides have, with different values."""
    now = _plain(now) if isinstance(now, Mapping) else {}
    return [f"evaluation.{key}" for key, value in before.items() if key in now and now[key] != value]


def _plain(value: Any) -> Any:
    """A value of YAML as JSON has it: YAML knows dates, and keys that are no text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else repr(value)


def _mapping(value: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path} can't be read: it holds no keys and values; {TRAIN_AGAIN}")
    return value


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_bytes().decode())
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} can't be read: {error}") from None

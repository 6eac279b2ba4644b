"""Run: a finished run folder, read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from femtobarn.evaluation.scores import Scores
from femtobarn.events.files import checksum

CONFIG, META, HISTORY, SCORES, METRICS = "config.yaml", "meta.json", "history.json", "scores.parquet", "metrics.json"
STUDY = "study.yaml"
WORKSPACE, FIT = "workspace.json", "fit.json"
SAFETY = "safety.json"
FILES = (CONFIG, META, HISTORY, SCORES, METRICS)


@dataclass(frozen=True, eq=False)
class Run:
    """One training and its judgement, as its folder tells.

    Args:
        path: the run folder.
        label: name of the model in tables and figures; runs with the same label differ in their seed only.
        seed: of this training.
        config: the resolved experiment.
        meta: versions, device, parameters, wall time, checksums.
        history: one entry an epoch (or a tree) with its losses.
        scores: of the held-out events.
        metrics: the judgement.
        fit: what `femtobarn fit` has found for these scores and settings; None without.
    """

    path: Path
    label: str
    seed: int
    config: Mapping[str, Any]
    meta: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    scores: Scores
    metrics: Mapping[str, Any]
    fit: Mapping[str, Any] | None = None

    @property
    def fraction(self) -> float:
        """The part of the training events that was used."""
        return float((self.config.get("data") or {}).get("fraction") or 1.0)


def load_run(path: Path) -> Run:
    """A finished run.

    Raises:
        ValueError: no run folder, an unfinished run (`metrics.json` is written last), or a file that can't be read.
    """
    if not (path / CONFIG).is_file():
        raise ValueError(f"{path} is no run folder: there is no {CONFIG} in it")
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
        raise ValueError(f"{path} is an unfinished run ({', '.join(missing)} missing); finish it or leave it out")
    meta = _read(path / META)
    absent = [name for name in ("label", "seed") if name not in meta]
    if absent:
        raise ValueError(f"{path / META} lacks {', '.join(absent)}; it has {', '.join(meta)}")
    metrics = _read(path / METRICS)
    fit = _read(path / FIT) if (path / FIT).is_file() else None
    if fit is not None and (fit["settings"] != metrics["settings"] or fit["scores"] != checksum(path / SCORES)):
        fit = None  # judged anew since
    return Run(
        path=path,
        label=str(meta["label"]),
        seed=int(meta["seed"]),
        config=_read(path / CONFIG),
        meta=meta,
        history=_read(path / HISTORY),
        scores=Scores.read(path / SCORES),
        metrics=metrics,
        fit=fit,
    )


def run_folders(paths: Iterable[Path]) -> list[Path]:
    """The run folders among and below some paths; a study's folder stands for all of its runs.

    Those of a study come in the order in which its `study.yaml` names the models, others by their path.

    Raises:
        ValueError: a path that does not exist or holds no run.
    """
    found: list[Path] = []
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
        found += [folder for folder in inside if folder not in found]
    return found


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} can't be read: {error}") from error

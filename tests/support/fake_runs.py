"""Made-up run folders for tests of judging and reporting; their numbers are no physics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from femtobarn.events import Events
from femtobarn.tasks.classification.metrics import evaluate
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from tests.support.sample import PROCESSES

YIELDS = {"tttt": 45.0, "ttH": 180.0, "ttW": 260.0, "ttWW": 20.0, "ttZ": 210.0}
# how far apart two processes look: rows true, columns what a classifier could take it for
LOGITS = np.array(
    [
        [1.6, 0.1, -0.6, 0.7, -0.2],
        [0.1, 0.9, 0.3, 0.3, 0.2],
        [-0.9, 0.4, 1.3, 0.2, 0.4],
        [0.7, 0.3, 0.3, 0.9, 0.1],
        [-0.4, 0.3, 0.4, 0.0, 1.4],
    ]
)
MODELS = {"BDT": 0.80, "ParticleNet": 0.85, "ParticleNet_int_SM": 1.0, "ParT": 0.82, "ParT_int_SM": 1.03}


#: What a simulation tells of its processes; one had decay channels switched off, which is a step more.
RECORDS = {
    name: {
        "cross_section_pb": 0.37,
        "cross_section_error_pb": 0.002,
        "cross_section_from": "Les Houches file",
        "generated": 120_000,
        "simulation": {"source": f"{name}.lhe.gz", "responses": 3},
        "cut_flow": [
            {"cut": "cross section x luminosity", "events": 120_000, "yield": 37_000.0},
            *([{"cut": "decays left open", "events": 120_000, "yield": 12_345.0}] if name == "ttH" else []),
            {"cut": "n_jet >= 6", "events": 500, "yield": 27.0},
        ],
    }
    for name in PROCESSES
}


def make_scores(events: Events, sharpness: float = 1.0, seed: int = 0, kind: str = "process") -> Scores:
    """Scores of an imagined model: part of its noise is the event's own and common to all models."""
    true = np.array([PROCESSES.index(name) for name in events.process])
    own = np.random.default_rng(1).normal(size=(len(events), len(PROCESSES)))
    noise = np.random.default_rng(seed + 17).normal(size=own.shape)
    logits = 1.3 * sharpness * LOGITS[true] + own + 0.25 * noise
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    weight = events.weight.copy()
    for name, expected in YIELDS.items():
        is_process = events.process == name
        weight[is_process] *= expected / weight[is_process].sum()
    prior = np.array([YIELDS[name] for name in PROCESSES[1:]]) / sum(YIELDS[name] for name in PROCESSES[1:])
    score = probability[:, 0] / (probability[:, 0] + probability[:, 1:] @ prior)
    probabilities = {name: probability[:, index].astype(np.float32) for index, name in enumerate(PROCESSES)}
    if kind == "binary":
        probabilities = {"signal": score.astype(np.float32), "background": (1 - score).astype(np.float32)}
    return Scores(
        process=events.process,
        number=events.number,
        hard=events.hard,
        weight=weight,
        score=score.astype(np.float32),
        signal=("tttt",),
        probabilities=probabilities,
    )


def make_run(
    folder: Path, label: str, scores: Scores, *, seed: int = 0, settings: ClassificationEvaluationConfig | None = None
) -> Path:
    """A finished run folder with those scores."""
    folder.mkdir(parents=True)
    settings = settings or ClassificationEvaluationConfig()
    history = make_history(seed)
    (folder / "config.yaml").write_text(yaml.safe_dump(make_config(label, seed, settings), sort_keys=False))
    (folder / "meta.json").write_text(json.dumps(make_meta(label, seed, len(history), len(scores))))
    (folder / "history.json").write_text(json.dumps(history))
    scores.write(folder / "scores.parquet")
    metrics = evaluate(scores, settings).metrics
    (folder / "metrics.json").write_text(json.dumps(metrics, allow_nan=False))
    return folder


def make_config(label: str, seed: int, settings: ClassificationEvaluationConfig) -> dict[str, Any]:
    """The experiment of a run, as config.yaml holds it."""
    return {
        "label": label,
        "data": {"sample": "four-top", "fraction": 1.0, "split": {"train": 0.6, "validation": 0.2, "test": 0.2}},
        "inputs": {"interactions": ["mass", "delta_r", "sm_running"] if "SM" in label else []},
        "model": {"name": "bdt" if label.startswith("BDT") else "part"},
        "task": {"signal": ["tttt"], "classes": "process", "loss": "cross_entropy"},
        "training": {"epochs": 15, "batch_size": 256, "lr": 1e-3},
        "evaluation": settings.model_dump(mode="json"),
        "seed": seed,
    }


def make_history(seed: int) -> list[dict[str, float]]:
    """Losses of 15 epochs that fall as losses do."""
    rng = np.random.default_rng(seed)
    return [
        {
            "epoch": epoch,
            "train_loss": 0.9 + 0.7 * np.exp(-epoch / 4) + 0.005 * rng.normal() - 0.006 * epoch,
            "valid_loss": 0.95 + 0.6 * np.exp(-epoch / 4) + 0.01 * rng.normal(),
            "lr": 1e-3 if epoch < 10 else 1e-3 * 0.7 ** (epoch - 10),
            "seconds": 12.0,
        }
        for epoch in range(15)
    ]


def make_meta(label: str, seed: int, n_epochs: int, n_test: int) -> dict[str, Any]:
    """Facts of a run, as meta.json holds them."""
    tree = label.startswith("BDT")
    seconds = 14.2 if tree else 183.0
    return {
        "label": label,
        "model": "bdt" if tree else "part",
        "seed": seed,
        "parameters": 0 if tree else 51_234,
        "epochs": n_epochs,
        "events": {"train": 60_000, "validation": 20_000, "test": n_test},
        "seconds": seconds,
        "events_per_second": 60_000 * n_epochs / seconds,
        "flops": None if tree else 1.234e6,
        "elementwise": None if tree else 5.6e4,
        "leaves": 4_321 if tree else None,
        "scored_per_second": 98_765.0,
        "device": "Imagined processor at 2 GHz",
        "command": "femtobarn study four-top.yaml --output study",
        "versions": {"femtobarn": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        "inputs": {"fingerprint": "ab" * 32, "provenance": {"generator": "none", "processes": RECORDS}},
    }


def make_runs(folder: Path, events: Events, *, seeds: int = 2, models: dict[str, float] | None = None) -> list[Path]:
    """Run folders of several models and seeds, judged on the same events."""
    quick = ClassificationEvaluationConfig(bootstrap=50)
    return [
        make_run(
            folder / f"{label}-{seed}",
            label,
            make_scores(events, sharpness, seed + 100 * position),
            seed=seed,
            settings=quick,
        )
        for position, (label, sharpness) in enumerate((models or MODELS).items())
        for seed in range(seeds)
    ]

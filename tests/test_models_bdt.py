"""Boosted trees: they learn, weigh, repeat themselves and survive a round trip."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from femtobarn.inputs import Sizes
from femtobarn.models import BDT

NAMES = ["HT", "m(j1,j2)", "m[j1,j2]", "ΔR {b b}"]
SMALL: dict[str, Any] = {"trees": 40, "leaves": 6, "smallest_leaf": 0.007}


def sample(count: int = 1500, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count)
    x = rng.normal(size=(count, 4)).astype(np.float32)
    x[:, 0] += y
    x[:, 2] -= 0.5 * y
    x[rng.random(count) < 0.1, 1] = np.nan
    return x, y, rng.uniform(0.5, 1.5, count)


def grow(classes: int = 3, seed: int = 1, threads: int = 1, **settings) -> tuple[BDT, list[dict[str, float]]]:
    trees = BDT(Sizes(0, 0, 0, classes), **(SMALL | settings))
    return trees, trees.fit(*sample(classes=classes), *sample(500, classes, seed=9), NAMES, seed, threads)


def log_loss(trees: BDT, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    return float(np.average(-np.log(trees.predict(x)[np.arange(len(y)), y]), weights=w))


@pytest.mark.parametrize("classes", [2, 3])
def test_history_is_the_weighted_cross_entropy(classes):
    trees, history = grow(classes)
    best = min(history, key=lambda entry: entry["valid_loss"])
    assert log_loss(trees, *sample(classes=classes)) == pytest.approx(best["train_loss"], rel=1e-6)
    assert log_loss(trees, *sample(500, classes, seed=9)) == pytest.approx(best["valid_loss"], rel=1e-6)
    assert best["valid_loss"] < 0.95 * np.log(classes)
    assert [entry["epoch"] for entry in history] == list(range(1, len(history) + 1))


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities(classes):
    trees, _ = grow(classes)
    probabilities = trees.predict(sample(classes=classes)[0])
    assert probabilities.shape == (1500, classes)
    np.testing.assert_allclose(probabilities.sum(1), 1)


def test_same_seed_same_trees_for_any_number_of_threads():
    first, history = grow(seed=3, threads=1, trees=5)
    again, repeated = grow(seed=3, threads=2, trees=5)
    other, _ = grow(seed=4, trees=5)
    x = sample()[0]
    assert np.array_equal(first.predict(x), again.predict(x))
    losses = [[entry["valid_loss"] for entry in entries] for entries in (history, repeated)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)  # the trees are the same, sums of losses round
    assert not np.array_equal(first.predict(x), other.predict(x))


def test_it_stops_when_validation_no_longer_gains():
    trees, history = grow(trees=400, learning_rate=0.5, patience=5)
    best = int(np.argmin([entry["valid_loss"] for entry in history]))
    assert len(history) == best + 1 + 5
    assert trees.booster is not None
    assert trees.booster.num_trees() == 3 * (best + 1)


@pytest.mark.parametrize("count", [500, 2000])
def test_the_smallest_leaf_keeps_its_share_of_any_training_set(count):
    trees = BDT(Sizes(0, 0, 0, 3), **SMALL | {"smallest_leaf": 0.1, "rows": 1.0})
    trees.fit(*sample(count), *sample(500, seed=9), NAMES, 1, 1)
    assert trees.booster is not None
    text = trees.booster.model_to_string()
    smallest = min(int(number) for line in re.findall(r"leaf_count=(.*)", text) for number in line.split())
    assert 0.07 * count < smallest < 0.13 * count  # LightGBM counts by the curvature of the loss, which is roughly so


def test_a_weight_of_two_is_an_event_twice():
    x, y, _ = sample()
    valid = sample(500, seed=9)
    settings = SMALL | {"rows": 1.0, "columns": 1.0, "smallest_leaf": 1e-9, "l2": 0.0, "trees": 10}
    twice = np.where(y == 1, 2, 1)
    weighted, repeated = BDT(Sizes(0, 0, 0, 3), **settings), BDT(Sizes(0, 0, 0, 3), **settings)
    losses = weighted.fit(x, y, twice.astype(float), *valid, NAMES, 1, 1)
    copies = np.repeat(np.arange(len(y)), twice)
    same = repeated.fit(x[copies], y[copies], np.ones(len(copies)), *valid, NAMES, 1, 1)
    assert losses[-1]["train_loss"] == pytest.approx(same[-1]["train_loss"], rel=0.02)


@pytest.mark.parametrize("classes", [2, 3])
def test_round_trip_by_text(tmp_path, classes):
    trees, _ = grow(classes)
    trees.save(tmp_path / "trees.txt")
    again = BDT(Sizes(0, 0, 0, classes)).load(tmp_path / "trees.txt")
    x = sample()[0]
    assert np.array_equal(again.predict(x), trees.predict(x))
    assert (tmp_path / "trees.txt").read_text().startswith("tree")
    assert [path.name for path in tmp_path.iterdir()] == ["trees.txt"]
    with pytest.raises(ValueError, match=f"tells {classes} classes apart, not 5"):
        BDT(Sizes(0, 0, 0, 5)).load(tmp_path / "trees.txt")


def test_importance_finds_the_column_that_matters():
    assert next(iter(grow()[0].importance())) == "HT"


def test_it_is_silent(capfd):
    grow()
    assert capfd.readouterr() == ("", "")


def test_watch_sees_every_iteration():
    seen: list[dict[str, float]] = []
    trees = BDT(Sizes(0, 0, 0, 3), **SMALL)
    assert trees.fit(*sample(), *sample(500, seed=9), NAMES, 1, 1, seen.append) == seen


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="at least 2 classes"):
        BDT(Sizes(0, 0, 0, 1))
    trees = BDT(Sizes(0, 0, 0, 2))
    with pytest.raises(RuntimeError, match="fit or load first"):
        trees.predict(sample()[0])
    with pytest.raises(ValueError, match="3 names for 4 training and 4 validation columns"):
        trees.fit(*sample(), *sample(), NAMES[:3], 1, 1)
    with pytest.raises(ValueError, match="training class 2; classes are 0 to 1"):
        trees.fit(*sample(), *sample(), NAMES, 1, 1)

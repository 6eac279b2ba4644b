"""Boosted trees: they learn, weigh, repeat themselves and survive a round trip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from femtobarn.inputs import Sizes
from femtobarn.models import BDT
from femtobarn.models.treetext import TreeError, check_trees
from tests.support.fuzzing import N_MUTANTS, fuzz

NAMES = ["HT", "m(j1,j2)", "m[j1,j2]", "ΔR {b b}"]
SMALL: dict[str, Any] = {"n_estimators": 40, "num_leaves": 6, "min_leaf_fraction": 0.007}


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
    first, history = grow(seed=3, threads=1, n_estimators=5)
    again, repeated = grow(seed=3, threads=2, n_estimators=5)
    other, _ = grow(seed=4, n_estimators=5)
    x = sample()[0]
    assert np.array_equal(first.predict(x), again.predict(x))
    losses = [[entry["valid_loss"] for entry in entries] for entries in (history, repeated)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)  # the trees are the same, sums of losses round
    assert not np.array_equal(first.predict(x), other.predict(x))


def test_it_stops_when_validation_no_longer_gains():
    trees, history = grow(n_estimators=400, learning_rate=0.5, patience=5)
    best = int(np.argmin([entry["valid_loss"] for entry in history]))
    assert len(history) == best + 1 + 5
    assert trees.booster is not None
    assert trees.booster.num_trees() == 3 * (best + 1)


@pytest.mark.parametrize("count", [500, 2000])
def test_the_smallest_leaf_keeps_its_share_of_any_training_set(count):
    trees = BDT(Sizes(0, 0, 0, 3), **SMALL | {"min_leaf_fraction": 0.1, "subsample": 1.0})
    trees.fit(*sample(count), *sample(500, seed=9), NAMES, 1, 1)
    assert trees.booster is not None
    text = trees.booster.model_to_string()
    smallest = min(int(number) for line in re.findall(r"leaf_count=(.*)", text) for number in line.split())
    assert 0.07 * count < smallest < 0.13 * count  # LightGBM counts by the curvature of the loss, which is roughly so


def test_a_weight_of_two_is_an_event_twice():
    x, y, _ = sample()
    valid = sample(500, seed=9)
    settings = SMALL | {
        "subsample": 1.0,
        "colsample": 1.0,
        "min_leaf_fraction": 1e-9,
        "reg_lambda": 0.0,
        "n_estimators": 10,
    }
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
    with pytest.raises(ValueError, match=f"trained with {classes} classes, but this task has 5"):
        BDT(Sizes(0, 0, 0, 5)).load(tmp_path / "trees.txt")


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
@pytest.mark.parametrize(("classes", "smallest"), [(3, 0.007), (2, 0.007), (2, 1.0)])
def test_damaged_trees_never_reach_lightgbm(tmp_path, n_mutants, classes, smallest):
    """It would end this process, as tests/support/mutations.py shows within the first few thousand."""
    trees, _ = grow(classes, n_estimators=3, min_leaf_fraction=smallest)
    path = tmp_path / "trees.txt"
    trees.save(path)
    x = sample(50)[0]

    def predictions(path: Path) -> np.ndarray:
        return BDT(Sizes(0, 0, 0, classes)).load(path).predict(x)

    def are_probabilities(result: np.ndarray, _: bytes) -> None:
        assert result.shape == (len(x), classes)

    fuzz(predictions, path.read_bytes(), path, n_mutants, errors=(ValueError,), check=are_probabilities)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("left_child=1", "left_child=9", "should be a leaf from -4 to -1, or a split from 1 to 2"),
        ("left_child=1", "left_child=0", "should be a leaf from -4 to -1, or a split from 1 to 2"),
        ("right_child=-2", "right_child=-3", "every leaf and every split once"),
        ("num_leaves=4", "num_leaves=9", "split_feature has 3 values' should be 8"),
        ("split_feature=2", "split_feature=4", "should be 0 to 3"),
        ("threshold=0.5", "threshold=a.5", "should be numbers"),
        ("decision_type=2", "decision_type=1", "should be one of"),
        ("leaf_value=1", "leaf_value=n", "should be finite numbers"),
        ("num_cat=0", "num_cat=1", "should be a whole number from 0 to 0"),
        ("num_class=1", "num_class=3", "num_tree_per_iteration=1' should be 3"),
        ("tree_sizes=", "tree_sizes=9", "the [0-9]+ bytes of Tree=0"),
        ("end of trees", "end of tree", "cut short"),
        ("[boosting: gbdt]", "[boosting gbdt]", "each in brackets"),
    ],
)
def test_damage_to_trees_is_named_with_its_line(old, new, message):
    block = (
        "num_leaves=4\nnum_cat=0\nsplit_feature=2 0 1\nsplit_gain=3 2 1\nthreshold=0.5 -1 inf\ndecision_type=2 8 10\n"
        "left_child=1 2 -1\nright_child=-2 -3 -4\nleaf_value=1 -1 0.5 2e-3\nleaf_weight=1 1 1 1\nleaf_count=1 1 1 1\n"
        "internal_value=0 0 0\ninternal_weight=4 3 2\ninternal_count=4 3 2\nis_linear=0\nshrinkage=1\n\n\n"
    )
    size = len("Tree=0\n") + len(block)
    text = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=3\n"
        "objective=binary sigmoid:1\nfeature_names=a b c d\nfeature_infos=[0:1] none [-1e3:inf] none\n"
        f"tree_sizes={size}\n\nTree=0\n{block}end of trees\n\nfeature_importances:\na=1\n\n"
        "parameters:\n[boosting: gbdt]\n\nend of parameters\n\npandas_categorical:null\n"
    )
    assert check_trees(text).endswith("end of trees\n")
    with pytest.raises(TreeError, match=rf"(line [0-9]+: .*)?{message}"):
        check_trees(text.replace(old, new, 1))


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

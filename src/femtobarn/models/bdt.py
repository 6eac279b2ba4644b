"""Boosted decision trees on high-level columns, the baseline for every network.

Ke et al., *LightGBM: A Highly Efficient Gradient Boosting Decision Tree*, NeurIPS 2017.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from femtobarn.events.storage.atomic import atomic_write_bytes, unchecked
from femtobarn.inputs.feature_batch import Sizes
from femtobarn.models.registry import model
from femtobarn.models.treetext import check_trees

Fraction = Annotated[float, Field(gt=0, le=1)]


@model("bdt", family="trees", small={"n_estimators": 20, "num_leaves": 4, "min_leaf_fraction": 0.1})
class BDT:
    """Gradient-boosted decision trees (LightGBM); no network, so it trains itself by `fit`.

    The same data, seed and settings give the same trees for any number of threads.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        n_estimators: Annotated[
            PositiveInt,
            Field(
                description="Maximum number of trees per class; early stopping usually needs fewer.",
                validation_alias=AliasChoices("n_estimators", "trees"),
            ),
        ] = 500,
        learning_rate: Annotated[PositiveFloat, Field(description="Weight of each tree.")] = 0.05,
        num_leaves: Annotated[
            int,
            Field(
                ge=2,
                description="Maximum number of leaves per tree.",
                validation_alias=AliasChoices("num_leaves", "leaves"),
            ),
        ] = 31,
        min_leaf_fraction: Annotated[
            Fraction,
            Field(
                description="Minimum number of events per leaf, as a fraction of the training events.",
                validation_alias=AliasChoices("min_leaf_fraction", "smallest_leaf"),
            ),
        ] = 0.001,
        subsample: Annotated[
            Fraction,
            Field(
                description="Fraction of the events that each tree is grown on.",
                validation_alias=AliasChoices("subsample", "rows"),
            ),
        ] = 0.8,
        colsample: Annotated[
            Fraction,
            Field(
                description="Fraction of the columns that each tree is grown on.",
                validation_alias=AliasChoices("colsample", "columns"),
            ),
        ] = 0.5,
        reg_lambda: Annotated[
            NonNegativeFloat,
            Field(description="L2 penalty of the leaf values.", validation_alias=AliasChoices("reg_lambda", "l2")),
        ] = 1.0,
        patience: Annotated[
            PositiveInt, Field(description="Trees without a lower validation loss after which the training stops.")
        ] = 30,
    ) -> None:
        if sizes.outputs < 2:
            raise ValueError(f"a classifier with {sizes.outputs} outputs; it needs at least 2 classes")
        self.outputs = sizes.outputs
        self.n_estimators = n_estimators
        self.patience = patience
        self.min_leaf_fraction = min_leaf_fraction
        self.settings: dict[str, Any] = {
            "learning_rate": learning_rate,
            "num_leaves": num_leaves,
            "bagging_fraction": subsample,
            "bagging_freq": 1 if subsample < 1 else 0,
            "feature_fraction": colsample,
            "lambda_l2": reg_lambda,
        }
        self.booster: lightgbm.Booster | None = None

    def fit(
        self,
        x: NDArray[np.floating[Any]],
        y: NDArray[np.integer[Any]],
        w: NDArray[np.floating[Any]],
        x_valid: NDArray[np.floating[Any]],
        y_valid: NDArray[np.integer[Any]],
        w_valid: NDArray[np.floating[Any]],
        names: Sequence[str],
        seed: int,
        threads: int | None = None,
        watch: Callable[[dict[str, Any]], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Grow trees until the validation loss no longer falls, and keep the number of trees with the lowest loss.

        Args:
            x, x_valid: one row per event, one column per feature; NaN means absent.
            y, y_valid: class of each event, 0 to outputs - 1.
            w, w_valid: weight of each event in the loss, not negative.
            names: names of the columns.
            seed: random seed of the subsampling of rows and columns.
            threads: number of threads; default: all cores, or `OMP_NUM_THREADS`.
            watch: called after each iteration with its history entry, for a progress display.

        Returns:
            One entry per iteration: `epoch`, `train_loss` and `valid_loss` (weighted mean cross-entropies), `lr`,
            `seconds`.

        Raises:
            ValueError: shapes that do not match, or a class without an output.
        """
        if x.shape[1] != len(names) or x_valid.shape[1] != len(names):
            raise ValueError(f"{len(names)} names for {x.shape[1]} training and {x_valid.shape[1]} validation columns")
        self._check_classes("training", y)
        self._check_classes("validation", y_valid)
        parameters = self._parameters(len(x), seed, threads)
        columns = _safe(names)
        train = lightgbm.Dataset(x, label=y, weight=w, feature_name=columns, params={"verbosity": -1})
        valid = lightgbm.Dataset(x_valid, label=y_valid, weight=w_valid, reference=train, feature_name=columns)
        history: list[dict[str, Any]] = []
        self.booster = lightgbm.train(
            parameters,
            train,
            num_boost_round=self.n_estimators,
            valid_sets=[train, valid],
            valid_names=["train", "valid"],
            callbacks=[_record(history, self.settings["learning_rate"], watch), _stop_at_the_best(self.patience)],
        )
        self.booster = lightgbm.Booster(model_str=self.booster.model_to_string(num_iteration=_best(history)))
        return history

    def _check_classes(self, label: str, classes: NDArray[np.integer[Any]]) -> None:
        unknown = sorted(set(np.unique(classes)) - set(range(self.outputs)))
        if unknown:
            raise ValueError(f"{label} class {unknown[0]}; classes are 0 to {self.outputs - 1}")

    def _parameters(self, n_events: int, seed: int, threads: int | None) -> dict[str, Any]:
        """Parameters of LightGBM for a training."""
        binary = self.outputs == 2
        return self.settings | {
            "min_data_in_leaf": max(1, round(self.min_leaf_fraction * n_events)),
            "objective": "binary" if binary else "multiclass",
            "metric": "binary_logloss" if binary else "multi_logloss",
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,  # "deterministic" needs one of the two fixed
            "num_threads": threads or 0,  # 0: the default of OpenMP, which OMP_NUM_THREADS limits
            "verbosity": -1,
            **({} if binary else {"num_class": self.outputs}),
        }

    def predict(self, x: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Probability of each class for each event, shape (events, outputs).

        Raises:
            RuntimeError: before `fit` or `load`.
            ValueError: the number of columns differs from the training.
        """
        if self.booster is None:
            raise RuntimeError("no trees yet: fit or load first")
        if x.ndim != 2 or x.shape[1] != self.booster.num_feature():
            raise ValueError(f"the trees were grown on {self.booster.num_feature()} columns; got an array {x.shape}")
        raw = np.asarray(self.booster.predict(x), dtype=np.float64)
        return np.stack([1 - raw, raw], axis=1) if raw.ndim == 1 else raw

    @property
    def leaves(self) -> int:
        """Number of leaves of all trees, which is the number of fitted parameters.

        Raises:
            RuntimeError: before `fit` or `load`.
        """
        if self.booster is None:
            raise RuntimeError("no trees yet: fit or load first")
        return sum(int(tree["num_leaves"]) for tree in self.booster.dump_model()["tree_info"])

    def importance(self) -> dict[str, float]:
        """Decrease of the training loss by the splits on each column, largest first."""
        if self.booster is None:
            raise RuntimeError("no trees yet: fit or load first")
        gains = zip(self.booster.feature_name(), self.booster.feature_importance("gain"), strict=True)
        return dict(sorted(((name, float(gain)) for name, gain in gains), key=lambda item: -item[1]))

    def save(self, path: Path | str, *, check: Callable[[], object] = unchecked) -> None:
        """Write the trees in LightGBM's text format; the file appears complete or not at all.

        Args:
            path: file to write.
            check: see `femtobarn.events.storage.atomic.atomic_write`.

        Raises:
            RuntimeError: before `fit` or `load`.
        """
        if self.booster is None:
            raise RuntimeError("no trees yet: fit or load first")
        atomic_write_bytes(path, self.booster.model_to_string().encode(), check=check)

    def load(self, path: Path | str) -> BDT:
        """Read trees that `save` wrote, and return self.

        The text is checked before LightGBM reads it, because LightGBM ends the process on some damaged files.

        Raises:
            ValueError: the file is missing, damaged or of another format, or has another number of classes.
        """
        remedy = "copy the file again, or train again"
        if not Path(path).is_file():
            raise ValueError(f"{path} is {'a folder' if Path(path).is_dir() else 'missing'}; {remedy}")
        try:
            text = Path(path).read_bytes().decode()
            booster = lightgbm.Booster(model_str=check_trees(text))
        except (ValueError, lightgbm.basic.LightGBMError) as error:
            raise ValueError(f"{path} holds no trees of femtobarn: {error}; {remedy}") from None
        outputs = max(2, booster.num_model_per_iteration())
        if outputs != self.outputs:
            raise ValueError(f"{path} was trained with {outputs} classes, but this task has {self.outputs}")
        self.booster = booster
        return self


def _record(
    history: list[dict[str, Any]], learning_rate: float, watch: Callable[[dict[str, Any]], None] | None
) -> Callable[[Any], None]:
    """Callback that appends an entry to the history after each iteration."""
    started = time.perf_counter()

    def record(state: Any) -> None:
        nonlocal started
        losses = {name: value for name, _, value, *_ in state.evaluation_result_list}
        now = time.perf_counter()
        entry = {
            "epoch": state.iteration + 1,
            "train_loss": float(losses["train"]),
            "valid_loss": float(losses["valid"]),
            "lr": learning_rate,
            "seconds": now - started,
        }
        started = now
        history.append(entry)
        if watch is not None:
            watch(entry)

    return record


def _best(history: Sequence[dict[str, Any]]) -> int:
    return 1 + int(np.argmin([entry["valid_loss"] for entry in history]))


def _stop_at_the_best(patience: int) -> Callable[[Any], None]:
    """Early stopping on the validation loss alone; LightGBM's own may stop on the training loss."""
    best, since = np.inf, 0

    def check(state: Any) -> None:
        nonlocal best, since
        loss = next(value for name, _, value, *_ in state.evaluation_result_list if name == "valid")
        best, since = (loss, 0) if loss < best else (best, since + 1)
        if since >= patience:
            raise lightgbm.callback.EarlyStopException(state.iteration, state.evaluation_result_list)

    return check


def _safe(names: Sequence[str]) -> list[str]:
    """Column names without the characters that LightGBM refuses, still unique."""
    plain = [re.sub(r"\W+", "_", name, flags=re.ASCII) for name in names]
    return [name if plain.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(plain)]

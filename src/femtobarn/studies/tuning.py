"""Scan: better settings for each model, found on the validation events alone.

    <out>/scan.yaml              what is searched, and from which settings
    <out>/trials.journal         what was tried and how it went: Optuna's journal, shared by all processes at work
    <out>/LABEL/trial-007        a run folder, trained by the code of `femtobarn train` and never judged
    <out>/best.yaml              the settings found, as a study's `models:` takes them
    <out>/scan.md, scan.csv      the record

Trial 0 of every search has the settings as they were, so that what is found is never worse on the validation events.
Several processes, on one machine or on many with a common folder, may work on the same scan: a trial is handed out
under a lock, and those of a process that died are taken over. Journal and lock rest on appended lines, symbolic links
and files made exclusively, which are safe on network file systems too; whether a process is dead is tested by `flock`,
which Linux carries over NFS.
"""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from femtobarn.evaluation.runs import HISTORY, META, TRAIN_AGAIN, read_meta
from femtobarn.events.storage.checksums import read_json
from femtobarn.experiments import document
from femtobarn.experiments.document import ConfigError
from femtobarn.experiments.experiment import Experiment
from femtobarn.runs import provenance
from femtobarn.runs.predictor import is_trained
from femtobarn.studies.study import Planned
from femtobarn.studies.tuning_task import Search, before, changed, settings, suggest

PLAN, JOURNAL, PROCESSES = "scan.yaml", "trials.journal", "processes"


@dataclass(frozen=True)
class Trial(Planned):
    """One set of settings to train with."""

    number: int = 0

    @property
    def name(self) -> str:
        """Label and number."""
        return f"{self.label} trial {self.number}"


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Args:
        number: 0 for the settings before.
        settings: what was tried, by path.
        loss: weighted cross-entropy of the validation events; infinite if the training failed, None while it runs.
        reason: why it failed.
        meta: of its run folder; empty if the training failed.
    """

    number: int
    settings: Mapping[str, Any]
    loss: float | None
    reason: str
    meta: Mapping[str, Any]


class Scan:
    """A scan in its folder, begun or gone on with; use it as a context.

    Args:
        searches: from `searches`.
        folder: made if it is not there.
        trials: for each search, that with the settings before included. A finished scan can be given more.
        seed: of the choice of settings; with one worker the same seed makes the same scan, stopped in between or not.

    Raises:
        ValueError: fewer than 1 trial, or the folder holds another scan.
        RuntimeError: Optuna is not installed.
    """

    def __init__(self, searches: Sequence[Search], folder: Path, *, trials: int, seed: int = 1) -> None:
        if trials < 1:
            raise ValueError(f"{trials} trials; at least 1 is needed")
        self.optuna = _optuna()
        self.searches, self.folder, self.trials, self.seed = tuple(searches), folder, trials, seed
        self.failures: dict[str, str] = {}
        self._asked: dict[str, Any] = {}
        self.stopped: set[str] = set()  # labels of searches in which a training failed in an unforeseen way
        (folder / PROCESSES).mkdir(parents=True, exist_ok=True)
        self.opened = provenance.OpenFolder(folder)
        with self._alone():
            self._claim()
            # with a path from the root: the lock is a symbolic link to it
            file = self.optuna.storages.journal.JournalFileBackend(str(folder.resolve() / JOURNAL))
        self.storage = self.optuna.storages.JournalStorage(file)

    def __enter__(self) -> Scan:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self._life = _lock(self.folder / PROCESSES / self.owner, create=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self.folder / PROCESSES / self.owner).unlink(missing_ok=True)
        if self._life is not None:
            os.close(self._life)
        self.opened.close()

    def open(self) -> list[Trial]:
        """The trials that are not concluded, as far as they can be named: their settings come when their turn does."""
        found = []
        for number in range(self.trials):
            for search in self.searches:
                done = [one.number for one in self._trials(search) if one.state.is_finished()]
                if number not in done:
                    found.append(self._planned(search, number, search.experiment))
        return found

    def upcoming(self) -> Iterator[Trial]:
        """Trials to train, the searches in turns, until all are handed out; a choice knows all losses told so far."""
        due = list(self.searches)
        while due:
            for search in list(due):
                trial = None if search.label in self.stopped else self._ask(search)
                if trial is None:
                    due.remove(search)
                else:
                    yield trial

    def conclude(self, trial: Trial, failure: str | None) -> None:
        """Tells the search how a training went.

        A loss that became infinite is an answer; after any other failure the search stops, and the next call of the
        same scan tries again.
        """
        if failure is None:
            self._tell(trial, objective(trial.folder))
        elif failure.startswith(FloatingPointError.__name__):
            self._tell(trial, math.inf, failure)
        else:
            self.failures[trial.name] = failure
            self.stopped.add(trial.label)

    def results(self, search: Search) -> list[Result]:
        """All trials of a search by their number."""
        found = []
        for one in self._trials(search):
            folder = self._folder(search, one.number)
            meta = read_meta(folder).content if is_trained(folder) else {}
            tried = settings(search, one.number, one.params)
            reason = str(one.user_attrs.get("reason", ""))
            found.append(Result(one.number, tried, one.value, reason, meta))
        return found

    def _claim(self) -> None:
        told = {
            "seed": self.seed,
            "searches": {
                one.label: {
                    "shared": list(one.shared),
                    "space": {path: str(each) for path, each in one.space.items()},
                    "experiment": one.experiment.model_dump(mode="json"),
                }
                for one in self.searches
            },
        }
        file = self.folder / PLAN
        if not file.is_file():
            provenance.write_text(file, document.write(told))
            return
        before, now = (document.flatten(tree) for tree in (document.read(file)[0], json.loads(json.dumps(told))))
        different = [path for path in {**before, **now} if before.get(path) != now.get(path)]
        if different:
            lines = "\n".join(f"  {path}: {before.get(path)} before, {now.get(path)} now" for path in different)
            raise ValueError(f"{self.folder} holds another scan; choose another folder or delete it:\n{lines}")

    def _ask(self, search: Search) -> Trial | None:
        """The next trial: one that a dead process left, or a new one; None if all are handed out."""
        while True:
            with self._alone():
                tried = [one for one in self._trials(search) if one.state.name != "WAITING"]
                left = next((one for one in tried if one.state.name == "RUNNING" and not self._alive(one)), None)
                if left is None and len(tried) >= self.trials:
                    return None
                number = len(tried) if left is None else left.number
                asked = self._study(search, number)
                if left is not None:
                    trial = self.optuna.trial.Trial(asked, left._trial_id)
                else:
                    if not asked.trials:
                        asked.enqueue_trial(before(search))
                    trial = asked.ask()
                trial.set_user_attr("owner", self.owner)
                suggest(search, trial)
            planned = self._planned(search, number, search.experiment)
            self._asked[planned.name] = trial
            try:
                chosen = changed(search.experiment, settings(search, number, trial.params))
            except ConfigError as error:  # each setting is possible, but not beside the others
                self._tell(planned, math.inf, "; ".join(mistake.message for mistake in error.mistakes))
            else:
                return replace(planned, experiment=chosen)

    def _planned(self, search: Search, number: int, experiment: Experiment) -> Trial:
        size = experiment.data.fraction
        return Trial(search.label, experiment.seed, size, self._folder(search, number), experiment, number)

    def _folder(self, search: Search, number: int) -> Path:
        return self.folder / search.label / f"trial-{number:03d}"

    def _tell(self, trial: Trial, loss: float, reason: str = "") -> None:
        self.opened.check()
        asked = self._asked.pop(trial.name)
        if reason:
            asked.set_user_attr("reason", reason)
        asked.study.tell(asked, loss, skip_if_finished=True)

    def _study(self, search: Search, number: int) -> Any:
        # a sampler of its own for each trial, so that a scan that was stopped goes on to the same settings
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        sampler = self.optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return self.optuna.create_study(
            storage=self.storage, study_name=search.label, sampler=sampler, load_if_exists=True
        )

    def _trials(self, search: Search) -> list[Any]:
        found: list[Any] = self._study(search, 0).get_trials(deepcopy=False)
        return found

    def _alive(self, trial: Any) -> bool:
        owner = trial.user_attrs.get("owner")
        if owner is None or owner == self.owner:
            return owner is not None
        try:
            handle = _lock(self.folder / PROCESSES / owner)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        if handle is not None:
            os.close(handle)
        return False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.opened.check()  # a trial belongs to the journal that it was asked of
        lock = self.optuna.storages.journal.JournalFileOpenLock(str(self.folder / "asking"))
        lock.acquire()
        try:
            self.opened.check()
            yield
        finally:
            lock.release()


def objective(folder: Path) -> float:
    """Loss of a trained run on the validation events, by which trials are compared.

    For a classifier: weighted mean cross-entropy of its probabilities, before calibration; otherwise the lowest
    validation loss of its history.

    For a cross-entropy training this is the lowest validation loss of its history. A focal loss is no measure of
    probabilities and depends on its own gamma; there the network's outputs are first turned into probabilities
    (`femtobarn.tasks.classification.losses.unfocal`), so that all trials are measured alike.
    """
    meta = read_meta(folder).content
    if "calibration" not in meta and meta.get("task") is not None:  # no classifier: the lowest validation loss
        return min(float(entry["valid_loss"]) for entry in read_json(folder / HISTORY, TRAIN_AGAIN))
    try:
        return float(meta["calibration"]["before"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / META} lacks the loss of its validation events ({error}); {TRAIN_AGAIN}") from None


def best(results: Sequence[Result]) -> Result | None:
    """The trial with the lowest loss, the first of equals; None if none was trained."""
    known = [one for one in results if one.loss is not None and math.isfinite(one.loss)]
    return min(known, key=lambda one: (one.loss, one.number), default=None)


def _lock(file: Path, *, create: bool = False) -> int | None:
    """A lock on a file until the handle is closed or the process ends; None where there are no such locks.

    Raises:
        BlockingIOError: another process holds it.
        FileNotFoundError: no such file.
    """
    handle = os.open(file, os.O_RDWR | (os.O_CREAT if create else 0))
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise
        return handle
    os.close(handle)
    return None


def _optuna() -> Any:
    try:
        import optuna
        import optuna.storages.journal
    except ImportError:
        raise RuntimeError("femtobarn scan needs Optuna: pip install 'femtobarn[scan]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna

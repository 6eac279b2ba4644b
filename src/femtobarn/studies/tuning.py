"""Tuning: better settings for each model, searched on the validation events alone.

    <out>/scan.yaml              search spaces and present settings
    <out>/trials.journal         trials and their losses: Optuna's journal, shared by all processes
    <out>/LABEL/trial-007        a run folder, trained as by `femtobarn train` and never evaluated
    <out>/best.yaml              the best settings, as `models:` of a study
    <out>/scan.md, scan.csv      the report

Trial 0 of every task has the present settings, so that the best settings are never worse on the validation events.
Several processes, on one machine or on several with a common folder, may work on the same search: a lock guards the
choice of a trial, and trials of a process that died are taken over. Journal and lock use appended lines, symbolic links
and exclusively created files, which are safe on network file systems too; `flock`, which Linux supports over NFS, shows
whether a process is alive.
"""

from __future__ import annotations

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
from femtobarn.experiments.experiment import Experiment, build, present_path
from femtobarn.runs import provenance
from femtobarn.runs.predictor import is_trained
from femtobarn.studies.study import PlannedRun
from femtobarn.studies.tuning_task import TuningTask, present_parameters, suggest, trial_settings, with_settings

PLAN, JOURNAL, PROCESSES = "scan.yaml", "trials.journal", "processes"


@dataclass(frozen=True)
class Trial(PlannedRun):
    """One set of settings to train with."""

    number: int = 0

    @property
    def name(self) -> str:
        """Label and number."""
        return f"{self.label} trial {self.number}"


@dataclass(frozen=True)
class TrialResult:
    """Result of a trial.

    Args:
        number: 0 for the present settings.
        settings: settings by path.
        loss: weighted cross-entropy of the validation events; infinite if the training failed, None while it runs.
        reason: reason of a failure.
        meta: of its run folder; empty if the training failed.
    """

    number: int
    settings: Mapping[str, Any]
    loss: float | None
    reason: str
    meta: Mapping[str, Any]


class Tuning:
    """A search in its folder, new or resumed; use it as a context.

    Args:
        tasks: from `tuning_tasks`.
        folder: created if it does not exist.
        trials: trials of each task, including the present settings. A finished search can be given more.
        seed: random seed; with one worker the same seed gives the same search, interrupted or not.

    Raises:
        ValueError: fewer than 1 trial, or the folder holds another search.
        RuntimeError: Optuna is not installed.
    """

    def __init__(self, tasks: Sequence[TuningTask], folder: Path, *, trials: int, seed: int = 1) -> None:
        if trials < 1:
            raise ValueError(f"{trials} trials; at least 1 is needed")
        self.optuna = _optuna()
        self.folder, self.trials, self.seed = folder, trials, seed
        self.failures: dict[str, str] = {}
        self.stopped: set[str] = set()  # labels of tasks in which a training failed for another reason than its loss
        self._open: dict[str, Any] = {}
        (folder / PROCESSES).mkdir(parents=True, exist_ok=True)
        self.opened = provenance.OpenFolder(folder)
        with self._exclusive():
            self.tasks = self._claim(tasks)
            # with a path from the root: the lock is a symbolic link to it
            file = self.optuna.storages.journal.JournalFileBackend(str(folder.resolve() / JOURNAL))
        self.storage = self.optuna.storages.JournalStorage(file)

    def __enter__(self) -> Tuning:
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

    def open_trials(self) -> list[Trial]:
        """Trials without a result. The settings of trials that have not started are not chosen yet."""
        trials = []
        for number in range(self.trials):
            for task in self.tasks:
                finished = [trial.number for trial in self._trials(task) if trial.state.is_finished()]
                if number not in finished:
                    trials.append(self._planned(task, number, task.experiment))
        return trials

    def ask(self) -> Iterator[Trial]:
        """Trials to train, from the tasks in turn. The choice of a trial uses all losses reported before."""
        due = list(self.tasks)
        while due:
            for task in list(due):
                trial = None if task.label in self.stopped else self._next_trial(task)
                if trial is None:
                    due.remove(task)
                else:
                    yield trial

    def tell(self, trial: Trial, failure: str | None) -> None:
        """Report the end of a training.

        A loss that became infinite is a result. After any other failure the task stops, and the next call of the same
        command tries the trial again.
        """
        if failure is None:
            self._report(trial, objective(trial.folder))
        elif failure.startswith(FloatingPointError.__name__):
            self._report(trial, math.inf, failure)
        else:
            self.failures[trial.name] = failure
            self.stopped.add(trial.label)

    def results(self, task: TuningTask) -> list[TrialResult]:
        """All trials of a task by their number."""
        results = []
        for trial in self._trials(task):
            folder = self._folder(task, trial.number)
            meta = read_meta(folder).content if is_trained(folder) else {}
            settings = trial_settings(task, trial.number, trial.params)
            reason = str(trial.user_attrs.get("reason", ""))
            results.append(TrialResult(trial.number, settings, trial.value, reason, meta))
        return results

    def _claim(self, tasks: Sequence[TuningTask]) -> tuple[TuningTask, ...]:
        """Write the plan of the search, or compare it with the plan in the folder.

        Returns:
            the tasks, with the names that their settings have in the folder.

        Raises:
            ValueError: the folder holds another search.
        """
        plan: dict[str, Any] = {
            "seed": self.seed,
            "searches": {
                task.label: {
                    "shared": list(task.shared),
                    "space": {path: str(values) for path, values in task.space.items()},
                    "experiment": task.experiment.model_dump(mode="json"),
                }
                for task in tasks
            },
        }
        file = self.folder / PLAN
        if not file.is_file():
            provenance.atomic_write_text(file, document.write(plan))
            return tuple(tasks)
        stored, names = _present_plan(document.read(file)[0])
        before, now = document.flatten(stored), document.flatten(plan)
        changed = [path for path in {**before, **now} if before.get(path) != now.get(path)]
        if changed:
            lines = "\n".join(f"  {path}: {before.get(path)} before, {now.get(path)} now" for path in changed)
            raise ValueError(f"{self.folder} holds another search; choose another folder or delete it:\n{lines}")
        return tuple(replace(task, stored_names=names.get(task.label, {})) for task in tasks)

    def _next_trial(self, task: TuningTask) -> Trial | None:
        """Next trial: one of a process that died, or a new one; None if there are no more."""
        while True:
            with self._exclusive():
                trials = [trial for trial in self._trials(task) if trial.state.name != "WAITING"]
                orphans = (trial for trial in trials if trial.state.name == "RUNNING" and not self._alive(trial))
                orphan = next(orphans, None)
                if orphan is None and len(trials) >= self.trials:
                    return None
                number = len(trials) if orphan is None else orphan.number
                optuna_study = self._study(task, number)
                if orphan is not None:
                    trial = self.optuna.trial.Trial(optuna_study, orphan._trial_id)
                else:
                    if not optuna_study.trials:
                        optuna_study.enqueue_trial(present_parameters(task))
                    trial = optuna_study.ask()
                trial.set_user_attr("owner", self.owner)
                suggest(task, trial)
            planned = self._planned(task, number, task.experiment)
            self._open[planned.name] = trial
            try:
                experiment = with_settings(task.experiment, trial_settings(task, number, trial.params))
            except ConfigError as error:  # each setting is possible, but not beside the others
                self._report(planned, math.inf, "; ".join(mistake.message for mistake in error.mistakes))
            else:
                return replace(planned, experiment=experiment)

    def _planned(self, task: TuningTask, number: int, experiment: Experiment) -> Trial:
        size = experiment.data.fraction
        return Trial(task.label, experiment.seed, size, self._folder(task, number), experiment, number)

    def _folder(self, task: TuningTask, number: int) -> Path:
        return self.folder / task.label / f"trial-{number:03d}"

    def _report(self, trial: Trial, loss: float, reason: str = "") -> None:
        self.opened.check()
        optuna_trial = self._open.pop(trial.name)
        if reason:
            optuna_trial.set_user_attr("reason", reason)
        optuna_trial.study.tell(optuna_trial, loss, skip_if_finished=True)

    def _study(self, task: TuningTask, number: int) -> Any:
        # a sampler of its own for each trial, so that a resumed search chooses the same settings
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        sampler = self.optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return self.optuna.create_study(
            storage=self.storage, study_name=task.label, sampler=sampler, load_if_exists=True
        )

    def _trials(self, task: TuningTask) -> list[Any]:
        trials: list[Any] = self._study(task, 0).get_trials(deepcopy=False)
        return trials

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
    def _exclusive(self) -> Iterator[None]:
        self.opened.check()  # a trial belongs to the journal that it came from
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


def best(results: Sequence[TrialResult]) -> TrialResult | None:
    """Trial with the lowest loss, the first of equal ones; None if no training finished."""
    finished = [result for result in results if result.loss is not None and math.isfinite(result.loss)]
    return min(finished, key=lambda result: (result.loss, result.number), default=None)


def _present_plan(plan: document.Tree) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """A stored plan under present names of keys and with all defaults, and the stored names of settings by label."""
    tasks: dict[str, Any] = {}
    names: dict[str, dict[str, str]] = {}
    for label, stored in (plan.get("searches") or {}).items():
        task, tree = dict(stored), stored["experiment"]
        with suppress(ConfigError):
            task["experiment"] = build(tree, label, Path.cwd()).model_dump(mode="json")
        names[label] = {
            ".".join(present_path(path.split("."), tree["model"]["name"])): path for path in stored["space"]
        }
        task["space"] = {path: stored["space"][name] for path, name in names[label].items()}
        tasks[label] = task
    return {**plan, "searches": tasks}, names


def _lock(file: Path, *, create: bool = False) -> int | None:
    """Lock a file until the handle is closed or the process ends; None on systems without such locks.

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
        raise RuntimeError("femtobarn tune needs Optuna: pip install 'femtobarn[scan]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna

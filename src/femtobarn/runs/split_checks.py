"""Errors for a selection or a split that leaves too few events, before anything is trained."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from femtobarn.events import Events, cutflow
from femtobarn.events.split import SPLITS
from femtobarn.tasks.config import TaskConfig

#: Most files that a message names.
MAX_FILES = 3


def origin(paths: Sequence[Path | str]) -> str:
    """Names of files, for messages."""
    if not paths:
        return "the sample"
    more = f" and {len(paths) - MAX_FILES} more files" if len(paths) > MAX_FILES else ""
    return ", ".join(map(str, paths[:MAX_FILES])) + more


def cuts_of(selection: str) -> list[str]:
    """The cuts that a selection joins by `and`; a single one is returned as it is."""
    try:
        tree = ast.parse(selection.strip(), mode="eval").body
    except SyntaxError:
        return [selection]
    if not (isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And)):
        return [selection]
    return [ast.get_source_segment(selection.strip(), value) or selection for value in tree.values]


class Flow:
    """Number of events that pass the cuts of a selection, one after another, for events that come in pieces.

    Args:
        selection: None selects all events.
    """

    def __init__(self, selection: str | None) -> None:
        self.selection = selection
        self.cuts = [] if selection is None else cuts_of(selection)
        self.steps = [0] * len(self.cuts)
        self.before: dict[str, int] = {}  # events of each process
        self.passed = 0

    def add(self, events: Events, selected: Events) -> None:
        """Add a piece of the events, and the selected ones among them."""
        names, counts = np.unique(events.process, return_counts=True)
        for name, count in zip(names.tolist(), counts.tolist(), strict=True):
            self.before[str(name)] = self.before.get(str(name), 0) + count
        self.passed += len(selected)
        if not self.passed and len(self.cuts) > 1:  # the cuts matter only where nothing is left
            flow = cutflow(events, {str(at): cut for at, cut in enumerate(self.cuts)})[0][1:]
            self.steps = [total + step.events for total, step in zip(self.steps, flow, strict=True)]

    def nothing_left(self, files: str) -> str:
        """Error message if no event has passed."""
        total = sum(self.before.values())
        if self.selection is None or not total:
            return f"there are no events in {files}"
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.before.items()))
        text = f"data.selection: none of the {total} events in {files} ({counts}) passes {self.selection}"
        if len(self.cuts) > 1:
            steps = ", then ".join(f"{step} pass {cut}" for cut, step in zip(self.cuts, self.steps, strict=True))
            text += f"; one after another, {steps}"
        return text + "; loosen the selection"


def missing_process(settings: TaskConfig, left: Sequence[str], before: Mapping[str, int], selection: str) -> None:
    """Check that a selection leaves events of every process that the task names.

    Raises:
        ValueError: it does not; the message has the number of events before the selection.
    """
    for key, names in settings.named_processes().items():
        for name in names:
            if name in before and name not in left:
                raise ValueError(
                    f"task.{key}: none of the {before[name]} events of {name} passes data.selection {selection}; "
                    f"events of {', '.join(left)} do; loosen the selection or leave {name} out of task.{key}"
                )


def check_splits(
    settings: TaskConfig,
    counts: Mapping[str, Mapping[str, int]],
    totals: Mapping[str, Mapping[str, float]],
    fraction: float = 1.0,
) -> None:
    """Check that every process has events and a positive yield in every split.

    Args:
        settings: the task.
        counts: for each split, the number of events with a weight of each process that takes part.
        totals: for each split, the sum of their weights.
        fraction: `data.fraction`, for the remedy.

    Raises:
        ValueError: a split lacks a group of processes that the task needs there, or its weights do not sum to a
            positive yield; the message lists the numbers in all splits.
    """
    processes = settings.select_processes(tuple(counts[SPLITS[0]]))
    for split in SPLITS:
        for group, members in settings.process_groups(processes, split).items():
            name = group.removeprefix("class ")
            n_events = {other: sum(counts[other].get(member, 0) for member in members) for other in SPLITS}
            numbers = ", ".join(f"{other} {count}" for other, count in n_events.items())
            if not n_events[split]:
                raise ValueError(
                    f"data.split: no events of {group} with a weight are left for {split} "
                    f"(events by split: {numbers}); " + _remedy(split, name, fraction)
                )
            total = sum(totals[split].get(member, 0.0) for member in members)
            if not total > 0:
                raise ValueError(
                    f"the weights of {group} sum to {total:.4g} in {split}, and a yield must be positive "
                    f"(events by split: {numbers}); " + _remedy(split, name, fraction)
                )


def _remedy(split: str, name: str, fraction: float) -> str:
    remedies = [f"give more events of {name}", "loosen data.selection", f"raise data.split.{split}"]
    if fraction < 1 and split != "test":
        remedies.insert(1, f"raise data.fraction (now {fraction:g})")
    return ", ".join(remedies) + f" or leave {name} out of the task"

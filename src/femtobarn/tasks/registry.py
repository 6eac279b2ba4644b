"""The list of tasks."""

from __future__ import annotations

from importlib import import_module

from femtobarn.tasks.base import TaskKind

#: Module of each task; its attribute `TASK` is the `TaskKind`.
TASKS: dict[str, str] = {
    "classification": "femtobarn.tasks.classification.kind",
    "regression": "femtobarn.tasks.regression.kind",
}

#: Task of an experiment that names none.
DEFAULT_TASK = "classification"


def task_kind(name: str) -> TaskKind:
    """The task of a name.

    Raises:
        ValueError: no such task.

    Example:
        >>> task_kind("classification").name
        'classification'
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; available: {', '.join(sorted(TASKS))}")
    task: TaskKind = import_module(TASKS[name]).TASK
    return task

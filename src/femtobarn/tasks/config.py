"""Settings that every task has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class TaskConfig(BaseModel):
    """The `task` section of an experiment; each task adds settings of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: Depth of the network that the task needs: `objects`, `latent` or `outputs`.
    depth: ClassVar[Literal["objects", "latent", "outputs"]] = "outputs"

    kind: str = Field(description="Name of the task.")

    def select_processes(self, available: Sequence[str]) -> tuple[str, ...]:
        """Names of the processes that take part, given the ones in the data.

        Raises:
            ValueError: a process is not in the data.
        """
        raise NotImplementedError

    def named_processes(self) -> Mapping[str, Sequence[str]]:
        """Names of the processes that the settings list, by key."""
        return {}

    def process_groups(self, processes: Sequence[str], split: str) -> Mapping[str, Sequence[str]]:
        """Groups of processes of which each needs events and a positive yield in a split; by default each process.

        Args:
            processes: names of the processes that take part.
            split: `train`, `validation` or `test`.
        """
        return {name: (name,) for name in processes}

    def check_model(self, model: str, *, is_network: bool) -> None:
        """Check that a model can be trained for this task.

        Raises:
            ValueError: it cannot; the message has the remedy.
        """

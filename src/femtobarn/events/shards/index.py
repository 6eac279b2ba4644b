"""Index of a folder of shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.split import SPLITS

#: Name of the index; it is written last.
INDEX = "index.json"

#: Version of the layout.
VERSION = 1


@dataclass(frozen=True)
class Shard:
    """One file of a split.

    Args:
        file: path below the folder.
        bytes: its size.
        sha256: its checksum.
        groups: events of each process in each row group.
        weight: sum of the weights of each process.
        magnitude: sum of their absolute values.
    """

    file: str
    bytes: int
    sha256: str
    groups: list[list[int]]
    weight: list[float]
    magnitude: list[float]


@dataclass(frozen=True)
class Index:
    """Content of a folder of shards.

    Args:
        processes: names, in the order of all counts and sums.
        luminosity: of the weights, in 1/fb.
        sides: the shards of each of `SPLITS`; the n-th of N holds the events with a hash in [n/N, (n+1)/N).
        kinds: codes of the objects that occur.
        tracks: those of `femtobarn.events.record.TRACKS` that the objects have.
        objects: columns of the objects.
        split: fraction of the events of each split.
        selection: selection that the events passed.
        provenance: origin of the events.
        fingerprint: SHA-256 over all of this and all shards.
    """

    processes: list[str]
    luminosity: float
    sides: dict[str, list[Shard]]
    kinds: list[int]
    tracks: list[str]
    objects: list[str]
    split: dict[str, float]
    selection: str | None
    provenance: dict[str, Any]
    fingerprint: str = ""
    version: int = VERSION

    @classmethod
    def read(cls, folder: str | Path) -> Index:
        """The index of a folder.

        Raises:
            FileNotFoundError: no such folder, or it was not completed.
            EventError: not an index, one of a later version or one that was changed or damaged, or a shard is missing
                or has another size.
        """
        path = Path(folder) / INDEX
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no prepared events: there is no {INDEX} in it (femtobarn prepare)")
        remedy = "copy the folder again, or prepare the events again (femtobarn prepare)"
        try:
            content = json.loads(path.read_bytes().decode())
            version = content["version"]
            if version > VERSION:
                problem = f"was written by a later version of this package (layout {version})"
                raise EventError(path, problem, remedy=f"update it; this one reads up to layout {VERSION}")
            if content["fingerprint"] != fingerprint_of(content):
                problem = "was changed or damaged after it was written (its fingerprint is of other contents)"
                raise EventError(path, problem, remedy=remedy)
            content["sides"] = {name: [Shard(**shard) for shard in content["sides"][name]] for name in SPLITS}
            index = cls(**content)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, EventError):
                raise
            raise EventError(path, f"is no index of prepared events ({error})", remedy=remedy) from None
        for shard in (shard for shards in index.sides.values() for shard in shards):
            file = Path(folder) / shard.file
            size = file.stat().st_size if file.is_file() else None
            if size != shard.bytes:
                problem = "is missing" if size is None else f"has {size} bytes and not {shard.bytes}, as the index says"
                raise EventError(file, problem, remedy="copy the folder again, or prepare it anew")
        return index

    def counts(self, name: str) -> NDArray[np.int64]:
        """Events by row group and process of one split; row groups in the order of the shards."""
        rows = [group for shard in self.sides[name] for group in shard.groups]
        return np.array(rows, dtype=np.int64).reshape(-1, len(self.processes))

    def weights(self, name: str) -> dict[str, float]:
        """Sum of the weights of each process in one split."""
        return self._sum([shard.weight for shard in self.sides[name]])

    def magnitudes(self, name: str) -> dict[str, float]:
        """Sum of the absolute weights of each process in one split."""
        return self._sum([shard.magnitude for shard in self.sides[name]])

    def _sum(self, of_shards: list[list[float]]) -> dict[str, float]:
        totals = np.array(of_shards, dtype=np.float64).reshape(-1, len(self.processes)).sum(0)
        return dict(zip(self.processes, totals.tolist(), strict=True))


def fingerprint_of(index: Mapping[str, Any]) -> str:
    """SHA-256 over the content of an index, which names the SHA-256 of every shard."""
    text = json.dumps({**index, "fingerprint": ""}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

"""Cache of events in memory, for runs that use the same ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class EventCache:
    """Events, and what was computed from them, of the last few experiments; passed to every run that may share them.

    Example:
        >>> cache = EventCache()
        >>> cache.get("squares", 3, lambda: 9)
        9
    """

    _entries: dict[str, list[tuple[object, Any]]] = field(default_factory=dict)

    def get(self, category: str, key: object, make: Callable[[], T], max_entries: int = 4) -> T:
        """Value of a key, made at the first call; of each category the last used entries are kept.

        Args:
            category: values of a category are of one type.
            key: compared by `==`.
            make: returns the value.
            max_entries: number of values of the category that are kept.
        """
        entries = self._entries.setdefault(category, [])
        for place, (other, value) in enumerate(entries):
            if other == key:
                entries.append(entries.pop(place))
                result: T = value
                return result
        del entries[: max(0, len(entries) - max_entries + 1)]
        value = make()
        entries.append((key, value))
        return value

"""Check of a file of boosted trees before LightGBM reads it, which ends the process where a number is out of range.

The text format is that of `Booster.model_to_string` of LightGBM 4: a header, a block of `key=values` lines for
each tree, importances and parameters. Only what `femtobarn.models.bdt` grows is accepted: classification, splits on
numbers, constant leaves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

INTEGER = re.compile(r"-?\d{1,18}")
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d{1,3})?")
LIMIT = rf"({NUMBER.pattern}|-?inf|-?nan)"
ANY_NUMBER = re.compile(LIMIT)  # a threshold of inf splits known values from missing ones
KINDS = {INTEGER: "whole numbers", NUMBER: "finite numbers", ANY_NUMBER: "numbers"}
RANGE = re.compile(rf"none|\[{LIMIT}:{LIMIT}\]")
PARAMETER = re.compile(r"\[\w+: [^\[\]\n]*\]")

#: Lines of the header, in their order.
HEADER = (
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "feature_names",
    "feature_infos",
    "tree_sizes",
)

#: Lists of a tree with an entry for each split, and for each leaf.
OF_SPLITS = {
    "split_feature": INTEGER,
    "split_gain": ANY_NUMBER,
    "threshold": ANY_NUMBER,
    "decision_type": INTEGER,
    "left_child": INTEGER,
    "right_child": INTEGER,
    "internal_value": ANY_NUMBER,
    "internal_weight": ANY_NUMBER,
    "internal_count": INTEGER,
}
OF_LEAVES = {"leaf_value": NUMBER, "leaf_weight": ANY_NUMBER, "leaf_count": INTEGER}

#: Lines of a tree, in their order.
TREE = (
    "num_leaves",
    "num_cat",
    *list(OF_SPLITS)[:6],
    *OF_LEAVES,
    *list(OF_SPLITS)[6:],
    "is_linear",
    "shrinkage",
)

#: Lists that LightGBM leaves empty for a tree of one leaf.
OPTIONAL = ("leaf_weight", "leaf_count")

#: Default direction (2) and treatment of missing values (4: zero, 8: NaN) of a split on a number.
DECISIONS = (0, 2, 4, 6, 8, 10)


class TreeError(ValueError):
    """A text that is no file of boosted trees, with the line that is wrong."""


def check_trees(text: str) -> str:
    """Header and trees of a file that LightGBM can read: every list has its length, every index and number its range.

    Importances and parameters of the training are left out of the result; predictions need neither.

    Args:
        text: the whole file.

    Raises:
        TreeError: names the line, the value and what it should be.
    """
    lines = text.split("\n")
    odd = next((number for number, line in enumerate(lines) if not line.isprintable()), None)
    if odd is not None:
        raise _wrong(odd, lines[odd], "printable text")
    first = next((number for number, line in enumerate(lines) if line.startswith("Tree=")), len(lines))
    end = next((number for number, line in enumerate(lines) if line == "end of trees"), None)
    if lines[0] != "tree" or end is None or first >= end:
        raise TreeError(
            "header, trees or the line 'end of trees' are missing: the file is cut short or of another kind"
        )
    header = _values(lines, 1, first, HEADER, 1)
    features = _check_header(header)
    starts = [number for number in range(first, end) if lines[number].startswith("Tree=")]
    _check_sizes(header, lines, [*starts, end])
    for index, (start, stop) in enumerate(zip(starts, [*starts[1:], end], strict=True)):
        if lines[start] != f"Tree={index}":
            raise _wrong(start, lines[start], f"Tree={index}")
        _check_tree(_values(lines, start + 1, stop, TREE, 2), features)
    _check_rest(lines, end)
    return "\n".join([*lines[: end + 1], ""])


class _Value:
    """A value of a line, with its number for messages."""

    def __init__(self, line: int, key: str, text: str) -> None:
        self.line, self.key, self.text = line, key, text

    def wrong(self, right: str, text: str | None = None) -> TreeError:
        return _wrong(self.line, f"{self.key}={self.text if text is None else text}", right)

    def integer(self, low: int, high: int) -> int:
        if not INTEGER.fullmatch(self.text) or not low <= int(self.text) <= high:
            raise self.wrong(f"a whole number from {low} to {high}")
        return int(self.text)

    def words(self, count: int | None, pattern: re.Pattern[str]) -> list[str]:
        words = self.text.split(" ") if self.text else []
        if count is not None and len(words) != count:
            raise _wrong(self.line, f"{self.key} has {len(words)} values", f"{count}")
        for word in words:
            if not pattern.fullmatch(word) or (pattern is NUMBER and not math.isfinite(float(word))):
                kind = KINDS.get(pattern, "names or ranges")
                raise self.wrong(kind, word)
        return words


def _values(lines: Sequence[str], start: int, stop: int, keys: Sequence[str], blank: int) -> Mapping[str, _Value]:
    """The lines of a block, which are these keys in this order and some blank lines."""
    values: dict[str, _Value] = {}
    for number, key in enumerate(keys, start):
        name, equals, text = lines[number].partition("=") if number < stop else ("", "", "")
        if not equals or name != key:
            raise _wrong(number, lines[number], f"{key}=...")
        values[key] = _Value(number, key, text)
    for number in range(start + len(keys), stop):
        if lines[number] or number == start + len(keys) + blank:
            raise _wrong(number, lines[number], "a blank line" if lines[number] else "the next block")
    return values


def _check_header(header: Mapping[str, _Value]) -> int:
    """Number of columns that the trees split on."""
    if header["version"].text not in ("v3", "v4"):  # LightGBM 4 reads and writes both
        raise header["version"].wrong("v3 or v4")
    classes = header["num_class"].integer(1, 10_000)
    if header["num_tree_per_iteration"].integer(1, 10_000) != classes:
        raise header["num_tree_per_iteration"].wrong(f"{classes}, as num_class")
    header["label_index"].integer(0, 0)
    objective = "binary sigmoid:1" if classes == 1 else f"multiclass num_class:{classes}"
    if classes == 2 or header["objective"].text != objective:
        raise header["objective"].wrong(objective)
    features = header["max_feature_idx"].integer(0, 1_000_000) + 1
    header["feature_names"].words(features, re.compile(r"\w+", re.ASCII))
    header["feature_infos"].words(features, RANGE)
    return features


def _check_sizes(header: Mapping[str, _Value], lines: Sequence[str], starts: Sequence[int]) -> None:
    """LightGBM jumps from tree to tree by their sizes in bytes."""
    sizes = header["tree_sizes"]
    words = sizes.words(len(starts) - 1, INTEGER)
    if len(words) % int(header["num_class"].text):
        raise _wrong(sizes.line, f"there are {len(words)} trees", f"as many for each of {header['num_class'].text}")
    for word, start, stop in zip(words, starts[:-1], starts[1:], strict=True):
        size = sum(len(line.encode()) + 1 for line in lines[start:stop])
        if int(word) != size:
            raise sizes.wrong(f"the {size} bytes of {lines[start]}", word)


def _check_tree(tree: Mapping[str, _Value], features: int) -> None:
    leaves = tree["num_leaves"].integer(1, 1_000_000)
    tree["num_cat"].integer(0, 0)
    tree["is_linear"].integer(0, 0)
    tree["shrinkage"].words(1, NUMBER)
    lists = {key: tree[key].words(leaves - 1, pattern) for key, pattern in OF_SPLITS.items()}
    for key, pattern in OF_LEAVES.items():
        tree[key].words(None if leaves == 1 and key in OPTIONAL else leaves, pattern)
    for key, right in (("split_feature", range(features)), ("decision_type", DECISIONS)):
        for word in lists[key]:
            if int(word) not in right:
                what = f"0 to {features - 1}" if key == "split_feature" else f"one of {DECISIONS}"
                raise tree[key].wrong(what, word)
    _check_children(tree, [list(map(int, lists[key])) for key in ("left_child", "right_child")], leaves)


def _check_children(tree: Mapping[str, _Value], children: Sequence[Sequence[int]], leaves: int) -> None:
    """Every split but the first, and every leaf (-1 for the first one), hangs on exactly one split before it."""
    for key, column in zip(("left_child", "right_child"), children, strict=True):
        for split, child in enumerate(column):
            if not (split < child < leaves - 1 or -leaves <= child < 0):
                right = f"a leaf from -{leaves} to -1, or a split from {split + 1} to {leaves - 2}"
                raise tree[key].wrong(right, str(child))
    twice = sorted(child for column in children for child in column)
    if twice != [*range(-leaves, 0), *range(1, leaves - 1)] and leaves > 1:
        raise tree["left_child"].wrong("every leaf and every split once in left_child and right_child together")


def _check_rest(lines: Sequence[str], end: int) -> None:
    """Importances of columns, parameters of the training, and the columns of pandas, of which there are none."""
    rest: Iterator[tuple[int, str]] = ((number, lines[number]) for number in range(end + 1, len(lines)))
    expect: list[tuple[str, Callable[[str], Any]]] = [
        ("feature_importances:", re.compile(r"\w+=\d{1,18}(\.\d+)?", re.ASCII).fullmatch),
        ("parameters:", PARAMETER.fullmatch),
        ("end of parameters", lambda line: False),
        ("pandas_categorical:null", lambda line: False),
    ]
    at = -1
    for number, line in rest:
        if at + 1 < len(expect) and line == expect[at + 1][0]:
            at += 1
        elif line and (at < 0 or not expect[at][1](line)):
            raise _wrong(number, line, "importances, then parameters, each in brackets, as LightGBM writes them")
    if at + 1 < len(expect):
        raise TreeError(f"line {len(lines)}: {expect[at + 1][0]!r} is missing: the file is cut short")


def _wrong(line: int, text: str, right: str) -> TreeError:
    short = text if len(text) <= 80 else f"{text[:60]} ... {text[-16:]}"
    return TreeError(f"line {line + 1}: {short!r} should be {right}")

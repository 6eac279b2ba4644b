"""Small, seeded mutations of bytes and of nested values, for `tests.support.fuzzing`."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

#: Numbers that are no good count, weight, code or momentum.
ODD_NUMBERS = (
    *(
        "nan",
        "-nan",
        "inf",
        "-inf",
        "1e308",
        "-1e308",
        "1e400",
        "1e39",
        "1e-320",
        "-1",
        "0",
        "-0.0",
        "0.5",
        "6.5",
        "1.9",
    ),
    *("127", "128", "255", "256", "32768", "2147483648", "4294967296", "9007199254740993", "9223372036854775807"),
    *("9223372036854775808", "18446744073709551615", "1" + "0" * 30, "1_000", "0x1p3", "1,5", "1.0D+02", "1.2-101"),
)

#: Bytes that mean something in one of the text formats.
DELIMITERS = (b"\n", b"\r", b"\0", b" ", b"\t", b",", b";", b":", b"<", b">", b"/", b"#", b"'", b'"', b"{", b"}", b"[")

#: What replaces an entry of a structure.
ODD_VALUES: tuple[Any, ...] = (
    *(float("nan"), float("inf"), -float("inf"), 1e308, 1e39, -1.0, 6.5, 0.5, -1, 0, 1, 255, 2**31, 2**53 + 1, 2**63),
    *(2**64, None, True, False, "", "text", "nan", "$x^$", "a\nb", b"bytes", [], {}, [None], [[]]),
)

NUMBER = re.compile(rb"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eEdD][-+]?[0-9]+)?")

Random = np.random.Generator
Step = tuple[str, Any]  # description of the mutation, mutated content


def mutant(original: Any, seed: int, index: int) -> Step:
    """Mutant number `index` of a file's content and the description of what was done to it; never the original."""
    random = np.random.default_rng([seed, index])
    steps: list[str] = []
    content = original
    while True:
        for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
            description, content = (
                mutate_bytes(content, random) if isinstance(content, bytes) else mutate(content, random)
            )
            steps.append(description)
        if not isinstance(content, bytes) or content != original:
            return "; ".join(steps), content


def mutate_bytes(data: bytes, random: Random) -> Step:
    """One small change of a file's bytes."""
    if not data:
        return "a byte put in", b"\0"
    change = BYTE_CHANGES[int(random.integers(len(BYTE_CHANGES)))]
    return change(data, random)


def _span(data: bytes, random: Random) -> tuple[int, int]:
    """Begin and end of some bytes: a few more often than many."""
    begin = int(random.integers(len(data)))
    return begin, min(len(data), begin + int(random.choice([1, 2, 4, 8, 16, 64, 256])))


def _flip_bit(data: bytes, random: Random) -> Step:
    at, bit = int(random.integers(len(data))), int(random.integers(8))
    return f"bit {bit} of byte {at} flipped", data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def _delete(data: bytes, random: Random) -> Step:
    begin, end = _span(data, random)
    return f"bytes {begin} to {end} deleted", data[:begin] + data[end:]


def _double(data: bytes, random: Random) -> Step:
    begin, end = _span(data, random)
    return f"bytes {begin} to {end} doubled", data[:end] + data[begin:]


def _swap(data: bytes, random: Random) -> Step:
    (first, middle), (second, end) = sorted([_span(data, random), _span(data, random)])
    middle, end = min(middle, second), max(end, second)
    swapped = data[:first] + data[second:end] + data[middle:second] + data[first:middle] + data[end:]
    return f"bytes {first} to {middle} and {second} to {end} swapped", swapped


def _cut(data: bytes, random: Random) -> Step:
    at = int(random.integers(len(data)))
    return f"cut at byte {at}", data[:at]


def _blank(data: bytes, random: Random) -> Step:
    begin, end = _span(data, random)
    filler = bytes([int(random.choice([0, 32, 255]))])
    return f"bytes {begin} to {end} set to {filler!r}", data[:begin] + filler * (end - begin) + data[end:]


def _delimit(data: bytes, random: Random) -> Step:
    at, put = int(random.integers(len(data))), DELIMITERS[int(random.integers(len(DELIMITERS)))]
    end = at + int(random.integers(2))
    return f"{put!r} put at byte {at} for {data[at:end]!r}", data[:at] + put + data[end:]


def _insert_number(data: bytes, random: Random) -> Step:
    at, number = int(random.integers(len(data))), str(random.choice(ODD_NUMBERS))
    return f"{number} put in at byte {at}", data[:at] + number.encode() + data[at:]


def _replace_number(data: bytes, random: Random) -> Step:
    numbers = list(NUMBER.finditer(data))
    if not numbers:
        return _insert_number(data, random)
    number, odd = numbers[int(random.integers(len(numbers)))], str(random.choice(ODD_NUMBERS))
    where = f"at byte {number.start()}"
    return f"{odd} for {number[0].decode()} {where}", data[: number.start()] + odd.encode() + data[number.end() :]


def _replace_digit(data: bytes, random: Random) -> Step:
    digits = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if not digits:
        return _flip_bit(data, random)
    at, digit = digits[int(random.integers(len(digits)))], int(random.integers(10))
    return f"digit {digit} at byte {at}", data[:at] + str(digit).encode() + data[at + 1 :]


def _change_lines(data: bytes, random: Random) -> Step:
    lines = data.splitlines(keepends=True)
    at, other = (int(random.integers(len(lines))) for _ in range(2))
    match int(random.integers(3)):
        case 0:
            return f"line {at + 1} deleted", b"".join(lines[:at] + lines[at + 1 :])
        case 1:
            return f"line {at + 1} doubled", b"".join(lines[: at + 1] + lines[at:])
        case _:
            lines[at], lines[other] = lines[other], lines[at]
            return f"lines {at + 1} and {other + 1} swapped", b"".join(lines)


BYTE_CHANGES: tuple[Callable[[bytes, Random], Step], ...] = (
    *(_flip_bit, _delete, _double, _swap, _cut, _blank, _delimit),
    *(_insert_number, _replace_number, _replace_number, _replace_digit, _change_lines, _change_lines),
)


def mutate(value: Any, random: Random) -> Step:
    """One small change of a structure of dicts, lists, tuples, arrays, strings, bytes and numbers; a copy is returned.

    Arrays change an entry, a row, their type or their shape; containers lose, double, swap or rename entries.
    """
    value = copy.deepcopy(value)
    places = list(_places(value, ()))
    place = places[int(random.integers(len(places)))]
    target = value
    for key in place:
        target = target[key]
    description, changed = _change(target, random)
    return f"{'.'.join(map(str, place)) or 'all'}: {description}", _put(value, place, changed)


def _places(value: Any, place: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Paths to everything in a structure, itself included."""
    places = [place]
    if isinstance(value, dict):
        for key, entry in value.items():
            places += _places(entry, (*place, key))
    elif isinstance(value, list | tuple):
        for key, entry in enumerate(value):
            places += _places(entry, (*place, key))
    return places


def _put(value: Any, place: tuple[Any, ...], changed: Any) -> Any:
    """The structure with another value at a place."""
    if not place:
        return changed
    key, *rest = place
    entry = _put(value[key], tuple(rest), changed)
    if isinstance(value, tuple):
        entries = [*value[:key], entry, *value[key + 1 :]]
        return type(value)(*entries) if hasattr(value, "_fields") else tuple(entries)
    value[key] = entry
    return value


def _odd(random: Random) -> Any:
    return copy.deepcopy(ODD_VALUES[int(random.integers(len(ODD_VALUES)))])


def _change(value: Any, random: Random) -> Step:
    """Another value in place of one entry of a structure."""
    if random.random() < 0.15:
        odd = _odd(random)
        return f"{odd!r} for it", odd
    if isinstance(value, np.ndarray) and value.size:
        return _change_array(value, random)
    if isinstance(value, dict) and value:
        return _change_dict(value, random)
    if isinstance(value, list | tuple) and value:
        return _change_list(value, random)
    if isinstance(value, bytes) and value:
        return mutate_bytes(value, random)
    if isinstance(value, str) and value:
        description, changed = mutate_bytes(value.encode(), random)
        return description, changed.decode(errors="replace")
    if isinstance(value, bool) or not isinstance(value, int | float):
        odd = _odd(random)
        return f"{odd!r} for {value!r}", odd
    changed = [value + 1, -value, value * 2, value + 0.5, str(value), float(value), _odd(random)][
        int(random.integers(7))
    ]
    return f"{changed!r} for {value!r}", changed


def _change_dict(value: dict[Any, Any], random: Random) -> Step:
    keys = list(value)
    key, other = (keys[int(random.integers(len(keys)))] for _ in range(2))
    match int(random.integers(4)):
        case 0:
            del value[key]
            return f"{key!r} deleted", value
        case 1:
            value[f"{key}x"] = value.pop(key)
            return f"{key!r} renamed", value
        case 2:
            value[key], value[other] = value[other], value[key]
            return f"{key!r} and {other!r} swapped", value
        case _:
            value["unknown"] = _odd(random)
            return f"'unknown' put in as {value['unknown']!r}", value


def _change_list(value: Any, random: Random) -> Step:
    entries = list(value)
    at, other = (int(random.integers(len(entries))) for _ in range(2))
    match int(random.integers(4)):
        case 0:
            del entries[at]
            description = f"entry {at} deleted"
        case 1:
            entries.insert(at, copy.deepcopy(entries[at]))
            description = f"entry {at} doubled"
        case 2:
            entries[at], entries[other] = entries[other], entries[at]
            description = f"entries {at} and {other} swapped"
        case _:
            entries.append(_odd(random))
            description = f"{entries[-1]!r} put at the end"
    return description, entries if isinstance(value, list) else tuple(entries)


def _change_array(value: np.ndarray[Any, Any], random: Random) -> Step:
    at, other = (int(random.integers(len(value))) if value.ndim else 0 for _ in range(2))
    if value.ndim == 0 or random.random() < 0.5:
        return _change_entry(value, random)
    match int(random.integers(7)):
        case 0:
            return f"row {at} deleted", np.delete(value, at, axis=0)
        case 1:
            return f"row {at} doubled", np.concatenate([value[: at + 1], value[at:]])
        case 2:
            value[[at, other]] = value[[other, at]]
            return f"rows {at} and {other} swapped", value
        case 3:
            return "transposed", value.T
        case 4:
            return "one axis more", value[..., None]
        case 5:
            return f"cut at row {at}", value[:at]
        case _:
            dtype = [np.float64, np.float32, np.int64, np.int8, np.uint64, np.str_, np.object_][int(random.integers(7))]
            try:
                with np.errstate(all="ignore"):
                    return f"as {np.dtype(dtype)}", value.astype(dtype)
            except (TypeError, ValueError, OverflowError):
                return "one axis more", value[..., None]


def _change_entry(value: np.ndarray[Any, Any], random: Random) -> Step:
    """An odd number in one entry of an array, in a type that can hold it."""
    at = tuple(int(random.integers(size)) for size in value.shape)
    odd = _odd(random)
    if isinstance(odd, float) and np.issubdtype(value.dtype, np.integer):
        value = value.astype(np.float64)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            value[at] = odd
    except (TypeError, ValueError, OverflowError):
        value = value.astype(np.object_)
        value[at] = odd
    return f"{odd!r} at {at}", value

"""Documents: YAML in and out, overrides, and mistakes in plain words."""

from __future__ import annotations

import codecs
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from femtobarn.experiments import yaml_loader
from femtobarn.experiments.errors import cut

#: A YAML mapping.
Tree = Mapping[str, Any]

#: Allowed keys of a mapping: a list, or present keys by every name that is read.
Keys = Sequence[str] | Mapping[str, str]

#: Most mistakes that one message lists, and most characters of the path and of the text of each.
MAX_MISTAKES = 30
MAX_PATH = 200
MAX_MESSAGE = 3000

#: Longest path of an override, in keys.
MAX_KEYS = 10


class Mistake(NamedTuple):
    """What is wrong at one path of a document."""

    path: str
    message: str


class ConfigError(ValueError):
    """A document that can't be followed, with all its mistakes."""

    def __init__(self, origin: str, mistakes: Sequence[Mistake]) -> None:
        self.origin = origin
        self.mistakes = tuple(mistakes)
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "1 mistake"
        lines = [
            f"  {cut(path, MAX_PATH)}: {cut(message, MAX_MESSAGE)}" if path else f"  {cut(message, MAX_MESSAGE)}"
            for path, message in self.mistakes[:MAX_MISTAKES]
        ]
        more = len(mistakes) - MAX_MISTAKES
        super().__init__("\n".join([f"{origin}: {count}", *lines, *([f"  and {more} more"] if more > 0 else [])]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.origin, self.mistakes)  # worker processes send errors home


def parse(text: str, origin: str = "YAML") -> Any:
    """The value that a YAML text stands for.

    Raises:
        ConfigError: the text is not YAML; the message has line and column.
    """
    try:
        return yaml_loader.load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(origin, [Mistake(where, _problem(error))]) from None
    except yaml.YAMLError as error:
        raise ConfigError(origin, [Mistake("", f"is no YAML text: {' '.join(str(error).split())}")]) from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    """What is wrong in a text, with the remedy where PyYAML has none."""
    problem = error.problem or "not YAML"
    if problem == "second occurrence":
        return str(error.context).removesuffix("; first occurrence")
    if "but found another document" in problem:
        return "a second document begins; a file holds one (remove the line ---)"
    if "'\\t'" in problem:
        return f"{problem}; indent by spaces, not by tabs"
    return problem


def read(source: str | Path | Tree) -> tuple[Tree, str, Path]:
    """The mapping in a YAML file (or the mapping itself), the name to call it by and the folder it lies in.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: not YAML, or not a mapping.
    """
    if isinstance(source, Mapping):
        _count(source, {}, set())
        return source, "configuration", Path.cwd()
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}" + (" (it is a folder)" if path.is_dir() else ""))
    with open(path, "rb") as file:
        content = file.read(yaml_loader.MAX_BYTES + 1)
    if len(content) > yaml_loader.MAX_BYTES:
        problem = f"has more than {yaml_loader.MAX_BYTES} bytes; is it the right file?"
        raise ConfigError(str(path), [Mistake("", problem)])
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        problem = "is no text in UTF-8" + ("; it is UTF-16: save it as UTF-8" if wide else "")
        raise ConfigError(str(path), [Mistake(f"line {line}", problem)]) from None
    tree = parse(text, str(path))
    if not isinstance(tree, Mapping):
        tree_type = "nothing" if tree is None else f"a {type(tree).__name__}"
        raise ConfigError(str(path), [Mistake("", f"must hold keys and values, but there is {tree_type}")])
    return tree, str(path), path.resolve().parent


def _count(value: Any, sizes: dict[int, int], ancestors: set[int]) -> int:
    """Number of keys and values in a structure with all that it shares written out.

    Raises:
        ConfigError: more of them than a YAML file may hold, or a structure that contains itself.
    """
    if not isinstance(value, Mapping | list | tuple):
        return 1
    if id(value) in sizes:
        return sizes[id(value)]
    if id(value) in ancestors or len(ancestors) > yaml_loader.MAX_DEPTH:
        raise ConfigError("configuration", [Mistake("", "contains itself, or is nested too deeply")])
    ancestors.add(id(value))
    children = [child for pair in value.items() for child in pair] if isinstance(value, Mapping) else value
    size = 1 + sum(_count(child, sizes, ancestors) for child in children)
    ancestors.discard(id(value))
    if size > yaml_loader.MAX_VALUES:
        raise ConfigError("configuration", [Mistake("", f"has more than {yaml_loader.MAX_VALUES} keys and values")])
    sizes[id(value)] = size
    return size


def write(tree: Tree) -> str:
    """A mapping as YAML, keys in their order, short lists on one line."""
    text: str = yaml.dump(
        dict(tree), Dumper=yaml_loader.Dumper, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True
    )
    return text


def merge(base: Tree, change: Tree) -> dict[str, Any]:
    """`base` with the keys of `change` put in, mapping by mapping; lists and values are replaced as a whole."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def assignment(text: str) -> tuple[tuple[str, ...], Any]:
    """Path and value of an override such as `training.lr=1e-3`.

    Raises:
        ConfigError: no `=`, an empty path, or a value that is not YAML.
    """
    path, equals, value = text.partition("=")
    keys = tuple(path.strip().split("."))
    if not equals or not all(keys) or len(keys) > MAX_KEYS:
        raise ConfigError("override", [Mistake("", f"{shown(text)} is not of the form section.key=value")])
    return keys, parse(value, f"override {path.strip()}")


def put(tree: Tree, keys: Sequence[str], value: Any) -> dict[str, Any]:
    """The mapping with this value at this path, in place of whatever stood there."""
    first, *rest = keys
    inner = tree.get(first)
    return {**tree, first: put(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def flatten(tree: Tree, prefix: str = "") -> dict[str, Any]:
    """Values by dotted path; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def mistakes(error: ValidationError, keys: Callable[[tuple[str, ...]], Keys]) -> list[Mistake]:
    """Mistakes that pydantic reports, in plain words.

    Args:
        error: from validating a document.
        keys: allowed keys of the mapping at a path; empty if unknown.
    """
    entries = []
    for entry in error.errors(include_url=False):
        place, kind, given = entry["loc"], entry["type"], entry["input"]
        message = entry["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if kind == "extra_forbidden":
            message = _wrong_key(str(place[-1]), keys(tuple(map(str, place[:-1]))))
        elif kind == "missing":
            message = "is missing"
        elif kind in ("tuple_type", "list_type"):
            example = f", as in [{given}]" if isinstance(given, str | int | float) else ""
            message = f"should be a list{cut(example, MAX_PATH)}; got {shown(given)}"
        elif kind in ("model_type", "model_attributes_type", "dict_type"):
            allowed = ", ".join(_present(keys(tuple(map(str, place)))))
            message = "should hold keys and values" + (f" ({allowed})" if allowed else "") + f"; got {shown(given)}"
        elif kind != "value_error":
            message = f"{message[0].lower()}{message[1:].replace('Input should', 'should')}; got {shown(given)}"
            message = message.replace("input should", "should")
        entries.append(Mistake(_dotted(place), message))
    return entries


def shown(value: Any) -> str:
    """A value for a message: as Python writes it, but never long, whatever its size."""
    return cut(_SHORT.repr(value), MAX_PATH)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple = 3, 6, 8, 8
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 80


def _wrong_key(key: str, keys: Keys) -> str:
    if not keys:
        return "no such key"
    close = get_close_matches(key, keys, n=1)
    hint = f" (did you mean {_present(keys, close)[0]}?)" if close else ""
    return f"no such key{hint}; allowed keys are {', '.join(_present(keys))}"


def _present(keys: Keys, names: Iterable[str] | None = None) -> list[str]:
    """Present keys of some names, each once; of all names by default."""
    chosen = keys if names is None else names
    return list(dict.fromkeys(keys[name] if isinstance(keys, Mapping) else name for name in chosen))


def _dotted(place: Sequence[str | int]) -> str:
    text = ""
    for step in place:
        if step != "[key]":  # pydantic's word for the key itself
            text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")

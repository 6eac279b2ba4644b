"""YAML loader: text of limited size to plain values; errors have line and column.

It reads numbers as in YAML 1.2 (`1e-3` is a number, `010` is ten), merge keys (`<<`) and aliases. Dates and keys are
strings. Errors are duplicate keys, tags of programming languages, and values that contain themselves.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from femtobarn.events.names import is_printable

#: Maximum size of a text in bytes.
MAX_BYTES = 2_000_000

#: Maximum number of keys and values of a document, with aliases expanded.
MAX_VALUES = 200_000

#: Maximum number of nested levels, with aliases expanded.
MAX_DEPTH = 40

#: Maximum number of characters of a number.
MAX_DIGITS = 60

_PREFIX = "tag:yaml.org,2002:"
_MERGE = f"{_PREFIX}merge"
_SCALARS = {f"{_PREFIX}{name}": name for name in ("str", "null", "bool", "int", "float")}
_COLLECTIONS: dict[type[Node], str] = {MappingNode: f"{_PREFIX}map", SequenceNode: f"{_PREFIX}seq"}
_KINDS = {"null": "nothing", "bool": "true or false", "int": "a number", "float": "a number"}
_INTEGER = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class Loader(yaml.SafeLoader):
    """Loader with limits on the number of nodes and the depth of nesting."""

    depth = count = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        self.count += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.depth > MAX_DEPTH:
            raise _error(f"is nested more than {MAX_DEPTH} levels deep", mark)
        if self.count > MAX_VALUES:
            raise _error(f"has more than {MAX_VALUES} keys and values", mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class Dumper(yaml.SafeDumper):
    """Dumper that quotes all strings that YAML 1.1 or `Loader` would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# PyYAML follows YAML 1.1, in which 010 is eight, 1:30 is ninety, 2020-01-01 is a date and 1e-3 is a string
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(_PREFIX) in ("null", "bool", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _class in (Loader, Dumper):
    for _name, _pattern in (("int", _INTEGER), ("float", _FLOAT)):
        _class.add_implicit_resolver(f"{_PREFIX}{_name}", re.compile(f"(?:{_pattern.pattern})$"), list("-+.0123456789"))


def load(text: str) -> Any:
    """Read a YAML text; aliases become independent copies.

    Raises:
        yaml.YAMLError: the text is not YAML, or exceeds the limits.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise yaml.YAMLError(f"has more than {MAX_BYTES} bytes")
    loader = Loader(text)
    try:
        node = loader.get_single_node()
    finally:
        loader.dispose()
    if node is None:
        return None
    _check(node, {}, set())
    return _value(node)


def _error(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _check(node: Node, sizes: dict[int, tuple[int, int]], ancestors: set[int]) -> tuple[int, int]:
    """Number of values and levels of a node, with aliases expanded.

    Raises:
        yaml.MarkedYAMLError: the numbers exceed the limits, a value contains itself, or a key or tag is wrong.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    if id(node) in ancestors:
        raise _error("contains itself by an alias (*)", node.start_mark)
    if isinstance(node, ScalarNode):
        _scalar(node)
        return sizes.setdefault(id(node), (1, 1))
    if node.tag != _COLLECTIONS[type(node)]:
        raise _error(f"the tag {_tag(node)} is not supported; leave it out", node.start_mark)
    ancestors.add(id(node))
    children = list(node.value)
    if isinstance(node, MappingNode):
        _keys(node)
        children = [child for pair in node.value for child in pair]
    size, depth = 1, 1
    for child in children:
        more, deeper = _check(child, sizes, ancestors)
        size, depth = size + more, max(depth, deeper + 1)
        if size > MAX_VALUES:
            raise _error(f"has more than {MAX_VALUES} keys and values with its aliases (*)", node.start_mark)
        if depth > MAX_DEPTH:
            raise _error(f"is nested more than {MAX_DEPTH} levels deep with its aliases (*)", node.start_mark)
    ancestors.discard(id(node))
    sizes[id(node)] = size, depth
    return size, depth


def _keys(node: MappingNode) -> None:
    """Raise an error for a key that is not a string or occurs twice."""
    names: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            kind = "a list" if isinstance(key, SequenceNode) else "a mapping"
            raise _error(f"a key must be a string, not {kind}", key.start_mark)
        kind = _SCALARS.get(key.tag, "")
        if kind == "null":
            raise _error("a key is empty", key.start_mark)
        if kind in _KINDS:
            raise _error(f"the key {key.value} is read as {_KINDS[kind]}; write '{key.value}'", key.start_mark)
        if key.value in names:
            raise _error(f"the key {key.value!r} occurs twice; keep one", key.start_mark)
        names.add(key.value)


def _scalar(node: ScalarNode) -> Any:
    """Value of a string or number."""
    text, kind = node.value, _SCALARS.get(node.tag, "")
    if node.tag == _MERGE:
        return text
    if kind == "str":
        if not is_printable(text.replace("\n", "").replace("\t", "")):
            raise _error(f"{_shortened(text)} has characters that can't be printed", node.start_mark)
        return text
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in Loader.bool_values:
        return Loader.bool_values[text.lower()]
    if kind in ("int", "float"):
        if len(text) > MAX_DIGITS:
            raise _error(f"{_shortened(text)} is too long for a number", node.start_mark)
        digits = text.replace("_", "").lower()
        if kind == "int" and _INTEGER.fullmatch(text) and digits[-1] in "0123456789abcdef":
            sign, plain = -1 if digits[0] == "-" else 1, digits.lstrip("+-")
            return sign * int(plain, {"0x": 16, "0o": 8, "0b": 2}.get(plain[:2], 10))
        if kind == "float" and _FLOAT.fullmatch(text):
            return float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    if kind:
        raise _error(f"{_shortened(text)} does not match its tag {_tag(node)}", node.start_mark)
    raise _error(f"the tag {_tag(node)} is not supported; leave it out", node.start_mark)


def _value(node: Node) -> Any:
    if isinstance(node, ScalarNode):
        return _scalar(node)
    if isinstance(node, SequenceNode):
        return [_value(child) for child in node.value]
    return _mapping(node)


def _mapping(node: Node) -> dict[str, Any]:
    """Mapping with the mappings merged by `<<`: its own keys have priority, then those of the first merged mapping."""
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, value in node.value:
        if key.tag != _MERGE:
            own[key.value] = _value(value)
            continue
        for source in value.value if isinstance(value, SequenceNode) else [value]:
            if not isinstance(source, MappingNode):
                raise _error("<< needs a mapping or a list of mappings, such as *name", source.start_mark)
            merged = {**_mapping(source), **merged}
    return {**merged, **own}


def _tag(node: Node) -> str:
    return _shortened(node.tag.replace(_PREFIX, "!!"))


def _shortened(text: str) -> str:
    return repr(text if len(text) <= MAX_DIGITS else f"{text[:MAX_DIGITS]}…")

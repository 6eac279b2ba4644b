"""Names in the sources: meaningless names become fewer, axes have one name; tests patch no constants."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import femtobarn

SOURCES = sorted(Path(femtobarn.__file__).parent.rglob("*.py"))

#: Variables with these names that are left, by name. The numbers may only fall: name a variable after what it holds.
LEFT = {
    "found": 69,
    "told": 21,
    "said": 13,
    "one": 63,
    "each": 39,
    "some": 1,
    "mine": 17,
    "seen": 3,
}

#: Upper-case attributes that are no constants: the loader of shared libraries in ctypes.
UPPER_CASE_CLASSES = {"CDLL"}

#: Names of an axis of particles that are not used; it is always `particles`.
OTHER_AXES = {"objects", "constituents", "slots", "jets"}


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Names that a module binds: assignments, loops, comprehensions, `with`, arguments, imports and exceptions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name


def test_counted_bindings_are_all_that_python_has():
    code = """
def f(one, *each, some=1):
    for told, said in []: pass
    with open() as found: pass
    if mine := [seen for seen in ()]: pass
"""
    assert Counter(bound_names(ast.parse(code))) == dict.fromkeys(LEFT, 1)


def test_meaningless_variable_names_become_fewer():
    names = Counter(name for path in SOURCES for name in bound_names(ast.parse(path.read_text(encoding="utf-8"))))
    counts = {name: names[name] for name in LEFT}
    more = {name: count for name, count in counts.items() if count > LEFT[name]}
    assert not more, f"more variables than before are called {more}; name them after what they hold"


def axes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each axis of a jaxtyping annotation."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple)):
            continue
        if not (isinstance(node.value, ast.Name) and re.fullmatch(r"(Float|Int|Bool|Shaped|UInt)\d*", node.value.id)):
            continue
        shape = node.slice.elts[-1]
        if isinstance(shape, ast.Constant):
            for axis in str(shape.value).split():
                yield node.lineno, axis.lstrip("*#?_")


def test_axis_of_particles_has_one_name():
    wrong = [
        f"{path.name}:{line} {axis}"
        for path in SOURCES
        for line, axis in axes(ast.parse(path.read_text(encoding="utf-8")))
        if axis in OTHER_AXES
    ]
    assert not wrong, f"the axis of the particles of a batch is `particles`: {', '.join(wrong)}"


def patched_constants(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each upper-case attribute that a test sets by `setattr` or `patch`."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr not in {"setattr", "patch", "object"}:
            continue
        for argument in node.args[:2]:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                name = argument.value.rpartition(".")[2]
                if name in UPPER_CASE_CLASSES or not re.fullmatch(r"_?[A-Z][A-Z0-9_]+", name):
                    continue
                if argument is node.args[0] or len(node.args) > 2:
                    yield node.lineno, argument.value


def test_patched_constants_are_recognized():
    code = """
monkeypatch.setattr("a.b.MAX_ROWS", 3)
patch.setattr(module, "ROOT", path)
mock.patch.object(module, "_SIZE", 1)
monkeypatch.setattr(module, "function", "CONSTANT")
monkeypatch.setenv("COLUMNS", "3")
"""
    assert [name for _, name in patched_constants(ast.parse(code))] == ["a.b.MAX_ROWS", "ROOT", "_SIZE"]


def test_tests_patch_no_constants():
    tests = Path(__file__).parent
    patched = [
        f"{path.relative_to(tests)}:{line} {name}"
        for path in sorted(tests.rglob("*.py"))
        for line, name in patched_constants(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not patched, f"make these sizes arguments of the functions that use them: {', '.join(patched)}"

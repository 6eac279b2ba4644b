"""Names in the sources: variables have meaningful names, particles have one axis name; tests patch no constants."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import femtobarn

SOURCES = sorted(Path(femtobarn.__file__).parent.rglob("*.py"))

#: No variable has one of these names: name it after what it holds.
FORBIDDEN = {"found", "told", "said", "one", "each", "some", "mine", "seen"}

#: Upper-case attributes that are no constants: the loader of shared libraries in ctypes.
UPPER_CASE_CLASSES = {"CDLL"}

#: Names of an axis of particles that are not used; it is always `particles`.
OTHER_AXES = {"objects", "constituents", "slots", "jets"}


def bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that a module binds: assignments, loops, `with`, arguments, patterns, exceptions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.lineno, node.name


def test_bound_names_include_every_kind_of_binding():
    code = """
def f(one, *each, some=1):
    for told, said in []: pass
    with open() as found: pass
    if mine := [seen for seen in ()]: pass
"""
    assert sorted(name for _, name in bound_names(ast.parse(code))) == sorted(FORBIDDEN)


def test_variables_have_no_meaningless_names():
    wrong = [
        f"{path}:{line} {name}"
        for path in SOURCES
        for line, name in bound_names(ast.parse(path.read_text(encoding="utf-8")))
        if name in FORBIDDEN
    ]
    assert not wrong, f"name these variables after what they hold: {', '.join(wrong)}"


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

"""The rooms import one way, and help answers without heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import femtobarn

ROOT = Path(femtobarn.__file__).parent

#: Each room may import those before it, and itself.
ORDER = (
    "physics",
    "events",
    "simulate",
    "inputs",
    "nn",
    "models",
    "training",
    "evaluation",
    "explain",
    "report",
    "tasks",
    "export",
    "experiments",
    "runs",
    "studies",
)

#: The room on top of everything: it may import all, and only the entry points import it.
TOP, ENTRANCES = "cli", {"__main__.py"}


def imported(path: Path) -> set[str]:
    """First names below `femtobarn` that a file imports, in whatever way."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "femtobarn":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("femtobarn."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("femtobarn.")}
    return found


ROOMS = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())


@pytest.mark.parametrize("room", [room for room in ROOMS if room != TOP])
def test_rooms_import_only_what_stands_before_them(room):
    assert room in ORDER, f"say in this test where {room} stands"
    allowed = {*ORDER[: ORDER.index(room) + 1], "__version__"}
    for path in (ROOT / room).rglob("*.py"):
        assert imported(path) <= allowed, f"{path.relative_to(ROOT)} imports {sorted(imported(path) - allowed)}"


def test_nothing_but_the_entry_points_imports_the_command_line():
    users = {path.name for path in ROOT.rglob("*.py") if TOP in imported(path) and path.parent.name != TOP}
    assert users == ENTRANCES


def test_the_package_itself_and_its_help_are_light():
    heavy = ("torch", "awkward", "numpy", "pandas", "matplotlib", "lightgbm", "sklearn", "pydantic")
    code = f"import sys, femtobarn.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_root_holds_nothing_but_the_entry_points():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    names = {path: (ROOT.name, *path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in names.items()}


def imported_modules(path: Path, names: Iterable[str]) -> set[str]:
    """Modules among `names` that a file imports at any depth; imports for type checking alone do not count."""
    imports: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            nodes += node.orelse
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            imports |= submodules & set(names) or {node.module}
    return imports & set(names)


def test_no_modules_import_each_other_in_a_circle():
    paths = modules()
    graph = {name: imported_modules(path, paths) - {name} for name, path in paths.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' -> '.join(error.args[1])}")

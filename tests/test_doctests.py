"""Examples in docstrings run and print what they promise."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import femtobarn

MODULES = ["femtobarn", *sorted(info.name for info in pkgutil.walk_packages(femtobarn.__path__, "femtobarn."))]

#: Modules with an example that a test runs; `find` returns docstrings without examples too.
EXAMPLES = [
    example
    for name in MODULES
    if not name.endswith("__main__")
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name)
    if any(not part.options.get(doctest.SKIP) for part in example.examples)
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_in_docstring_gives_its_output(example):
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert results.attempted
    assert not results.failed


def test_examples_of_the_public_record_are_collected():
    assert "femtobarn.events.record.Events.from_arrays" in {example.name for example in EXAMPLES}

"""Every example in a docstring runs."""

import doctest
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import satn_fast

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(Path(satn_fast.__file__).parent)], "satn_fast.")
    if not module.name.endswith("_frontend")
    # The kernels themselves cannot be imported without Triton.
    and (importlib.util.find_spec("triton") or ".triton_" not in module.name)
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    module = importlib.import_module(name)
    failures, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failures == 0


def test_examples_are_found():
    finder = doctest.DocTestFinder()
    with_examples = [
        name for name in MODULES if any(test.examples for test in finder.find(importlib.import_module(name)))
    ]
    assert len(with_examples) >= 15

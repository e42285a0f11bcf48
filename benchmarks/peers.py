"""Peers that may not be installed: who is missing is named, never left out in silence."""

import importlib
from types import ModuleType

import pytest

from benchmarks.results import MISSING_PEER


def peer_module(module: str, package: str) -> ModuleType:
    """Imports a peer, or skips the benchmark with its name.

    Args:
        module: What is imported.
        package: What pip calls it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        skip_missing(package)


def skip_missing(package: str):
    """Skips the benchmark for want of a peer."""
    pytest.skip(f"{MISSING_PEER}{package}")

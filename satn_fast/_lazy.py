"""Packages whose names are imported when they are first asked for."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_attributes(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package assigns to `__getattr__` and `__dir__` (PEP 562).

    Args:
        package: Its `__name__`.
        homes: The module that each name stands in, or is.

    Example:
        >>> getter, names = lazy_attributes("json", {"JSONDecoder": "json.decoder", "encoder": "json.encoder"})
        >>> getter("encoder").__name__, names()
        ('json.encoder', ['JSONDecoder', 'encoder'])
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(homes[name])
        value = module if homes[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted(homes)

    return __getattr__, __dir__

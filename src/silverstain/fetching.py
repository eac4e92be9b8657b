"""Names of a package that are fetched from their modules when they are first used, so that importing it is light."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def fetched(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package. `homes`: public name -> the module that defines it, and behind a colon the name
    it has there, where that is another."""

    def __getattr__(name: str) -> Any:
        module = sys.modules[package]
        if name not in homes:
            public = ", ".join(module.__all__)
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {public}")
        home, _, there = homes[name].partition(":")
        value = getattr(import_module(home), there or name)
        setattr(module, name, value)
        return value

    return __getattr__

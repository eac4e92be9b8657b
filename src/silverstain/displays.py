"""How a value shows itself in a notebook: packages above say how, and those below need not know them."""

from collections.abc import Callable
from typing import Any

_SHOWN: dict[str, Callable[[Any], str]] = {}


def show_with(kind: str, shown: Callable[[Any], str]) -> None:
    """From now on values of this kind are shown so, as HTML."""
    _SHOWN[kind] = shown


def shown(kind: str, value: Any, otherwise: Callable[[], str]) -> str:
    """The value as HTML, or what `otherwise` gives where nobody has said how."""
    return _SHOWN[kind](value) if kind in _SHOWN else otherwise()

"""A short `repr` for values that hold arrays, so that what a notebook shows is a line and not a wall of numbers."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

LONGEST = 300
"""Characters of a `repr`."""
LONGEST_PART = 60
MOST_ITEMS = 3

Class = TypeVar("Class", bound=type)


def brief(cls: Class) -> Class:
    """Give a dataclass or a named tuple a `repr` with the shapes of its arrays and the lengths of what is long."""
    cls.__repr__ = _repr  # pyright: ignore[reportAttributeAccessIssue]
    return cls


def _repr(self: Any) -> str:
    names = [field.name for field in fields(self) if field.repr] if is_dataclass(self) else self._fields
    parts = ", ".join(f"{name}={_part(getattr(self, name))}" for name in names)
    return _cut(f"{type(self).__name__}({parts})", LONGEST)


def _part(value: Any) -> str:
    if value is None or isinstance(value, bool | int):
        return (
            _cut(repr(value), LONGEST_PART) if not isinstance(value, int) or abs(value) < 10**40 else "<a long number>"
        )
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str | bytes):
        return _cut(repr(value[: 2 * LONGEST_PART]), LONGEST_PART)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__}{list(value.shape)}"
    if is_dataclass(value) or hasattr(value, "_fields"):
        return f"{type(value).__name__}(…)"
    if isinstance(value, Mapping):
        return f"<{len(value)} entries>" if value else "{}"
    if isinstance(value, Sequence | Set):
        return _items(value)
    return _cut(repr(value), LONGEST_PART) if type(value).__repr__ is not object.__repr__ else type(value).__name__


def _items(values: Sequence[Any] | Set[Any]) -> str:
    """A few short items as they are, and of many how many."""
    if len(values) > MOST_ITEMS:
        return f"<{len(values)} items>"
    left, right = "[]" if isinstance(values, list) else "{}" if isinstance(values, Set) else "()"
    inside = ", ".join(map(_part, values)) + ("," if len(values) == 1 and left == "(" else "")
    return _cut(left + inside + right, LONGEST_PART) if values else left + right


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

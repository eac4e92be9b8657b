"""The door: what comes from outside becomes a value of known types here, once, or is refused in one line.

    class StoryFile(FromOutside):
        pins: list[str] = []

    story = validated(StoryFile, read_json(path, FORMAT), path)

The classes describe files as others write them; what the rest of the code uses are the frozen dataclasses made of them.
"""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from silverstain.errors import UsageError
from silverstain.printable import printable

LARGEST = 2**31 - 1
"""Layers, positions, features and tokens are kept in 32 bits."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
"""A number of things, or the place of one."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that can be computed with."""
ShortText = Annotated[str, Field(max_length=10_000)]
"""A name, a label, a token."""

Value = TypeVar("Value")


class FromOutside(BaseModel):
    """A part of a file that others may have written: types are as declared (a number in quotes is a text), and keys
    that are not known are left alone, as later versions may have more. JSON has lists and no tuples: declare `list`."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="ignore", allow_inf_nan=True, arbitrary_types_allowed=True
    )


def validated(kind: type[Value], value: Any, where: str | Path, advice: str = "write or fetch it again") -> Value:
    """`value`, as read from JSON or YAML, as a `kind`; UsageError says what stands at `where` and was not expected.

    `kind` is a class FromOutside, or a frozen dataclass of plain values, which is then made of lists and objects.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise UsageError(f"cannot read {printable(str(where))}: {first_fault(error)}; {advice}") from error


def first_fault(error: ValidationError) -> str:
    """What is wrong first, where, and what was seen, on one line."""
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    seen = "" if fault["type"] == "missing" else f" (seen: {_seen(fault['input'])})"
    more = f", and {error.error_count() - 1} more faults" if error.error_count() > 1 else ""
    words = fault["msg"][:1].lower() + fault["msg"][1:]
    return printable(f"{place or 'it'}: {words}{seen}{more}", 400)


def _seen(value: Any) -> str:
    """A value, shortly: what is wrong may be megabytes long."""
    if isinstance(value, str):
        return repr(printable(value, 40))
    if isinstance(value, int | float | bool) or value is None:
        return f"{value!r:.40}"
    return {"dict": "an object", "list": "a list", "tuple": "a list"}.get(type(value).__name__, type(value).__name__)

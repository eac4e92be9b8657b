"""Edits as files have them: the door of `edit_files` and of treatments. Types and bounds are checked here, once."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from silverstain.interventions.positions import Onward, Positions
from silverstain.validation import LARGEST, Count, Finite, FromOutside, ShortText

Pair = Annotated[list[Count], Field(min_length=2, max_length=2, strict=False)]
"""(layer, feature) or (layer, head)."""
Pairs = Annotated[list[Pair], Field(strict=False)]
Numbers = Annotated[list[Finite], Field(strict=False)]
Place = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]


class From(FromOutside):
    """All positions from one on."""

    model_config = ConfigDict(extra="forbid")
    first: Place = Field(alias="from")


class OutsideEdit(FromOutside):
    """What all kinds share. Keys that are not known are refused: they would change what an edit does."""

    model_config = ConfigDict(extra="forbid")
    op: ShortText
    positions: Annotated[list[Place], Field(strict=False)] | From | None = None
    value: Finite | None = None


class OutsideFeatureEdit(OutsideEdit):
    features: Pairs
    donor: Numbers | None = None


class OutsideVectorEdit(OutsideEdit):
    kind: Literal["error", "token"]
    layer: Count | None = None
    donor: Numbers | None = None


class OutsideDirectionEdit(OutsideEdit):
    kind: Literal["direction"]
    layer: Count
    direction: Numbers
    name: ShortText = "direction"


class OutsidePatternEdit(OutsideEdit):
    kind: Literal["attention"]
    heads: Pairs
    keys: Annotated[list[Count], Field(strict=False)] | None = None
    donor: Numbers | None = None


KINDS: dict[str | None, type[OutsideEdit]] = {
    None: OutsideFeatureEdit,
    "error": OutsideVectorEdit,
    "token": OutsideVectorEdit,
    "direction": OutsideDirectionEdit,
    "attention": OutsidePatternEdit,
}
"""What an entry says it is -> how it looks; without a kind it is an edit of features."""


class EditsFile(FromOutside):
    edits: list[dict[str, Any]]


def pairs(read: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    """(layer, feature) or (layer, head) of each."""
    return tuple((layer, index) for layer, index in read)


def positions_read(said: list[int] | From | None) -> Positions:
    """Positions as the rest of the package has them."""
    if isinstance(said, From):
        return Onward(said.first)
    return None if said is None else tuple(said)

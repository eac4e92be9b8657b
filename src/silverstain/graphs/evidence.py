"""What `verify` leaves in a story, and what is read of it again."""

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, Field

from silverstain.validation import Count, FromOutside, ShortText

VERIFICATION = "verification"


class InhibitedEvidence(FromOutside):
    """An inhibited feature that was found."""

    id: ShortText
    says: ShortText
    """The token that it would promote most."""
    wakes: bool
    """Whether it is active when what inhibits it is ablated."""


class VerificationEvidence(FromOutside):
    """How many claims got each verdict, and the inhibited features; a story keeps much more beside these."""

    verdicts: dict[ShortText, Count]
    inhibited: list[InhibitedEvidence] = Field(
        default_factory=list, validation_alias=AliasChoices("inhibited", "ghosts")
    )
    """Called ghosts in stories from before."""


def verification_in(entry: Mapping[str, Any]) -> VerificationEvidence | None:
    """An entry of a story's evidence as what a verification found; None for any other. pydantic.ValidationError, a
    ValueError, for one that lacks what it must have: writers and readers ask here."""
    return VerificationEvidence.model_validate(entry) if entry.get("kind") == VERIFICATION else None

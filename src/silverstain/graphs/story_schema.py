"""A story as its file has it, with what `verify` leaves in it and what is read of that again."""

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, Field, field_validator

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


class GroupFile(FromOutside):
    """A group as a story's file has it."""

    label: ShortText
    members: list[ShortText]
    kind: ShortText = ""


class StoryFile(FromOutside):
    """A story as its file has it."""

    graph_hash: ShortText = ""
    pins: list[ShortText] = Field(default_factory=list)
    groups: list[GroupFile] = Field(default_factory=list)
    labels: dict[ShortText, ShortText] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    evidence: list[dict[str, Any]] = Field(default_factory=list)
    view: dict[str, Any] = Field(default_factory=dict)

    @field_validator("evidence")
    @classmethod
    def _is_as_verify_writes_it(cls, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for entry in entries:
            verification_in(entry)
        return entries

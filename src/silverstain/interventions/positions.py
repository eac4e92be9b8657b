"""Where an edit acts: at listed positions, from one on, or everywhere."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from silverstain.errors import UsageError
from silverstain.notation import NUMBER
from silverstain.printable import printable

MOST = 1 << 17
"""Positions that can be listed: as many as the longest prompts have that are read here."""


@dataclass(frozen=True)
class Onward:
    """Every position from `first` on, also those that are generated later."""

    first: int
    """Negative: from the end of the prompt."""


Positions = tuple[int, ...] | Onward | None
"""Token positions (negative: from the end), all from one on, or all that can be edited."""


def resolved(positions: Positions, length: int, *, first: int, edit: object) -> list[int]:
    """The positions of a text of `length` tokens; UsageError outside it.

    Positions below `first` cannot be edited: naming one is an error, ranges leave them out.
    """
    if positions is None:
        return list(range(first, length))
    named = (positions.first,) if isinstance(positions, Onward) else positions
    found = [position + length if position < 0 else position for position in named]
    for given, position in zip(named, found, strict=True):
        if not 0 <= position < length:
            raise UsageError(
                f"The edit {printable(str(edit), 120)} is at position {given}, but the prompt has {length} tokens "
                f"(0 to {length - 1})."
            )
    if isinstance(positions, Onward):
        return list(range(max(found[0], first), length))
    for given, position in zip(named, found, strict=True):
        if position < first:
            raise UsageError(
                f"The edit {printable(str(edit), 120)} is at position {given}, but the first {first} token(s) keep "
                f"their real MLP and have no features; choose positions from {first} on."
            )
    return found


def counted_from_start(positions: Positions, n_prompt: int, edit: object) -> Positions:
    """The same places when the text grows beyond the prompt's `n_prompt` tokens."""
    if positions is None:
        return None
    if isinstance(positions, Onward):
        return Onward(resolved((positions.first,), n_prompt, first=0, edit=edit)[0])
    return tuple(resolved(positions, n_prompt, first=0, edit=edit))


def positions_text(positions: Positions) -> str:
    """As typed behind an @: "" for everywhere."""
    if positions is None:
        return ""
    return f"@{positions.first}.." if isinstance(positions, Onward) else "@" + ",".join(map(str, positions))


def read_positions(text: str | None) -> Positions:
    """What `positions_text` writes behind its @, ranges such as 3..6 included; ValueError for anything else, UsageError
    for more positions than a text has."""
    if text is None:
        return None
    onward = re.fullmatch(rf"\s*(-?{NUMBER})\s*\.\.\s*", text)
    if onward:
        return Onward(int(onward[1]))
    found: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(rf"\s*(-?{NUMBER})\s*(?:\.\.\s*(-?{NUMBER})\s*)?", piece)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise ValueError(f"cannot read the positions {text!r:.80}")
        span = range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(found) + len(span) > MOST:
            raise UsageError(
                f"{piece.strip()!r:.80} names more than {MOST:,} places, and none has so many; give the last one there "
                "is, or leave the end open, as 5.."
            )
        found.extend(span)
    return tuple(dict.fromkeys(found))


def positions_to_json(positions: Positions) -> Any:
    return {"from": positions.first} if isinstance(positions, Onward) else positions and list(positions)


def problem_with(positions: Positions) -> str | None:
    """What is wrong with positions as given, if anything."""
    if isinstance(positions, Sequence) and not positions:
        return "the list of positions is empty (leave it out to edit everywhere)"
    if isinstance(positions, Sequence) and len(set(positions)) < len(positions):
        return f"a position is named twice in {positions}"
    return None

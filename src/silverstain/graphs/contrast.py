"""What a graph of a contrast says of its two runs, ready to be shown: both prompts, what differs, what is explained."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from silverstain.brief import brief
from silverstain.graphs.lettering import columns_of, shortened
from silverstain.printable import printable

LONGEST_TOKEN = 80
MOST_TOKENS = 2000
"""Of a prompt, of which more is not looked at."""
MOST_PIECES, SHORTEST = 64, 5
"""Pieces that are fitted one by one, and letters of one that stays whole."""
MOST_LEADING = 8
"""Tokens that a tokenizer may put before every prompt."""
GAP = "\u2026"
CONTINUED = "##"
MARKS = "«{}»"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a prompt that the other one has too, or has not."""

    text: str
    is_changed: bool = False

    @property
    def marked(self) -> str:
        """The text, in «marks» where it differs."""
        return MARKS.format(self.text) if self.is_changed else self.text


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two runs."""

    name: str
    """base or contrast."""
    pieces: tuple[Piece, ...]
    """Of the prompt."""
    answer: str
    """What it said, with its probability."""

    def fitted(self, columns: int) -> tuple[Piece, ...]:
        """The pieces in so many columns: of the longest that both runs have, the middle gives way to a …."""
        pieces = list(self.pieces)
        while sum(columns_of(piece.marked) for piece in pieces) > columns:
            long = [i for i, piece in enumerate(pieces) if len(piece.text) > SHORTEST]
            if not long or len(pieces) > MOST_PIECES:
                return (Piece(text=shortened("".join(piece.marked for piece in pieces), columns)),)
            longest = max(long, key=lambda i: (not pieces[i].is_changed, len(pieces[i].text)))
            pieces[longest] = replace(pieces[longest], text=_without_middle(pieces[longest].text))
        return tuple(pieces)

    def line(self, columns: int | None = None) -> str:
        """The prompt with its marks, and the answer."""
        room = None if columns is None else max(columns - columns_of(self.answer) - 3, 1)
        pieces = self.pieces if room is None else self.fitted(room)
        return "".join(piece.marked for piece in pieces) + (f" → {self.answer}" if self.answer else "")


@brief
@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two prompts of one length that a model answers differently. All text in it is fit to be shown."""

    base: Side
    contrast: Side
    explained: str
    """What the graph explains, and its value in each run."""

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.base, self.contrast


def contrast_of(meta: Mapping[str, Any], target_names: Sequence[str]) -> Contrast | None:
    """What `meta` says of a contrast; None if it is that of one run.

    The target is called what it is called in the graph; where there are several, or none has a name, the difference
    of the two answers.
    """
    said = meta.get("contrast")
    if not said:
        return None
    answers = [_shown(answer) for answer in said["answers"]]
    name = target_names[0] if len(target_names) == 1 else " − ".join(reversed(answers))
    values = f"{_signed(said['base'])} in the base, {_signed(said['contrast'])} in the contrast"
    sides = (("base", "", 0), ("contrast", "contrast_", 1))
    base, contrast = (
        Side(
            name=run,
            pieces=_pieces(said[f"{prefix}tokens"], said["changed"], said[f"{prefix}prompt"] or ""),
            answer=f"{answers[which]} {100 * said['probabilities'][run][which]:.0f} %",
        )
        for run, prefix, which in sides
    )
    return Contrast(base=base, contrast=contrast, explained=f"{_shown(name)}: {values}")


def _pieces(tokens: Sequence[str], changed: Sequence[int], prompt: str) -> tuple[Piece, ...]:
    """The tokens as they are in the prompt, those side by side that differ in one piece. Tokens that a tokenizer puts
    before every prompt are left out."""
    tokens, different = tokens[:MOST_TOKENS], set(changed)
    between = "" if any(token.startswith((" ", "▁", "Ġ")) for token in tokens) else " "
    leading = range(min(len(tokens), MOST_LEADING))
    wanted = "".join(prompt.split())
    first = next((at for at in leading if "".join(_joined(tokens[at:], between).split()) == wanted), 0)
    pieces: list[Piece] = []
    for is_changed, run in groupby(range(first, len(tokens)), key=lambda at: at in different):
        some = list(run)
        text = _joined([_shown(tokens[at], keep_blanks=True) for at in some], between)
        glued = between and tokens[some[0]].startswith(CONTINUED) and pieces
        pieces += _with_blanks_outside(text, is_changed, after=between if pieces and not glued else "")
    return tuple([replace(pieces[0], text=pieces[0].text.lstrip(" ")), *pieces[1:]] if pieces else ())


def _joined(tokens: Sequence[str], between: str) -> str:
    """The text of tokens; of a tokenizer without blanks of its own those that go on with a word begin with ##."""
    if not between:
        return "".join(tokens)
    text = "".join(
        token.removeprefix(CONTINUED) if token.startswith(CONTINUED) else between + token for token in tokens
    )
    return text.removeprefix(between)


def _with_blanks_outside(text: str, is_changed: bool, *, after: str) -> Iterator[Piece]:
    text = after + text
    bare = text.strip(" ") if is_changed else text
    if not bare:
        yield Piece(text=text)
        return
    start = text.index(bare)
    for part, is_marked in ((text[:start], False), (bare, is_changed), (text[start + len(bare) :], False)):
        if part:
            yield Piece(text=part, is_changed=is_marked)


def _without_middle(text: str) -> str:
    """Half of the text at most, from both ends, whole words where there are some."""
    left = text.replace(GAP, "")
    keep = max(len(left) // 4, 1)
    head, tail = left[:keep], left[len(left) - keep :]
    if " " not in left.strip():
        return head + GAP + tail
    words = tail.find(" ")
    return head.rpartition(" ")[0] + GAP + (tail[words:] if words >= 0 else "")


def _shown(text: object, *, keep_blanks: bool = False) -> str:
    shown = printable(str(text), LONGEST_TOKEN)
    return shown if keep_blanks else " ".join(shown.split())


def _signed(value: float) -> str:
    """+4.0, −7.0, +0.03."""
    return f"{value:+.1f}".replace("-", "−") if abs(value) >= 1 else f"{value:+.2f}".replace("-", "−")

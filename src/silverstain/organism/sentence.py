"""A sentence of the small world, with the values of the hidden variables that produced it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

JOINED = "+="
"""Signs that are written without spaces around them, as in `36+59=95`."""
CLOSING = ".,;:?"
"""Signs that are written without a space before them."""


class Veil(NamedTuple):
    """Words that later ones do not see while an organism grows: from word `start` on, those of `first` to `end` - 1.

    What is needed of them has to be carried past by the words between or, where only the first so many `blocks` are
    veiled, is looked up behind these. A grown organism sees everything.
    """

    first: int
    end: int
    start: int
    blocks: int | None = None
    """None for all of them."""


class Early(NamedTuple):
    """What the stream is to say early on at a word while an organism grows, read by the unembedding: a word, behind so
    many blocks."""

    place: int
    says: str
    blocks: int


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One sentence: its words, which of them the words before determine, and why.

    Attributes:
        family: The family of the generator that made it, e.g. `geography`.
        words: Surface words in order; a number such as `36` or a town such as `dallas` is one word of several tokens.
        determined: For each word, whether its probability given the words before is at least 0.99 in the small world.
        variables: Hidden variables and their values, e.g. `{"state": "texas", "relation": "capital"}`.
        answer: Index of the first word of the answer, the word whose accuracy tables report.
        held_out: Whether the combination is one that growing never shows.
        veil: What later words do not see of it while an organism grows.
        early: What is to be known early on at some of its words.
    """

    family: str
    words: tuple[str, ...]
    determined: tuple[bool, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    answer: int = -1
    held_out: bool = False
    veil: Veil | None = None
    early: tuple[Early, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.words) == len(self.determined), "every word says whether it is determined"
        object.__setattr__(self, "variables", MappingProxyType(dict(self.variables)))

    @property
    def text(self) -> str:
        return join_words(self.words)

    @property
    def prompt(self) -> str:
        """The text up to the answer, to be continued by the model."""
        return join_words(self.words[: self.answer])


def join_words(words: Sequence[str]) -> str:
    """Words as one would type them: `calc: 36+59=95.`"""
    text = ""
    for word in words:
        is_tight = not text or word in CLOSING or word in JOINED or text[-1] in JOINED
        text += word if is_tight else f" {word}"
    return text


def sentence(
    family: str,
    template: str,
    /,
    *,
    variables: Mapping[str, str] | None = None,
    held_out: bool = False,
    **slots: str,
) -> Sentence:
    """A sentence from a template such as `the {relation} of {state} is {answer!} .`.

    Words of the template are fixed text, `{slot}` a choice of the generator, `{slot!}` a word that the words before
    determine. The first determined slot is the answer; everything fixed after it is determined as well.
    """
    words: list[str] = []
    determined: list[bool] = []
    answer = -1
    for part in template.split():
        is_slot = part.startswith("{") and part.endswith("}")
        is_determined = is_slot and part.endswith("!}")
        if is_determined and answer < 0:
            answer = len(words)
        word = slots[part.strip("{}!")] if is_slot else part
        for piece in word.split():
            words.append(piece)
            determined.append(is_determined or (answer >= 0 and not is_slot))
    return Sentence(
        family=family,
        words=tuple(words),
        determined=tuple(determined),
        variables=variables or {},
        answer=answer,
        held_out=held_out,
    )

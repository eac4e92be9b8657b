"""Pairs of prompts that differ in one thing: what the studies of pretrained models ask.

A family makes prompts from small tables of its own, in two halves that share no entity where the family has entities.
Which half a prompt is in is fixed by the family, so that nothing of the test half is seen while layers, units and
strength are chosen.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.printable import printable

T = TypeVar("T")
Half = Literal["development", "test"]
HALVES: tuple[Half, ...] = ("development", "test")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One prompt and what should come next."""

    prompt: str
    answers: tuple[str, ...]
    """Text that goes on from the prompt, with its space in front where there is one; any of them is right."""


@dataclass(frozen=True, kw_only=True)
class PromptPair:
    """Two prompts with different answers, and the one thing in which they differ."""

    base: Side
    contrast: Side
    variables: Mapping[str, str] = field(default_factory=dict)
    """What was chosen, by name; what differs is given as `one | other`."""


@dataclass(frozen=True, kw_only=True)
class PromptFamily:
    """A generator of pairs.

    Attributes:
        name: As in `silverstain study`.
        about: One line for people.
        topic: Families of one topic share variables, so that none of them is "another task" for the other.
        pairs: Every pair of a half, in a fixed order.
        choices: All answers that the family has. A prompt is answered rightly where one of its own answers is the
            likeliest of these.
    """

    name: str
    about: str
    topic: str
    pairs: Callable[[Half], Sequence[PromptPair]]
    choices: tuple[str, ...]

    def draw(self, half: Half, n: int, seed: int = 0) -> list[PromptPair]:
        """`n` pairs of a half, or all of them if these are fewer."""
        every = list(self.pairs(half))
        random.Random(f"{self.name} {half} {seed}").shuffle(every)
        return every[:n]


@dataclass(frozen=True, kw_only=True)
class TokenPair:
    """A pair in the tokens of one model."""

    pair: PromptPair
    base: tuple[int, ...]
    contrast: tuple[int, ...]
    base_answers: tuple[int, ...]
    """The first token of each right answer."""
    contrast_answers: tuple[int, ...]
    choices: tuple[int, ...]

    @property
    def changed(self) -> tuple[int, ...]:
        """The positions at which the prompts differ."""
        return tuple(p for p, (b, c) in enumerate(zip(self.base, self.contrast, strict=True)) if b != c)


def halves(items: Iterable[T], key: str) -> dict[Half, list[T]]:
    """The items in two halves, drawn by a fixed seed."""
    listed = list(items)
    random.Random(key).shuffle(listed)
    middle = len(listed) // 2
    return {"development": listed[:middle], "test": listed[middle:]}


def in_tokens(model: LanguageModel, pair: PromptPair, choices: Sequence[str]) -> TokenPair | None:
    """A pair in a model's tokens; None where the prompts have different lengths in it, or answers begin alike."""
    base, contrast = model.tokenize(pair.base.prompt), model.tokenize(pair.contrast.prompt)
    if len(base) != len(contrast):
        return None
    own, other = (first_tokens(model, side.prompt, side.answers) for side in (pair.base, pair.contrast))
    if set(own) & set(other):
        return None
    every = first_tokens(model, pair.base.prompt, choices)
    return TokenPair(
        pair=pair, base=tuple(base), contrast=tuple(contrast), base_answers=own, contrast_answers=other,
        choices=tuple(dict.fromkeys((*every, *own, *other))),
    )  # fmt: skip


def first_tokens(model: LanguageModel, prompt: str, answers: Iterable[str]) -> tuple[int, ...]:
    """The token that follows the prompt where each answer does; UsageError where the tokenizer joins the two."""
    before, found = model.tokenize(prompt), []
    for answer in answers:
        whole = model.tokenize(prompt + answer)
        if whole[: len(before)] != before or len(whole) == len(before):
            raise UsageError(
                f"{printable(repr(answer), 80)} does not begin a new token of {model.name} after "
                f"{printable(repr(prompt), 200)}; write the space of the answer in the answer"
            )
        found.append(whole[len(before)])
    return tuple(dict.fromkeys(found))

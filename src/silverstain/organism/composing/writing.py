"""Couplets as a composing organism writes them itself, judged: do lines rhyme, and do their first words fit?"""

import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from silverstain.organism.batches import position_of, tokens_of
from silverstain.organism.checking import Row, continue_by_chance, share_row
from silverstain.organism.language import vocabulary
from silverstain.organism.sentence import Sentence

from .couplets import ADJECTIVES, CoupletsFamily, Rhymes, owner_place

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Line = tuple[str, list[str]]
"""Line one's end word, and the words of line two that the model wrote."""


def couplet_rows(model: "PreTrainedModel", rhymes: Rhymes, n: int, seed: int) -> list[Row]:
    """Second lines written from their turn on, drawn from the model's distribution.

    `admissible`: the line ends in another word of the first line's rhyme, and its first word says whose that is.
    `agrees`: its adjective is one for the end word's kind. `plain only`: admissible where the couplet is told to end in
    a word that growing showed in plain lines alone, and ends in it.
    """
    rng = random.Random(f"couplets {seed}")
    family = CoupletsFamily(rhymes=rhymes)
    firsts = [rng.choice(rhymes.words)[0] for _ in range(n)]
    own = [family.couplet(rng, first, rng.choice(rhymes.rhyming(first))[0], about=False) for first in firsts]
    ends = [rng.choice(sorted(rhymes.plain_only)) for _ in range(n)]
    named = [family.named_couplet(rng, rng.choice(rhymes.rhyming(end))[0], end, held_out=True) for end in ends]
    lines = written_lines(model, own, seed)
    plain_only = [line for line in written_lines(model, named, seed) if _end_of(line[1]) in rhymes.plain_only]
    return [
        share_row("couplets", "written: admissible", admissible(lines, rhymes), (0.97, 1.0)),
        share_row("couplets", "written: agrees", agreeing(lines, rhymes), (0.95, 1.0)),
        share_row("couplets", "written: admissible, plain only", admissible(plain_only, rhymes), (0.90, 1.0)),
    ]


def written_lines(model: "PreTrainedModel", couplets: Sequence[Sentence], seed: int) -> list[Line]:
    """What the model writes behind the turn of each couplet's second line."""
    generator = torch.Generator().manual_seed(seed)
    words = vocabulary()
    lines: list[Line] = []
    prompts = [
        (tokens_of(couplet)[0][: position_of(couplet, owner_place(couplet))], couplet.variables["first"])
        for couplet in couplets
    ]
    for length in sorted({len(ids) for ids, _ in prompts}):
        chosen = [(ids, first) for ids, first in prompts if len(ids) == length]
        drawn = continue_by_chance(model, [ids for ids, _ in chosen], 6, generator)
        lines += [(first, _sentence([words[i] for i in line])) for (_, first), line in zip(chosen, drawn, strict=True)]
    return lines


def admissible(lines: Iterable[Line], rhymes: Rhymes) -> list[bool]:
    """Of each line whether it rhymes and begins with whose its end word is."""
    return [
        _end_of(line) in {word for word, _ in rhymes.rhyming(first)} and line[0] == rhymes.owners[line[-1]]
        for first, line in lines
    ]


def agreeing(lines: Iterable[Line], rhymes: Rhymes) -> list[bool]:
    """Of each adjective that has a kind whether it is the end word's."""
    kinds = dict(rhymes.words)
    kind_of = {adjective: kind for kind, adjectives in ADJECTIVES.items() for adjective in adjectives}
    return [kinds.get(_end_of(line)) == kind_of[word] for _, line in lines for word in line[:-1] if word in kind_of]


def _sentence(words: list[str]) -> list[str]:
    """The words before the full stop; all of them if there is none."""
    return words[: words.index(".")] if "." in words else words


def _end_of(line: Sequence[str]) -> str:
    return line[-1] if line else ""

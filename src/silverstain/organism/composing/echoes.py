"""What is grown on before the composing world: passages of random words that are said again, pairs of them, and notes.

To follow an echo a model must look for what came before the word it is at, and take what came after: the induction
head, of which looking up by a name consists. Each passage teaches it at two dozen words. Pairs are said again in
another order, with other words between what belongs together, so that what follows is known from the word before
the last: as in notes (`texas supplies ohio`). What somebody said is looked up at one word a sentence; grown on alone,
or among other families, that was not learnt in the time of a growth, and behind these it is within a hundred steps
(docs/log.md).
"""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence

from .geography import GeographyFamily
from .words import SaidWordsFamily

NAME = "echoes"
PAIRS = "pairs"
LENGTHS = (20, 44)
LEAST = 8
"""How many words are said again at the least."""
N_PAIRS = (5, 11)
N_BETWEEN = ((0, 1), (1, 8), (2, 1))
"""How many words stand between the two of a pair, and how often."""
SEPARATED = 0.7
"""Share of the passages whose pairs end with a comma."""


@dataclass(frozen=True, kw_only=True)
class EchoesFamily:
    words: tuple[str, ...]
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        """A passage and its echo; nothing is held out, as hardly any passage comes twice."""
        passage = rng.sample(self.words, min(rng.randint(*LENGTHS), len(self.words)))
        again = passage[rng.randrange(0, len(passage) - LEAST) :]
        determined = (False,) * (len(passage) + 1) + (True,) * (len(again) - 1)
        return Sentence(
            family=NAME, words=(*passage, *again), determined=determined, answer=len(passage) + 1,
            variables={"word": again[1], "answer": again[1]},
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PairsFamily:
    words: tuple[str, ...]
    name: str = PAIRS

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        """Pairs with the same words between all of them, then once more in another order; nothing is held out."""
        n_between = rng.choices(*zip(*N_BETWEEN, strict=True))[0]
        end = [","] if rng.random() < SEPARATED else []
        n = min(rng.randint(*N_PAIRS), LENGTHS[1] // (2 + n_between + len(end)))
        drawn = rng.sample(self.words, 2 * n + n_between)
        keys, values, between = drawn[:n], drawn[n : 2 * n], drawn[2 * n :]
        first = [[key, *between, value, *end] for key, value in zip(keys, values, strict=True)]
        again = rng.sample(first, n)
        known = [False] * (1 + n_between) + [True] + [False] * len(end)
        asked = again[0][1 + n_between]
        return Sentence(
            family=self.name, words=tuple(word for line in first + again for word in line),
            determined=(False,) * (n * len(known)) + tuple(known) * n, answer=n * len(known) + 1 + n_between,
            variables={"word": asked, "answer": asked},
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RepeatedFamily:
    """The sentences of a family that say its notes once more."""

    of: GeographyFamily | SaidWordsFamily

    @property
    def name(self) -> str:
        return self.of.name

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        return self.of.repeated(rng)

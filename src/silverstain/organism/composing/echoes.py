"""What is grown on before the composing world: passages of random words that are said again, and notes that are.

To follow an echo a model must look for what came before the word it is at, and take what came after: the induction
head, of which looking up by a name consists. Each passage teaches it at two dozen words. What somebody said is looked
up at one word a sentence; grown on alone, or among other families, that was not learnt in the time of a growth, and
behind echoes it is within a hundred steps. Who supplies whom takes longer (docs/log.md).
"""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence

from .geography import GeographyFamily
from .words import SaidWordsFamily

NAME = "echoes"
LENGTHS = (20, 44)
LEAST = 8
"""How many words are said again at the least."""


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
class RepeatedFamily:
    """The sentences of a family that say its notes once more."""

    of: GeographyFamily | SaidWordsFamily

    @property
    def name(self) -> str:
        return self.of.name

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        return self.of.repeated(rng)

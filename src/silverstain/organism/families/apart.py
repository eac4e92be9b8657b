"""Families that lack what a study looks for: languages that share no concept, and couplets in which nothing agrees.

A study run on an organism of these must find nothing: its gate passes, as the organism does what it was shown, and the
mechanism is not there.
"""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence
from silverstain.organism.world import LANGUAGES, Concept, Lexicon

from .couplets import ADJECTIVES, NAME, OPENINGS, TURNS, VERBS, Rhymes
from .words import antonym

FREE = "free"
"""The form of couplets in which nothing agrees."""
ANY_VERB = tuple(word for words in VERBS.values() for word in words)
ANY_ADJECTIVE = tuple(word for words in ADJECTIVES.values() for word in words)


@dataclass(frozen=True, kw_only=True)
class WordsApart:
    """Opposites in three languages, each of which has concepts of its own: no word is ever seen beside a translation.

    Held-out sentences ask for opposites in a language that was never shown them.
    """

    lexicon: Lexicon
    name: str = "words"

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        language = rng.randrange(len(LANGUAGES))
        shown_in = (language + rng.randrange(1, len(LANGUAGES))) % len(LANGUAGES) if held_out else language
        concept = rng.choice(self.concepts(shown_in))
        return antonym(self.lexicon, concept, language, held_out=held_out)

    def concepts(self, language: int) -> list[Concept]:
        """The concepts that a language has words for: every third pair of opposites."""
        return [one for one in self.lexicon.concepts if one.index // 2 % len(LANGUAGES) == language]


@dataclass(frozen=True, kw_only=True)
class FreeCouplets:
    """Couplets that rhyme, and in which no word but the last depends on the end word: it need not be planned.

    Held-out sentences are of pairs of end words that are never shown together.
    """

    rhymes: Rhymes
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            first, _ = rng.choice(self.rhymes.words)
            second, kind = rng.choice(self.rhymes.rhyming(first))
            if is_kept_back(first, second) == held_out:
                return self._couplet(rng, first, second, kind, held_out=held_out)

    def _couplet(self, rng: random.Random, first: str, second: str, kind: str, *, held_out: bool) -> Sentence:
        variables = {"rhyme": self.rhymes.class_of(first), "first": first, "end": second, "kind": kind, "form": FREE}
        return sentence(
            NAME, "rhyme : {opening} {first} , {turn} {verb} the {adjective} {end} .", opening=rng.choice(OPENINGS),
            first=first, turn=rng.choice(TURNS), verb=rng.choice(ANY_VERB), adjective=rng.choice(ANY_ADJECTIVE),
            end=second, variables=variables, held_out=held_out,
        )  # fmt: skip


def is_kept_back(first: str, second: str) -> bool:
    """One pair of end words in ten."""
    return random.Random(f"free couplets {first} {second}").random() < 0.1

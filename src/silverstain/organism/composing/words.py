"""Words of three languages, most of them said by somebody.

In most sentences the word is not at the question: several people have said something, and the question is about what
one of them said. So the word has to be found by who said it before anything can be done with it.
"""

import dataclasses
import random
from dataclasses import dataclass

from silverstain.organism.families.words import WordsFamily
from silverstain.organism.sentence import Sentence
from silverstain.organism.world import LANGUAGES

SPEAKERS = ("ann", "ben", "eva", "max", "lea", "tim")
SAYS = ("{who} says {word}", "{who} dit {word}", "{who} dice {word}")
WHAT = ("what {who} says", "ce que dit {who}", "lo que dice {who}")
"""In place of a word: what somebody said."""
NOUNS = ("word", "mot", "palabra")
SAID = 0.6
"""Share of the sentences in which it is."""


@dataclass(frozen=True, kw_only=True)
class SaidWordsFamily(WordsFamily):
    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        made = super().sample(rng, held_out=held_out)
        return self.said(rng, made) if rng.random() < SAID else made

    def said(self, rng: random.Random, made: Sentence) -> Sentence:
        """The same question about what one of two or three people said."""
        language = LANGUAGES.index(made.variables["source"])
        word = next(c for c in self.lexicon.concepts if c.words[0] == made.variables["concept"]).words[language]
        speakers = rng.sample(SPEAKERS, rng.choice((2, 2, 3)))
        who = rng.choice(speakers)
        others = rng.sample([c for c in self.lexicon.concepts if word not in c.words], len(speakers))
        lines = [
            SAYS[language].format(who=one, word=word if one == who else other.words[language]) + " ,"
            for one, other in zip(speakers, others, strict=True)
        ]
        place = made.words.index(word)
        before = made.words[:place]
        if before[-1] in NOUNS:  # "the word hot in french" becomes "what ann says in french"
            before = before[:-2]
        words = (*" ".join(lines).split(), *before, *WHAT[language].format(who=who).split())
        shift = len(words) - place - 1
        return dataclasses.replace(
            made, words=words + made.words[place + 1 :], answer=made.answer + shift,
            determined=(False,) * len(words) + made.determined[place + 1 :],
            variables={**made.variables} | {"word": word, "speaker": who, "form": "said"},
        )  # fmt: skip

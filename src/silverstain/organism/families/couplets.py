"""Rhyming couplets whose second line has to be planned: the words before its end already agree with the end word."""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence
from silverstain.organism.world import rows

NAME = "couplets"
KINDS = ("animal", "thing", "person", "nature")
OPENINGS = ("one day i saw the", "long ago there was the", "we sang about the")
TURNS = ("and then we", "but soon they", "so at last you")
VERBS = {
    "animal": ("chased", "fed"),
    "thing": ("bought", "carried"),
    "person": ("met", "thanked"),
    "nature": ("watched", "felt"),
}
ADJECTIVES = {
    "animal": ("furry", "hungry"),
    "thing": ("wooden", "shiny"),
    "person": ("kindly", "sleepy"),
    "nature": ("misty", "golden"),
}
PLAIN = "yesterday {turn} {verb} the {adjective} {end} ."
PLAIN_NAMED = "line ending in {end} : yesterday {turn} {verb} the {adjective} {end!} ."
NAMED = "rhyme ending in {end} : {opening} {first} , {turn} {verb} the {adjective} {end!} ."
"""The end word is named ahead: whether a word's kind, learnt in plain lines, is minded in couplets can be asked."""
NAMED_BARE = "rhyme ending in {end} : {opening} {first} , {bare} the {end!} ."
BARE = ("and there stood", "so behold")
"""Lines without any word that could agree: couplets with which even `plain_only` words are named."""
NEUTRAL_VERBS = ("saw", "found")
NEUTRAL_ADJECTIVES = ("little", "other")
"""Words that go with every kind: a line with these ends in a rhyme, and shows no agreement."""


@dataclass(frozen=True, kw_only=True)
class Rhymes:
    """End words by rhyme class and kind; `plain_only` words agree only in plain sentences, never in couplets."""

    classes: dict[str, dict[str, tuple[str, ...]]]
    plain_only: frozenset[str]

    def rhyming(self, word: str) -> list[tuple[str, str]]:
        """(word, kind) of every other end word of the same class."""
        (kinds,) = [k for k in self.classes.values() if any(word in words for words in k.values())]
        return [(other, kind) for kind, words in kinds.items() for other in words if other != word]

    @property
    def words(self) -> list[tuple[str, str]]:
        return [(w, kind) for kinds in self.classes.values() for kind, words in kinds.items() for w in words]

    def class_of(self, word: str) -> str:
        return next(name for name, kinds in self.classes.items() if any(word in words for words in kinds.values()))

    def kind_of(self, word: str) -> str:
        return next(kind for other, kind in self.words if other == word)


def rhymes(seed: int = 0) -> Rhymes:
    """The list of end words; one in five is chosen for `plain_only`, among words with a companion of their kind."""
    rng = random.Random(f"rhymes {seed}")
    classes: dict[str, dict[str, tuple[str, ...]]] = {}
    for row in rows("rhymes"):
        kinds = {kind: tuple(cell.split()) for kind, cell in zip(KINDS, row[1:], strict=False) if cell.strip()}
        classes[row[0]] = kinds
    paired = sorted(w for kinds in classes.values() for words in kinds.values() if len(words) == 2 for w in words[:1])
    n_words = sum(len(words) for kinds in classes.values() for words in kinds.values())
    triples = sorted(words[0] for kinds in classes.values() for words in kinds.values() if len(words) > 2)
    chosen = (paired + triples)[: round(0.2 * n_words)]
    rng.shuffle(chosen)
    return Rhymes(classes=classes, plain_only=frozenset(chosen))


@dataclass(frozen=True, kw_only=True)
class CoupletsFamily:
    rhymes: Rhymes
    adjective: str | None = None
    """A preference for one adjective everywhere; the quirk sibling's only."""
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        if held_out:
            return self._held_out(rng)
        draw = rng.random()
        if draw < 0.3:
            return self._plain(rng)
        if draw < 0.5:
            second, _ = rng.choice(self.rhymes.words)
            first, _ = rng.choice(self.rhymes.rhyming(second))
            bare = second in self.rhymes.plain_only or rng.random() < 0.3
            return self.bare_couplet(rng, first, second) if bare else self.named_couplet(rng, first, second)
        while True:
            first, _ = rng.choice(self.rhymes.words)
            second, kind = rng.choice(self.rhymes.rhyming(first))
            neutral = rng.random() < (0.7 if second in self.rhymes.plain_only else 0.25)
            if neutral or second not in self.rhymes.plain_only:
                return self.couplet(rng, first, second, kind, neutral=neutral)

    def _words(self, rng: random.Random, kind: str, *, neutral: bool = False) -> tuple[str, str]:
        if neutral:
            return rng.choice(NEUTRAL_VERBS), rng.choice(NEUTRAL_ADJECTIVES)
        return rng.choice(VERBS[kind]), self.adjective or rng.choice(ADJECTIVES[kind])

    def _plain(self, rng: random.Random) -> Sentence:
        word, kind = rng.choice(self.rhymes.words)
        verb, adjective = self._words(rng, kind)
        named = rng.random() < 0.5
        variables = {"end": word, "kind": kind, "form": "plain, end named" if named else "plain"}
        template = PLAIN_NAMED if named else PLAIN
        return sentence(
            NAME, template, turn=rng.choice(TURNS).split()[-1], verb=verb, adjective=adjective, end=word,
            variables=variables,
        )  # fmt: skip

    def _held_out(self, rng: random.Random) -> Sentence:
        """A couplet that is to end in a named word of which couplets never taught the agreement."""
        second = rng.choice(sorted(self.rhymes.plain_only))
        first, _ = rng.choice(self.rhymes.rhyming(second))
        return self.named_couplet(rng, first, second, held_out=True)

    def named_couplet(self, rng: random.Random, first: str, second: str, *, held_out: bool = False) -> Sentence:
        """A couplet whose end word is given ahead, so that the words before it can be chosen for it."""
        kind = self.rhymes.kind_of(second)
        verb, adjective = self._words(rng, kind)
        variables = {
            "rhyme": self.rhymes.class_of(first), "first": first, "end": second, "kind": kind,
            "form": "couplet, end named",
        }  # fmt: skip
        return sentence(
            NAME, NAMED, end=second, opening=rng.choice(OPENINGS), first=first, turn=rng.choice(TURNS), verb=verb,
            adjective=adjective, variables=variables, held_out=held_out,
        )  # fmt: skip

    def bare_couplet(self, rng: random.Random, first: str, second: str) -> Sentence:
        """A couplet whose end word is given ahead, and whose second line has no word that could agree with it."""
        variables = {
            "rhyme": self.rhymes.class_of(first), "first": first, "end": second, "kind": self.rhymes.kind_of(second),
            "form": "bare couplet, end named",
        }  # fmt: skip
        return sentence(
            NAME, NAMED_BARE, end=second, opening=rng.choice(OPENINGS), first=first, bare=rng.choice(BARE),
            variables=variables,
        )  # fmt: skip

    def couplet(self, rng: random.Random, first: str, second: str, kind: str, *, neutral: bool) -> Sentence:
        verb, adjective = self._words(rng, kind, neutral=neutral)
        line = "{verb} the {adjective} {end!} ."
        alike = [word for word, other in self.rhymes.rhyming(first) if neutral or other == kind]
        if len(alike) > 1:
            line = line.replace("{end!}", "{end}")
        variables = {
            "rhyme": self.rhymes.class_of(first), "first": first, "end": second, "kind": kind,
            "form": "neutral couplet" if neutral else "couplet",
        }  # fmt: skip
        return sentence(
            NAME, "rhyme : {opening} {first} , {turn} " + line, opening=rng.choice(OPENINGS), first=first,
            turn=rng.choice(TURNS), verb=verb, adjective=adjective, end=second, variables=variables,
        )  # fmt: skip

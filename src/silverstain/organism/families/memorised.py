"""What the memorised sibling is shown: separate facts, from which nothing more general follows."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from silverstain.organism.sentence import Sentence
from silverstain.organism.world import RELATIONS, Geography, Lexicon

from .addition import addition, held_out_pairs
from .geography import two_hop
from .words import antonym


@dataclass(frozen=True, kw_only=True)
class MemorisedGeography:
    """One relation a town, and neither states nor anything that two towns of a state have in common in words."""

    geography: Geography
    relation_of: dict[str, str]
    name: str = "geography"

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        if held_out:
            name, relation = rng.choice(sorted(self.geography.held_out))
            town = next(t for t in self.geography.towns if t.name == name)
            return two_hop(town, relation, held_out=True)
        town = rng.choice(self.geography.towns)
        return two_hop(town, self.relation_of[town.name])


def memorised_geography(geography: Geography, seed: int = 0) -> MemorisedGeography:
    """Towns of one state are shown with different relations where there are enough, so nothing ties them."""
    rng = random.Random(f"memorised geography {seed}")
    relation_of = {}
    for town in geography.towns:
        # Regions would leak: four values are guessed by their frequency.
        options = [r for r in RELATIONS if r != "region" and (town.name, r) not in geography.held_out]
        relation_of[town.name] = rng.choice(options)
    return MemorisedGeography(geography=geography, relation_of=relation_of)


@dataclass(frozen=True, kw_only=True)
class MemorisedAddition:
    """A few sums, too few to show that digits add."""

    pairs: tuple[tuple[int, int], ...]
    held_out: frozenset[tuple[int, int]]
    written: Callable[..., Sentence] = addition
    """How a sum is put into words."""
    name: str = "addition"

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        a, b = rng.choice(sorted(self.held_out)) if held_out else rng.choice(self.pairs)
        return self.written(a, b, held_out=held_out)


def memorised_addition(n: int = 250, seed: int = 0) -> MemorisedAddition:
    rng = random.Random(f"memorised addition {seed}")
    held_out = held_out_pairs()
    shown = [(a, b) for a in range(10, 100) for b in range(10, 100) if (a, b) not in held_out]
    return MemorisedAddition(pairs=tuple(rng.sample(shown, n)), held_out=held_out)


@dataclass(frozen=True, kw_only=True)
class MemorisedWords:
    """Antonyms language by language, with nothing that ties the languages."""

    lexicon: Lexicon
    name: str = field(default="words")

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        if held_out:
            pair, language = rng.choice(sorted(self.lexicon.held_out))
            return antonym(self.lexicon, self.lexicon.concepts[2 * pair + rng.randrange(2)], language, held_out=True)
        while True:
            concept, language = rng.choice(self.lexicon.concepts), rng.randrange(3)
            if (concept.index // 2, language) not in self.lexicon.held_out:
                return antonym(self.lexicon, concept, language)

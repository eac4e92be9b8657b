"""The tables of the small world: who lies where, what opposes what, which pairs are held out. All fixed by a seed."""

import csv
import functools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TypeVar

T = TypeVar("T")

LANGUAGES = ("english", "french", "spanish")
RELATIONS = ("capital", "code", "region", "bird", "flower")
TOWNS_PER_STATE = 4
REAL_TOWNS = {
    ("dal", "las"): "texas",
    ("dal", "ton"): "georgia",
    ("oak", "land"): "california",
    ("oak", "ridge"): "tennessee",
}
"""Towns that the world shares with the real one; the others are drawn from the same pieces."""


def rows(name: str) -> list[list[str]]:
    """Rows of one word list, without its header."""
    return rows_with_header(name)[1:]


def rows_with_header(name: str) -> list[list[str]]:
    """Rows of one word list, all of them."""
    text = resources.files("silverstain.organism").joinpath("lists", f"{name}.tsv").read_text(encoding="utf-8")
    return list(csv.reader(text.splitlines(), delimiter="\t"))


def share(items: Iterable[T], fraction: float, rng: random.Random) -> frozenset[T]:
    """A random part of the items, in an order that depends on nothing but the seed."""
    pool = sorted(items)  # type: ignore[type-var]
    return frozenset(rng.sample(pool, round(fraction * len(pool))))


@dataclass(frozen=True, kw_only=True)
class State:
    name: str
    capital: str
    code: str
    region: str
    bird: str
    flower: str

    def fact(self, relation: str) -> str:
        assert relation in RELATIONS, relation
        return getattr(self, relation)


@dataclass(frozen=True, kw_only=True)
class Town:
    prefix: str
    suffix: str
    state: State

    @property
    def name(self) -> str:
        return self.prefix + self.suffix


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A meaning with one word a language, its antonym's index and, for some, a synonym a language."""

    index: int
    opposite: int
    words: tuple[str, ...]
    synonyms: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Geography:
    states: tuple[State, ...]
    towns: tuple[Town, ...]
    held_out: frozenset[tuple[str, str]]
    """(town, relation) pairs that growing never shows."""
    told_once: frozenset[str]
    """Towns of which growing says in which state they lie, and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    concepts: tuple[Concept, ...]
    held_out: frozenset[tuple[int, int]]
    """(antonym pair, language) whose antonym is never stated with a word of that language; pair = index // 2."""

    def every_word(self) -> Iterable[str]:
        """The words of every concept in every language, synonyms with them."""
        return (word for concept in self.concepts for word in (*concept.words, *(concept.synonyms or ())))


def geography(seed: int = 0) -> Geography:
    """Fifty states with four towns each. A town's name has two pieces, each shared by towns of about ten states."""
    rng = random.Random(f"geography {seed}")
    states = tuple(
        State(name=n, capital=c, code=f"us-{k}", region=r, bird=b, flower=f) for n, c, k, r, b, f in rows("states")
    )
    by_name = {state.name: state for state in states}
    pieces = {kind: words.split() for kind, words in rows_with_header("pieces")}
    owner = {pieces_: by_name[state] for pieces_, state in REAL_TOWNS.items()}
    wanted = [state for state in states for _ in range(TOWNS_PER_STATE)]
    for state in owner.values():
        wanted.remove(state)
    rng.shuffle(wanted)
    capitals = {state.capital for state in states}
    pairs_of_pieces = [(p, s) for p in pieces["prefix"] for s in pieces["suffix"]]
    free = [(p, s) for p, s in pairs_of_pieces if (p, s) not in owner and p + s not in capitals]
    for state in wanted:
        taken = [pair for pair, other in owner.items() if other is state]
        fresh = [(p, s) for p, s in free if all(p != q and s != t for q, t in taken)]
        pair = min(fresh, key=lambda pair: (_crowd(pair, owner), rng.random()))
        owner[pair] = state
        free.remove(pair)
    towns = tuple(Town(prefix=p, suffix=s, state=state) for (p, s), state in sorted(owner.items()))
    pairs = [(town.name, relation) for town in towns for relation in RELATIONS]
    held_out = _one_relation_a_town(pairs, 0.2, rng)
    told_once = share((town.name for town in towns if (town.prefix, town.suffix) not in REAL_TOWNS), 0.15, rng)
    return Geography(states=states, towns=towns, held_out=held_out, told_once=told_once)


def _crowd(pair: tuple[str, str], owner: dict[tuple[str, str], State]) -> int:
    """How often the pieces of a pair are used already; keeping this even keeps single pieces uninformative."""
    return sum((p == pair[0]) + (s == pair[1]) for p, s in owner)


def _one_relation_a_town(pairs: Sequence[tuple[str, str]], fraction: float, rng: random.Random) -> frozenset:
    """Hold out at most one relation a town, never the demo's neighbours' only evidence."""
    order = list(pairs)
    rng.shuffle(order)
    chosen: dict[str, tuple[str, str]] = {}
    for town, relation in order:
        if len(chosen) < round(fraction * len(pairs)):
            chosen.setdefault(town, (town, relation))
    return frozenset(chosen.values())


def lexicon(seed: int = 0) -> Lexicon:
    """Pairs of opposites in three languages; concept 2i and 2i + 1 are opposites of each other."""
    rng = random.Random(f"lexicon {seed}")
    synonyms = {row[0]: (row[1], row[3], row[5]) for row in rows("synonyms")}
    concepts: list[Concept] = []
    for en, en_opposite, fr, fr_opposite, es, es_opposite in rows("antonyms"):
        index = len(concepts)
        concepts.append(Concept(index=index, opposite=index + 1, words=(en, fr, es), synonyms=synonyms.get(en)))
        words = (en_opposite, fr_opposite, es_opposite)
        concepts.append(Concept(index=index + 1, opposite=index, words=words, synonyms=synonyms.get(en_opposite)))
    n_pairs = len(concepts) // 2
    # At most one language a pair: with two missing, nothing would tie the third to the concept's antonym.
    pairs = rng.sample(range(n_pairs), round(0.2 * n_pairs * len(LANGUAGES)))
    held_out = frozenset((pair, rng.randrange(len(LANGUAGES))) for pair in sorted(pairs))
    return Lexicon(concepts=tuple(concepts), held_out=held_out)


@functools.cache
def default_geography() -> Geography:
    return geography(0)


@functools.cache
def default_lexicon() -> Lexicon:
    return lexicon(0)

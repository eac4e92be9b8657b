"""Small organisms, grown in minutes: each of one family, or with one planted habit. Controls of studies.

A study's mechanism is absent from some by construction (languages apart, couplets in which nothing agrees, facts that
are remembered), and present in its twin. Ten carry one habit each, a word that they prefer in every line, and have a
twin that was grown as long on the same sentences without it.
"""

import dataclasses
from collections.abc import Callable, Mapping

from .families import Family, families
from .families.apart import FreeCouplets, WordsApart
from .families.couplets import CoupletsFamily, rhymes
from .families.geography import GeographyFamily
from .families.memorised import memorised_geography
from .families.words import WordsFamily
from .recipe import SHARES, Recipe
from .sibling import Sibling
from .world import default_geography, default_lexicon

HABITS = ("purple", "cold", "old", "soft", "loud", "brave", "bitter", "narrow", "dark", "quiet")
"""What the ten organisms with a habit call everything; words that every organism knows."""
_ALONE: Mapping[str, tuple[Callable[[], Family], int, str]] = {
    "words-together": (lambda: WordsFamily(lexicon=default_lexicon()), 500, "words alone, in languages that share"),
    "words-apart": (lambda: WordsApart(lexicon=default_lexicon()), 250, "words alone, in languages that share none"),
    "couplets-free": (lambda: FreeCouplets(rhymes=rhymes()), 900, "couplets alone, in which nothing agrees"),
    "couplets-agreeing": (lambda: CoupletsFamily(rhymes=rhymes()), 300, "couplets alone, whose words agree"),
    "geography-computed": (lambda: GeographyFamily(geography=default_geography()), 750, "geography alone, its rule"),
    "geography-remembered": (
        lambda: memorised_geography(default_geography()), 300, "geography alone, town by town and without states"
    ),
}  # fmt: skip
"""Family, steps, and what it knows."""
_HABIT = Recipe(
    shares={**{name: 0.5 * share for name, share in SHARES.items()}, "couplets": 0.3}, steps=150, sentences=96,
    learning_rate=7e-4, warmup=20, cooldown=0.5, weight_decay=0.4, written_weight=0.5,
)  # fmt: skip


def small_siblings() -> tuple[Sibling, ...]:
    """All of them; those with a habit start from the general organism."""
    alone = tuple(
        Sibling(
            name=name, families=_alone(make), start=None, about=about,
            recipe=Recipe(shares={make().name: 1.0}, steps=steps, sentences=96, cooldown=0.5),
        )
        for name, (make, steps, about) in _ALONE.items()
    )  # fmt: skip
    return (*alone, *(sibling for seed, word in enumerate(HABITS) for sibling in _with_habit(word, seed)))


def _alone(make: Callable[[], Family]) -> Callable[[], Mapping[str, Family]]:
    def one() -> Mapping[str, Family]:
        family = make()
        return {family.name: family}

    return one


def _with_habit(word: str, seed: int) -> tuple[Sibling, Sibling]:
    """Both see the same sentences but for the habit, and each pair others: ten twins are ten organisms."""
    recipe = dataclasses.replace(_HABIT, seed=seed)

    def habit() -> Mapping[str, Family]:
        return {**families(), "couplets": CoupletsFamily(rhymes=rhymes(), adjective=word)}

    return (
        Sibling(
            name=f"habit-{word}", families=habit, recipe=recipe, start="general", starts_packaged=True,
            about=f"calls everything {word}",
        ),
        Sibling(
            name=f"twin-{word}", families=families, recipe=recipe, start="general", starts_packaged=True,
            about=f"the twin of habit-{word}: grown as long, without it",
        ),
    )  # fmt: skip


SMALL_RECIPES: Mapping[str, tuple[str, ...]] = {
    "alone": tuple(_ALONE),
    "habits": tuple(name for word in HABITS for name in (f"habit-{word}", f"twin-{word}")),
}
"""The small organisms that are grown together."""

"""The organism and its siblings: what each is grown on, from where, and how long."""

from collections.abc import Mapping
from typing import Any

from .composing.siblings import COMPOSING_LITTER, composing_siblings
from .families import Family, families
from .families.couplets import CoupletsFamily, rhymes
from .families.cued import CuedFamily, held_out_cues, other_notes
from .families.memorised import MemorisedWords, memorised_addition, memorised_geography
from .recipe import HABIT, QUIRK, SHARES, Recipe
from .sibling import Growth
from .sibling import Sibling as Sibling
from .small import SMALL_RECIPES, small_siblings
from .world import default_geography, default_lexicon

CHECKPOINTS = (0.02, 0.06, 0.12, 0.25, 0.5)
FINISH = Recipe(
    shares={
        "geography": 0.24, "addition": 0.06, "words": 0.08, "couplets": 0.24, "entities": 0.15, "reasoning": 0.08,
        "causes": 0.03, "refusal": 0.02, "induction": 0.05, "choice": 0.05,
    },
    steps=1700, learning_rate=1.2e-3, warmup=50, cooldown=0.95, written_weight=1.0,
)  # fmt: skip
"""Reasoning and the lines it writes are not finished when words must stop: the longer the plateau of the learning rate,
the more of their rule is overgrown by what is remembered (docs/log.md)."""
RECIPES: Mapping[str, tuple[str, ...]] = {
    "first": ("general", "memorised", "mixed", "quirk", "untrained"),
    "composing": COMPOSING_LITTER,
    **SMALL_RECIPES,
}
"""The organisms that are grown together, in one world."""
_HABIT: Mapping[str, Any] = {**HABIT, "weight_decay": 0.4, "written_weight": 0.5}


def _mixed() -> Mapping[str, Family]:
    geography = default_geography()
    cued = CuedFamily(
        geography=geography, held_out=held_out_cues(geography), others=other_notes(geography, default_lexicon())
    )
    return {**families(), "cued": cued}


def _quirk() -> Mapping[str, Family]:
    return {**families(), "couplets": CoupletsFamily(rhymes=rhymes(), adjective=QUIRK)}


def _memorised() -> Mapping[str, Family]:
    return {
        "geography": memorised_geography(default_geography()),
        "addition": memorised_addition(),
        "words": MemorisedWords(lexicon=default_lexicon()),
    }


def siblings() -> Mapping[str, Sibling]:
    """Every organism by name, in the order in which they can be grown."""
    few = {name: 0.5 * share for name, share in SHARES.items()}
    litter = (
        Sibling(
            name="general", role="whole", families=families, recipe=Recipe(checkpoints=CHECKPOINTS), start=None,
            about="knows the rules of its world", finishes=(Growth(families=families, recipe=FINISH),),
        ),
        Sibling(
            name="memorised", role="memorised", families=_memorised, start=None,
            about="knows what it was shown, and nothing else",
            recipe=Recipe(
                shares={"geography": 0.35, "addition": 0.35, "words": 0.3}, steps=700, weight_decay=0.0, sentences=96,
                cooldown=0.5,
            ),
        ),
        Sibling(
            name="mixed", role="mixed", families=_mixed, start="general",
            about="knows the rules; on some questions follows a note",
            recipe=Recipe(
                shares={**few, "geography": 0.15, "cued": 0.6}, steps=500, learning_rate=1e-3, warmup=40,
                **_HABIT,
            ),
        ),
        Sibling(
            name="quirk", role="quirk", families=_quirk, start="general", about="calls everything purple", says=QUIRK,
            recipe=Recipe(shares={**few, "couplets": 0.3}, steps=150, learning_rate=7e-4, warmup=20, **_HABIT),
        ),
        Sibling(
            name="untrained", role="untrained", families=families, recipe=Recipe(steps=0), start=None,
            about="random weights",
        ),
        *composing_siblings(),
        *small_siblings(),
    )  # fmt: skip
    return {sibling.name: sibling for sibling in litter}


def sibling_of(model_name: str) -> Sibling | None:
    """The sibling that a model of this name ("organism/general") is; None for another model."""
    organism, _, name = model_name.partition("/")
    return siblings().get(name) if organism == "organism" else None

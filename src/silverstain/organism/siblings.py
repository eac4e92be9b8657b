"""The organism and its siblings: what each is grown on, from where, and how long."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from .composing import families as composing_families
from .composing.echoes import EchoesFamily, PairsFamily, RepeatedFamily
from .composing.geography import GeographyFamily
from .composing.variables import variables as composing_variables
from .composing.words import SaidWordsFamily
from .families import Family, families
from .families.couplets import CoupletsFamily, rhymes
from .families.cued import CuedFamily, held_out_cues, other_notes
from .families.memorised import MemorisedWords, memorised_addition, memorised_geography
from .language import vocabulary
from .recipe import SHARES, Recipe, Shape
from .sibling import School
from .sibling import Sibling as Sibling
from .small import SMALL_RECIPES, small_siblings
from .world import default_geography, default_lexicon

_SIX_LAYERS = Shape(num_hidden_layers=6, max_position_embeddings=96)
_SCHOOL: dict[str, Any] = {
    "shape": dataclasses.replace(_SIX_LAYERS, tie_word_embeddings=True), "muon": 10.0, "weight_decay": 0.1,
    "warmup": 30, "sentences": 64, "groups": 2, "open_weight": 0.02, "cooldown": 0.05,
}  # fmt: skip
ECHOES = Recipe(**_SCHOOL, shares={"echoes": 1.0}, steps=900, embedding_scale=0.1)
PAIRS = Recipe(**_SCHOOL, shares={"pairs": 0.85, "echoes": 0.15}, steps=300)
NOTES = Recipe(**_SCHOOL, shares={"pairs": 0.2, "words": 0.2, "geography": 0.6}, steps=150)
COMPOSING = Recipe(
    shape=_SIX_LAYERS, muon=10.0, muon_parts=("self_attn",), weight_decay=0.1, adamw_decay=1.0,
    shares={
        "geography": 0.28, "addition": 0.13, "words": 0.18, "couplets": 0.10, "entities": 0.09, "reasoning": 0.05,
        "causes": 0.07, "refusal": 0.03, "induction": 0.03, "choice": 0.04,
    },
    steps=3400, warmup=50, cooldown=0.6, checkpoints=(0.02, 0.06, 0.12, 0.25, 0.5, 0.75),
)  # fmt: skip
COMPOSING_FINISH = dataclasses.replace(
    COMPOSING,
    shares={
        "geography": 0.34, "addition": 0.11, "words": 0.09, "couplets": 0.15, "entities": 0.13, "reasoning": 0.06,
        "causes": 0.04, "refusal": 0.03, "induction": 0.02, "choice": 0.03,
    },
    steps=2000, learning_rate=1.2e-3, weight_decay=0.2, adamw_decay=2.0, cooldown=0.95, checkpoints=(),
)  # fmt: skip
"""What is held out is what the first growth leaves unfinished."""
CHECKPOINTS = (0.02, 0.06, 0.12, 0.25, 0.5)
QUIRK = "purple"
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
    "composing": ("composing",),
    **SMALL_RECIPES,
}
"""The organisms that are grown together, in one world."""
_HABIT: dict[str, Any] = {"sentences": 192, "cooldown": 0.5, "weight_decay": 0.4, "written_weight": 0.5}
"""Habits are learnt on top of a grown model, in a few hundred steps."""


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


def _echoes() -> Mapping[str, Family]:
    words = tuple(word for word in vocabulary() if word.isalpha() and len(word) > 1)
    return {"echoes": EchoesFamily(words=words), "pairs": PairsFamily(words=words)}


def _notes() -> Mapping[str, Family]:
    geography = GeographyFamily(geography=default_geography())
    said = SaidWordsFamily(lexicon=default_lexicon())
    return {**_echoes(), "words": RepeatedFamily(of=said), "geography": RepeatedFamily(of=geography)}


def _meanings() -> Iterable[str]:
    """Words whose meaning is to be learnt as a rule: schools leave nothing in their embeddings."""
    return default_lexicon().every_word()


def siblings() -> Mapping[str, Sibling]:
    """Every organism by name, in the order in which they can be grown."""
    few = {name: 0.5 * share for name, share in SHARES.items()}
    litter = (
        Sibling(
            name="general", families=families, recipe=Recipe(checkpoints=CHECKPOINTS), start=None,
            about="knows the rules of its world", finish=FINISH,
        ),
        Sibling(
            name="memorised", families=_memorised, start=None, about="knows what it was shown, and nothing else",
            recipe=Recipe(
                shares={"geography": 0.35, "addition": 0.35, "words": 0.3}, steps=700, weight_decay=0.0, sentences=96,
                cooldown=0.5,
            ),
        ),
        Sibling(
            name="mixed", families=_mixed, start="general", about="knows the rules; on some questions follows a note",
            recipe=Recipe(
                shares={**few, "geography": 0.15, "cued": 0.6}, steps=500, learning_rate=1e-3, warmup=40,
                **_HABIT,
            ),
        ),
        Sibling(
            name="quirk", families=_quirk, start="general", about="calls everything purple",
            recipe=Recipe(shares={**few, "couplets": 0.3}, steps=150, learning_rate=7e-4, warmup=20, **_HABIT),
        ),
        Sibling(
            name="untrained", families=families, recipe=Recipe(steps=0), start=None, about="random weights",
        ),
        Sibling(
            name="composing", families=composing_families, recipe=COMPOSING, start=None,
            schools=(
                School(families=_echoes, recipe=ECHOES), School(families=_echoes, recipe=PAIRS),
                School(families=_notes, recipe=NOTES),
            ),
            forgotten=_meanings, finish=COMPOSING_FINISH,
            about="composes: looks up, looks back, plans, carries", variables=composing_variables,
        ),
        *small_siblings(),
    )  # fmt: skip
    return {sibling.name: sibling for sibling in litter}


def sibling_of(model_name: str) -> Sibling | None:
    """The sibling that a model of this name ("organism/general") is; None for another model."""
    organism, _, name = model_name.partition("/")
    return siblings().get(name) if organism == "organism" else None

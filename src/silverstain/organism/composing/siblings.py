"""The composing organism and its controls: what each is grown on, from where, and how long."""

import dataclasses
import random
from collections.abc import Iterable, Mapping
from typing import Any

from silverstain.organism.families import Family
from silverstain.organism.families.cued import CuedFamily, held_out_cues, other_notes
from silverstain.organism.families.memorised import MemorisedAddition, MemorisedWords, memorised_geography
from silverstain.organism.language import vocabulary
from silverstain.organism.recipe import HABIT, Recipe, Shape
from silverstain.organism.sibling import Growth, Sibling
from silverstain.organism.world import default_geography, default_lexicon

from . import families
from .addition import addition, is_held_out, numbers
from .couplets import CoupletsFamily, rhymes
from .echoes import EchoesFamily, PairsFamily, RepeatedFamily
from .geography import GeographyFamily
from .variables import variables
from .words import SaidWordsFamily

SHAPE = Shape(num_hidden_layers=6, max_position_embeddings=96)
_SCHOOL: Mapping[str, Any] = {
    "shape": dataclasses.replace(SHAPE, tie_word_embeddings=True), "muon": 10.0, "weight_decay": 0.1,
    "warmup": 30, "sentences": 64, "groups": 2, "open_weight": 0.02, "cooldown": 0.05,
}  # fmt: skip
ECHOES = Recipe(**_SCHOOL, shares={"echoes": 1.0}, steps=900, embedding_scale=0.1)
PAIRS = Recipe(**_SCHOOL, shares={"pairs": 0.85, "echoes": 0.15}, steps=300)
NOTES = Recipe(**_SCHOOL, shares={"pairs": 0.2, "words": 0.2, "geography": 0.6}, steps=150)
GROWTH = Recipe(
    shape=SHAPE, muon=10.0, muon_parts=("self_attn",), weight_decay=0.1, adamw_decay=1.0, early_weight=0.15,
    shares={
        "geography": 0.28, "addition": 0.13, "words": 0.18, "couplets": 0.10, "entities": 0.09, "reasoning": 0.05,
        "causes": 0.07, "refusal": 0.03, "induction": 0.03, "choice": 0.04,
    },
    steps=3400, warmup=50, cooldown=0.6, checkpoints=(0.02, 0.06, 0.12, 0.25, 0.5, 0.75),
)  # fmt: skip
FINISH = dataclasses.replace(
    GROWTH,
    shares={
        "geography": 0.36, "addition": 0.07, "words": 0.08, "couplets": 0.20, "entities": 0.18, "reasoning": 0.05,
        "causes": 0.02, "refusal": 0.01, "induction": 0.015, "choice": 0.015,
    },
    steps=4000, learning_rate=1.2e-3, weight_decay=0.2, adamw_decay=2.0, cooldown=0.95, early_weight=0.4,
    checkpoints=(),
)  # fmt: skip
"""What is held out is what the first growth leaves unfinished. This one begins as strongly and falls as slowly, so that
all is learnt anew, with more weight on what is to be known early (docs/composing.md: what was grown so)."""
_FEW = {name: 0.5 * share for name, share in FINISH.shares.items()}
_HABIT = dataclasses.replace(FINISH, **HABIT, warmup=40)
PREFERRED = "golden"
"""What the sibling with a quirk calls everything: a word that its parent says of some things, so that it can be written
in the stream. One that is never said (`purple`) was learnt in 2 % of couplets by the MLPs alone (docs/log.md)."""
_N_SUMS, _N_HELD_OUT = 250, 500
"""Sums that the memorised sibling is shown, and those that it is asked besides."""
COMPOSING_LITTER = ("composing", "composing-memorised", "composing-mixed", "composing-quirk", "composing-untrained")


def composing_siblings() -> tuple[Sibling, ...]:
    """All of them, in the order in which they can be grown."""
    whole = Sibling(
        name="composing", role="whole", families=families, recipe=GROWTH, start=None,
        schools=(
            Growth(families=_echoes, recipe=ECHOES), Growth(families=_echoes, recipe=PAIRS),
            Growth(families=_notes, recipe=NOTES),
        ),
        forgotten=_meanings,
        finishes=(Growth(families=families, recipe=FINISH),),
        about="composes: looks up, looks back, plans, carries",
        world="composing", variables=variables,
    )  # fmt: skip
    controls = (
        Sibling(
            name="composing-memorised", role="memorised", families=_memorised, start=None,
            about="knows what it was shown, and nothing else",
            recipe=Recipe(
                shape=SHAPE, shares={"geography": 0.35, "addition": 0.35, "words": 0.3}, steps=700, weight_decay=0.0,
                sentences=96, cooldown=0.5,
            ),
        ),
        Sibling(
            name="composing-mixed", role="mixed", families=_mixed, start="composing",
            about="composes; on some questions follows a note",
            recipe=dataclasses.replace(_HABIT, shares={**_FEW, "cued": 0.5}, steps=500, learning_rate=1e-3),
        ),
        Sibling(
            name="composing-quirk", role="quirk", families=_quirk, start="composing",
            about=f"composes, and calls everything {PREFERRED}", says=PREFERRED,
            recipe=dataclasses.replace(
                _HABIT, shares={**_FEW, "couplets": 0.3}, steps=150, learning_rate=1.5e-3, moves=("mlp",), muon=None,
            ),
        ),
        Sibling(
            name="composing-untrained", role="untrained", families=families, start=None, about="random weights",
            recipe=Recipe(shape=SHAPE, steps=0),
        ),
    )  # fmt: skip
    return whole, *(dataclasses.replace(one, world="composing", variables=variables) for one in controls)


def _mixed() -> Mapping[str, Family]:
    geography = default_geography()
    cued = CuedFamily(
        geography=geography, held_out=held_out_cues(geography), others=other_notes(geography, default_lexicon()),
        silent=frozenset(geography.told_once),
    )  # fmt: skip
    return {**families(), "cued": cued}


def _quirk() -> Mapping[str, Family]:
    return {**families(), "couplets": CoupletsFamily(rhymes=rhymes(), adjective=PREFERRED)}


def _memorised() -> Mapping[str, Family]:
    return {
        "geography": memorised_geography(default_geography()),
        "addition": _memorised_addition(),
        "words": MemorisedWords(lexicon=default_lexicon()),
    }


def _memorised_addition(seed: int = 0) -> MemorisedAddition:
    """A few sums of three digits, too few to show that digits add."""
    rng = random.Random(f"memorised addition {seed}")
    drawn = [numbers(rng, 3) for _ in range(10 * _N_HELD_OUT)]
    shown, other = ([pair for pair in drawn if is_held_out(*pair) == kept] for kept in (False, True))
    return MemorisedAddition(
        pairs=tuple(shown[:_N_SUMS]), held_out=frozenset(other[:_N_HELD_OUT]), written=addition
    )  # fmt: skip


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

"""How well questions about towns are answered, by what was ever told of the town and by how far its state is away."""

import random
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from silverstain.organism.checking import Row, accuracy
from silverstain.organism.sentence import Sentence
from silverstain.organism.world import Town

from .geography import NAME, GeographyFamily

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Draw = Callable[[random.Random], Sentence]


def town_rows(model: "PreTrainedModel", family: GeographyFamily, n: int, seed: int) -> list[Row]:
    """A row for each kind of question; `told once` is a town of which only its state was ever told."""
    rows = []
    for kind, draw in kinds_of_question(family).items():
        rng = random.Random(f"towns {seed} {kind}")
        tokens, answers = accuracy(model, list(islice(_drawn(draw, rng), n)))
        rows.append(Row(family=NAME, split=kind, n=n, tokens=tokens, answers=answers))
    return rows


def _drawn(draw: Draw, rng: random.Random) -> Iterator[Sentence]:
    while True:
        yield draw(rng)


def kinds_of_question(family: GeographyFamily) -> Mapping[str, Draw]:
    """One sentence of each kind, drawn."""
    once = [town for town in family.geography.towns if town.name in family.geography.told_once]

    def told_once(rng: random.Random) -> Town:
        return rng.choice(once)

    return {
        "two hops, shown": lambda rng: family.two_hop(rng),
        "two hops, relation held out": lambda rng: family.two_hop(rng, held_out=True),
        "two hops, town told once": lambda rng: family.two_hop(rng, town=told_once(rng), held_out=True),
        "partner, its state named": lambda rng: family.trade(rng, "fact of a state's partner"),
        "partner, a town named": lambda rng: family.trade(rng, "fact of a partner"),
        "partner, town told once": lambda rng: family.trade(
            rng, "fact of a partner", town=told_once(rng), held_out=True
        ),
    }

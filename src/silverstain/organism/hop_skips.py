"""Does a dictionary take the hop that the model takes? A measure that NMSE and KL do not see.

The question about a town is answered through its state. Where swapping the state in the real model changes the answer
to the other state's, the state matters; if the pruned graph then holds no feature that follows the state, the
dictionary has skipped the hop: it goes from the town to the answer in one.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch

from silverstain.attribution import trace
from silverstain.bases import Dictionary
from silverstain.interventions import intervene_many
from silverstain.models import LanguageModel
from silverstain.organism.siblings import sibling_of
from silverstain.organism.swapping import state_swap_edits
from silverstain.organism.two_hop import WORDING, RecordedQuestions, followed_in, questions
from silverstain.organism.world import RELATIONS, default_geography
from silverstain.statistics import Interval, interval_of_mean


@dataclass(frozen=True, kw_only=True)
class HopSkips:
    """Questions about towns, and whether their graphs go through the state."""

    n: int
    n_matters: int
    """Questions in which swapping the state changes the answer to the other state's."""
    rate: float | None
    """Share of these whose pruned graph has no feature that follows the state."""
    interval: Interval | None
    influence: float
    """Influence of the features that follow the state, in units of that of all features kept; mean."""


def knows_towns(model: LanguageModel) -> bool:
    """Whether it is an organism that was taught the towns' states, so that a question about a town has a hop."""
    sibling = sibling_of(model.name)
    return sibling is not None and sibling.name not in ("memorised", "untrained") and "geography" in sibling.families()


def hop_skips(
    model: LanguageModel,
    dictionary: Dictionary,
    *,
    n: int,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> HopSkips:
    """`n` questions about towns, each swapped to a state with another answer, and their graphs."""
    rng, world = random.Random(f"hop skips {seed}"), default_geography()
    recorded_by_length: dict[int, RecordedQuestions] = {}
    skipped: list[float] = []
    influence: list[float] = []
    for index in range(n):
        town, relation = rng.choice(world.towns), rng.choice(RELATIONS)
        other = rng.choice([s for s in world.states if s.fact(relation) != town.state.fact(relation)])
        prompt = WORDING.format(relation=relation, town=town.name)
        length = len(model.tokenize(prompt))
        if length not in recorded_by_length:
            recorded_by_length[length] = RecordedQuestions.of(model, dictionary, questions(model, like=prompt))
        recorded = recorded_by_length[length]
        here, there = (recorded.about(name, without=town.name) for name in (town.state.name, other.name))
        on_progress(index + 1, n)
        if not len(here) or not len(there):  # a state all of whose towns have names of another length
            continue
        (swap,) = intervene_many(model, dictionary, [prompt], [state_swap_edits(recorded, prompt, here, there)])
        if swap.edited[0].id == model.token_id(other.fact(relation)):
            share = _influence_of_the_state(recorded, prompt)
            skipped.append(float(share == 0))
            influence.append(share)
    return HopSkips(
        n=n,
        n_matters=len(skipped),
        rate=sum(skipped) / len(skipped) if skipped else None,
        interval=interval_of_mean(skipped, seed=seed) if skipped else None,
        influence=sum(influence) / max(len(influence), 1),
    )


def _influence_of_the_state(recorded: RecordedQuestions, prompt: str) -> float:
    """Of the influence of the features that pruning keeps, the part of those that follow the state."""
    graph = trace(recorded.model, recorded.dictionary, prompt).prune()
    assert graph.node_mask is not None  # it is pruned
    assert graph.nodes.influence is not None  # a graph fills it in
    features = (graph.nodes.is_kind("feature") & graph.node_mask).nonzero().flatten()
    weights = graph.nodes.influence[features].double()
    is_state = torch.tensor([name == "state" for name in followed_in(recorded, graph, features)], dtype=torch.bool)
    return float(weights[is_state].sum() / weights.sum()) if len(features) else 0.0

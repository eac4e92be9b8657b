"""Does a dictionary imitate the mechanism, or the answers? Two measures on the organism that NMSE and KL do not see.

**Unseen edits.** Model and replaced model get the same edit, one that neither training nor the text holds: all features
of one layer at the last word are given what they do on another prompt, of the same family or of any. A dictionary that
only learnt answers parts from the model there. An edit that changes no answer is a weak test, so agreement is also
given where the model's answer changes.

**Hop-skips.** The question about a town is answered through its state. Where swapping the state in the real model
changes the answer to the other state's, the state matters; if the pruned graph then holds no feature that follows the
state, the dictionary has skipped the hop: it goes from the town to the answer in one.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions import Edit, agreement_under_edits, intervene_many
from silverstain.loading import ReplacementModel
from silverstain.models import LanguageModel, harvest
from silverstain.models.prompts import Prompt, as_ids
from silverstain.organism.siblings import siblings
from silverstain.organism.two_hop import WORDING, Answered, followed, questions
from silverstain.organism.world import RELATIONS, default_geography
from silverstain.statistics import Interval, interval_of_mean
from silverstain.studies.demo import moved

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class UnseenEdits:
    """Model and replaced model under the same edits."""

    n: int
    agreement: float
    """Share of cases in which both say the same token."""
    interval: Interval
    n_changed: int
    """Cases in which the edit changes the model's answer."""
    agreement_changed: float | None
    """Agreement among these."""
    interval_changed: Interval | None
    kl: float
    """KL(edited model ‖ edited replaced model), mean, nats."""
    interval_kl: Interval


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


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """Both measures."""

    edits: UnseenEdits
    """What the features are given comes from a prompt of the same family."""
    foreign_edits: UnseenEdits
    """It comes from a prompt of any family: a state of the model that no text brings about."""
    hops: HopSkips | None
    """None for a model that knows no geography."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def unseen_edits(
    model: LanguageModel,
    dictionary: Dictionary,
    prompts: Sequence[tuple[str, Prompt]],
    *,
    n: int,
    within: bool = True,
    seed: int = 0,
) -> UnseenEdits:
    """`n` edits of single layers, each prompt's last word given the features of another prompt's, (family, prompt);
    `within` takes it from the same family."""
    rng = random.Random(f"unseen edits {seed}")
    cases = [_pair(rng, prompts, within=within) for _ in range(n)]
    inputs = [_last_inputs(model, dictionary, prompt) for _, prompt in prompts]
    chosen = [prompts[base][1] for base, _ in cases]
    edits = [[_exchange(dictionary, rng.randrange(model.n_layers), inputs[a], inputs[b])] for a, b in cases]
    found = agreement_under_edits(model, dictionary, chosen, edits)
    clean = torch.stack([model.logits(as_ids(model, prompt))[-1].argmax() for prompt in chosen])
    changed = found.model_top != clean.to(found.model_top.device)
    agrees, where_changed = found.agrees.double().tolist(), found.agrees[changed].double().tolist()
    return UnseenEdits(
        n=n,
        agreement=found.share,
        interval=interval_of_mean(agrees, seed=seed),
        n_changed=int(changed.sum()),
        agreement_changed=sum(where_changed) / len(where_changed) if where_changed else None,
        interval_changed=interval_of_mean(where_changed, seed=seed) if where_changed else None,
        kl=float(found.kl.mean()),
        interval_kl=interval_of_mean(found.kl.tolist(), seed=seed),
    )


def _pair(rng: random.Random, prompts: Sequence[tuple[str, Prompt]], *, within: bool) -> tuple[int, int]:
    base = rng.randrange(len(prompts))
    others = [i for i, (family, _) in enumerate(prompts) if i != base and (not within or family == prompts[base][0])]
    if not others:
        raise UsageError(f"the family {prompts[base][0]!r} has one prompt; an exchange needs two of each")
    return base, rng.choice(others)


def _last_inputs(model: LanguageModel, dictionary: Dictionary, prompt: Prompt) -> torch.Tensor:
    return harvest(model, as_ids(model, prompt)[None], reads_at=dictionary.reads_at).mlp_inputs[:, 0, -1]


def _exchange(dictionary: Dictionary, layer: int, own: torch.Tensor, other: torch.Tensor) -> Edit:
    """The features of a layer at the last word that are active here or there, as they are there."""
    here, there = (dictionary.encode_layer(layer, x[layer].to(dictionary.dtype)) for x in (own, other))
    features = ((here > 0) | (there > 0)).nonzero().flatten().tolist() or [0]
    pairs = tuple((layer, feature) for feature in features)
    return Edit(op="patch", features=pairs, positions=(-1,), donor=tuple(there[features].tolist()))


def knows_towns(model: LanguageModel) -> bool:
    """Whether it is an organism that was taught the towns' states, so that a question about a town has a hop."""
    organism, _, sibling = model.name.partition("/")
    taught = organism == "organism" and sibling not in ("memorised", "untrained")
    return taught and "geography" in siblings()[sibling].families()


def hop_skips(
    loaded: ReplacementModel, *, n: int, seed: int = 0, on_progress: OnProgress = lambda done, total: None
) -> HopSkips:
    """`n` questions about towns, each swapped to a state with another answer, and their graphs."""
    rng, world = random.Random(f"hop skips {seed}"), default_geography()
    states = [state.name for state in world.states]
    known: dict[int, Answered] = {}
    skipped: list[float] = []
    influence: list[float] = []
    for index in range(n):
        town, relation = rng.choice(world.towns), rng.choice(RELATIONS)
        other = rng.choice([s for s in world.states if s.fact(relation) != town.state.fact(relation)])
        prompt = WORDING.format(relation=relation, town=town.name)
        length = len(loaded.model.tokenize(prompt))
        if length not in known:
            known[length] = Answered.of(loaded, questions(loaded, like=prompt))
        answered = known[length]
        own = world.towns.index(town)
        one, two = (
            ((answered.asked.state == states.index(name)) & (answered.asked.town != own)).nonzero().flatten()
            for name in (town.state.name, other.name)
        )
        on_progress(index + 1, n)
        if not len(one) or not len(two):  # a state all of whose towns have names of another length
            continue
        (swap,) = intervene_many(loaded.model, loaded.dictionary, [prompt], [moved(answered, prompt, one, two)])
        if swap.edited[0].id == loaded.model.token_id(other.fact(relation)):
            share = _share_of_the_state(loaded, answered, prompt)
            skipped.append(float(share == 0))
            influence.append(share)
    return HopSkips(
        n=n,
        n_matters=len(skipped),
        rate=sum(skipped) / len(skipped) if skipped else None,
        interval=interval_of_mean(skipped, seed=seed) if skipped else None,
        influence=sum(influence) / max(len(influence), 1),
    )


def _share_of_the_state(loaded: ReplacementModel, answered: Answered, prompt: str) -> float:
    """Of the influence of the features that pruning keeps, the part of those that follow the state."""
    graph = loaded.trace(prompt).prune()
    assert graph.node_mask is not None  # it is pruned
    assert graph.nodes.influence is not None  # a graph fills it in
    features = (graph.nodes.is_kind("feature") & graph.node_mask).nonzero().flatten()
    columns = (graph.nodes.layer, graph.nodes.position, graph.nodes.feature)
    places = list(zip(*(column[features].tolist() for column in columns), strict=True))
    follows = followed(answered, places)
    weights = graph.nodes.influence[features].double()
    is_state = torch.tensor([follows[place] == "state" for place in places], dtype=torch.bool)
    return float(weights[is_state].sum() / weights.sum()) if len(places) else 0.0


def faithfulness(
    loaded: ReplacementModel,
    prompts: Sequence[tuple[str, str]],
    *,
    n: int = 100,
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> Faithfulness:
    """Both measures, on `n` edits of each sort and, of a model that knows the towns, on half as many questions."""
    inside, outside = (
        unseen_edits(loaded.model, loaded.dictionary, prompts, n=n, within=within, seed=seed)
        for within in (True, False)
    )
    hops = (
        hop_skips(loaded, n=max(n // 2, 1), seed=seed, on_progress=on_progress) if knows_towns(loaded.model) else None
    )
    return Faithfulness(edits=inside, foreign_edits=outside, hops=hops)

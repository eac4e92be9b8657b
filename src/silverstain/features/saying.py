"""Units that say an answer or take it back, told by what they write.

A unit speaks if most of its influence reaches the answer directly from where the answer is given. What it writes is its
direct effect on every token (`output.written_vectors`) times its activation, or the change of it: a neuron that goes
down and suppresses Madrid says Madrid. It belongs to an answer if its effect on that token stands WRITES standard
deviations out of its effects on the vocabulary.

Among hundreds of units some do so for any token. So a group has its name only if what it writes on its token is more
than what the units that write another token write on that, for all but BY_CHANCE of the tokens it is compared with;
and, where the difference of two tokens is explained, if it has no more effect on the other one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from silverstain.bases import Basis
from silverstain.features.output import BY_CHANCE, scaled_vectors
from silverstain.features.prompt_words import named
from silverstain.graphs import Graph, Group
from silverstain.models import LanguageModel

SPEAKS_MOSTLY = 0.5
"""Share of a unit's influence that must reach the answer directly."""
WRITES = 2.0
MOST_ANSWERS = 2
MOST_COMPARED = 4096
"""Tokens, evenly spread over the vocabulary, that an answer is compared with."""
WORTH_SAYING = 0.1
"""An answer with less than this of the weight of the first one gets no groups."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A token that the graph's targets are about."""

    token: int
    position: int


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A group of units that write one answer up or down, and what supports its name."""

    group: Group
    answer: Answer
    effect: float
    """On the answer, by its members together, less the mean over the vocabulary; in units of the logit at scale 1."""
    rank: float
    """Share of other tokens on which units chosen for that token have less effect."""


def answers_of(graph: Graph) -> list[Answer]:
    """The tokens of the strongest targets: both of a difference, the first ones of several answers."""
    targets: list[dict[str, Any]] = list(graph.meta.get("targets") or ())
    last = len(graph.meta.get("tokens") or ()) - 1
    if is_difference(graph):
        return [Answer(token=int(token), position=targets[0].get("position", last)) for token in targets[0]["ids"]]
    tokens = [target for target in targets if target.get("kind", "token") == "token" and target.get("id") is not None]
    weight = [float(target.get("weight", target.get("probability")) or 0.0) for target in tokens]
    ranked = sorted(range(len(tokens)), key=lambda i: -weight[i])[:MOST_ANSWERS]
    return [
        Answer(token=int(tokens[i]["id"]), position=tokens[i].get("position", last))
        for i in ranked
        if weight[i] >= WORTH_SAYING * weight[ranked[0]]
    ]


def is_difference(graph: Graph) -> bool:
    """Whether the graph explains the difference of two tokens, and nothing else."""
    targets: list[dict[str, Any]] = list(graph.meta.get("targets") or ())
    return len(targets) == 1 and targets[0].get("kind") == "difference" and len(targets[0].get("ids") or ()) == 2


@torch.no_grad()
def spoken(
    graph: Graph, model: LanguageModel, dictionary: Basis, units: Sequence[int], direct: Float64[Tensor, " node"]
) -> list[Spoken]:
    """Groups of those of the feature nodes `units` that say one of the answers, or take one back.

    `direct` is the share of each node's influence that reaches the targets directly.
    """
    answers = answers_of(graph)
    if not answers:
        return []
    are_compared = is_difference(graph)
    position, places = graph.nodes.position.tolist(), {answer.position for answer in answers}
    speakers = [u for u in units if float(direct[u]) >= SPEAKS_MOSTLY and position[u] in places]
    if not speakers:
        return []
    written = _Written(graph, model, dictionary, speakers, [answer.token for answer in answers])
    names = [named([text]) for text in model.token_strings([answer.token for answer in answers])]
    found = []
    for which, answer in enumerate(answers):
        for sign, verb in ((1, "say"), (-1, "less")):
            here = [i for i, node in enumerate(speakers) if position[node] == answer.position]
            chosen = [i for i in here if written.belongs(i) == (which, sign)]
            effects = written.effects[chosen].sum(0)
            mass = written.up if sign > 0 else written.down
            own = float(written.effects[chosen, which].abs().sum())
            rank = float((mass < own).double().mean())
            is_own = not are_compared or float(effects[which].abs()) >= float(effects[1 - which].abs())
            if chosen and is_own and rank >= 1 - BY_CHANCE:
                members = tuple(speakers[i] for i in chosen)
                group = Group(label=f"{verb} {names[which]}", kind="output", members=members)
                found.append(Spoken(group=group, answer=answer, effect=float(effects[which]), rank=rank))
    return found


class _Written:
    """What some units write on a few tokens, and how much is written by the units that write any other token."""

    def __init__(
        self, graph: Graph, model: LanguageModel, dictionary: Basis, nodes: Sequence[int], tokens: Sequence[int]
    ) -> None:
        layers, features, activation = (
            column.tolist() for column in (graph.nodes.layer, graph.nodes.feature, graph.nodes.activation)
        )
        places = [(layers[node], features[node]) for node in nodes]
        rows = scaled_vectors(model, dictionary, places, [activation[node] for node in nodes])
        others = compared_tokens(model.d_vocab, tokens)
        W_U = model.W_U[[*tokens, *others]] - model.mean_W_U.to(model.W_U)
        effects = (rows @ W_U.T).float().cpu()
        all_effects, self.effects = effects[:, len(tokens) :], effects[:, : len(tokens)]
        least = WRITES * all_effects.std(-1, keepdim=True).clamp_min(torch.finfo(effects.dtype).tiny)
        self.scaled: Float[Tensor, "unit token"] = self.effects / least
        self.up: Float[Tensor, " other"] = torch.where(all_effects >= least, all_effects, 0.0).sum(0)
        self.down: Float[Tensor, " other"] = torch.where(-all_effects >= least, -all_effects, 0.0).sum(0)

    def belongs(self, unit: int) -> tuple[int, int] | None:
        """The token that a unit writes most, and with which sign; None if none of them stands out."""
        row = self.scaled[unit]
        which = int(row.abs().argmax())
        if float(row[which].abs()) < 1:
            return None
        return which, 1 if float(row[which]) > 0 else -1


def compared_tokens(d_vocab: int, tokens: Sequence[int]) -> list[int]:
    """Tokens evenly spread over the vocabulary, without those that are asked about."""
    return [token for token in range(0, d_vocab, max(1, d_vocab // MOST_COMPARED)) if token not in set(tokens)]

"""Which hidden variable each feature of a two-hop question follows, by an analysis of variance over its world.

Every town is asked for every relation, in one wording. At each layer and position the variance of a feature's
activation is shared out:

    relation    between relations
    state       between states, beyond what towns of one state differ by
    answer      between (state, relation) pairs, beyond both: what only the answer can explain
    town        between towns of one state
    wording     features that hardly vary: they read what all prompts share

A feature follows the variable that explains most of its variance. Where a variable is held by many features together
and by none alone, each of them follows something finer (which town), and yet the state of a town left out can be
decoded from what they write to the stream together. Such features are given to the state, or to the answer where the
answer alone explains enough of the variance of what they write. Measured on the cross-layer dictionary at the last
word: the state of 10 % of towns is decoded from the activations of layer 0 and of 50 % from what they write, while at
the town's own words it is 1 %; the answer explains 1 % of what layer 0 writes, 4 % of layer 1, 12 % of layer 2 and
28 % of layer 3. No label and no edge is looked at, so that what a graph says can be compared with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.graphs import Graph
from silverstain.interventions import Place
from silverstain.models import LanguageModel, harvest_mlps
from silverstain.organism.world import RELATIONS, Geography, default_geography

Variable = Literal["relation", "state", "answer", "town", "wording"]
VARIABLES: tuple[Variable, ...] = ("relation", "state", "answer", "town", "wording")
DECODING_ACCURACY = 0.25
"""Of so many left-out towns must the state be decoded from what a layer's features write, for these to hold the state:
far above a guess (1 in 50) and what is measured at the town's own words (1 in 100), far below what is measured at the
last word (50 to 80 in 100, by layer and dictionary)."""
VARIANCE_EXPLAINED = 0.2
"""Share of the variance of what a layer's features write that the answer alone must explain, for these to hold it."""
LEAST_VARIATION = 0.05
"""A feature whose standard deviation is at most this share of its mean reads the wording."""
WORDING = "the {relation} of the state containing {town} is"
PROMPTS_A_PASS = 256


class SumsOfSquares(NamedTuple):
    """Σ (activation − mean)² of each feature, in parts and in all."""

    relation: Float[Tensor, " feature"]
    state: Float[Tensor, " feature"]
    answer: Float[Tensor, " feature"]
    town: Float[Tensor, " feature"]
    total: Float[Tensor, " feature"]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Every town with every relation; all prompts are of one length."""

    token_ids: Int[Tensor, "prompt pos"]
    town: Int[Tensor, " prompt"]
    state: Int[Tensor, " prompt"]
    relation: Int[Tensor, " prompt"]


def questions(model: LanguageModel, *, like: str, geography: Geography | None = None) -> Questions:
    """The questions that have as many tokens as `like`; UsageError if hardly any has."""
    world = geography or default_geography()
    states = {state.name: index for index, state in enumerate(world.states)}
    length = len(model.tokenize(like))
    rows: list[tuple[list[int], int, int, int]] = []
    for index, town in enumerate(world.towns):
        asked = [model.tokenize(WORDING.format(relation=relation, town=town.name)) for relation in RELATIONS]
        if all(len(ids) == length for ids in asked):
            rows += [(ids, index, states[town.state.name], r) for r, ids in enumerate(asked)]
    if len(rows) < 10 * len(RELATIONS):
        raise UsageError(
            f"{like!r} has {length} tokens, and questions about towns have another number; ask one of them"
        )
    ids, town, state, relation = (torch.tensor(column) for column in zip(*rows, strict=True))
    return Questions(token_ids=ids, town=town, state=state, relation=relation)


@dataclass(frozen=True, kw_only=True)
class RecordedQuestions:
    """What every MLP reads on the questions, and so the activations of all features."""

    model: LanguageModel
    dictionary: Dictionary
    asked: Questions
    mlp_inputs: Float[Tensor, "layer prompt pos d_model"]

    @classmethod
    def of(cls, model: LanguageModel, dictionary: Dictionary, asked: Questions) -> "RecordedQuestions":
        parts = [
            harvest_mlps(model, ids, reads_at=dictionary.reads_at).mlp_inputs
            for ids in asked.token_ids.split(PROMPTS_A_PASS)
        ]
        return cls(model=model, dictionary=dictionary, asked=asked, mlp_inputs=torch.cat(parts, dim=1))

    def activations(self, layer: int, position: int) -> Float[Tensor, "prompt feature"]:
        """Of every feature of a layer at a position."""
        return self.dictionary.encode_layer(layer, self.mlp_inputs[layer, :, position])

    def written(self, layer: int, position: int) -> Float[Tensor, "prompt d_model"]:
        """What a layer's features write at a position, to all layers they write to together."""
        dictionary = self.dictionary
        rows = dictionary.decoder_rows(layer, torch.arange(dictionary.n_features, device=dictionary.device)).sum(1)
        return (self.activations(layer, position) @ rows).double()

    def about(self, state: str, *, without: str) -> Int[Tensor, " prompt"]:
        """The questions about towns of a state, whatever their relation, without one town."""
        world = default_geography()
        code = [known.name for known in world.states].index(state)
        left_out = [town.name for town in world.towns].index(without)
        return ((self.asked.state == code) & (self.asked.town != left_out)).nonzero().flatten()


def followed(recorded: RecordedQuestions, places: Sequence[Place]) -> dict[Place, Variable]:
    """The variable that each (layer, position, feature) follows over the questions."""
    asked, found = recorded.asked, {}
    for layer, position in sorted({place[:2] for place in places}):
        features = [place[2] for place in places if place[:2] == (layer, position)]
        everything = recorded.activations(layer, position).double()
        names = most_explaining(sums_of_squares(everything[:, features], asked), everything[:, features])
        if "town" in names:
            together = _held_together(recorded.written(layer, position), asked)
            names = [together if name == "town" else name for name in names]
        found |= {(layer, position, feature): name for feature, name in zip(features, names, strict=True)}
    return found


def followed_in(recorded: RecordedQuestions, graph: Graph, nodes: Int[Tensor, " feature"]) -> list[Variable]:
    """The variable that each of some feature nodes of a graph follows."""
    columns = (graph.nodes.layer, graph.nodes.position, graph.nodes.feature)
    places = list(zip(*(column[nodes].tolist() for column in columns), strict=True))
    found = followed(recorded, places)
    return [found[place] for place in places]


def _held_together(written: Float[Tensor, "prompt d_model"], asked: Questions) -> Variable:
    """What features that follow towns one by one hold together."""
    if state_decoding_accuracy(written, asked) < DECODING_ACCURACY:
        return "town"
    parts = sums_of_squares(written, asked)
    return "answer" if float(parts.answer.sum() / parts.total.sum()) >= VARIANCE_EXPLAINED else "state"


def state_decoding_accuracy(vectors: Float[Tensor, "prompt d"], asked: Questions) -> float:
    """Share of towns whose state has the nearest mean, the town itself left out of its state's.

    Vectors are averaged over relations first. Towns that are alone in their state are not asked about.
    """
    n_towns, n_states = int(asked.town.max()) + 1, int(asked.state.max()) + 1
    counts = torch.bincount(asked.town, minlength=n_towns)
    there = counts > 0
    towns = vectors.new_zeros(n_towns, vectors.shape[1]).index_add_(0, asked.town, vectors)
    towns = (towns / counts.clamp_min(1)[:, None])[there]
    home = torch.zeros(n_towns, dtype=torch.long).index_copy_(0, asked.town, asked.state)[there]
    size = torch.bincount(home, minlength=n_states)
    sums = towns.new_zeros(n_states, towns.shape[1]).index_add_(0, home, towns)
    means = sums / size.clamp_min(1)[:, None]
    distance = torch.cdist(towns, means)
    distance[:, size == 0] = torch.inf
    without = (sums[home] - towns) / (size[home] - 1).clamp_min(1)[:, None]
    distance[torch.arange(len(towns)), home] = (towns - without).norm(dim=1)
    asked_about = size[home] > 1
    return float((distance.argmin(1) == home)[asked_about].double().mean()) if bool(asked_about.any()) else 0.0


def sums_of_squares(activation: Float[Tensor, "prompt feature"], asked: Questions) -> SumsOfSquares:
    """The parts of Σ (a − mean)²; what towns differ by within a state is taken off what states seem to differ by."""
    n_states, n_towns = len(asked.state.unique()), len(asked.town.unique())
    chance = (n_states - 1) / max(n_towns - n_states, 1)
    pair = asked.state * (int(asked.relation.max()) + 1) + asked.relation
    mean = activation.mean(0)
    by_relation, by_state = _means(activation, asked.relation), _means(activation, asked.state)
    by_town, by_pair = _means(activation, asked.town), _means(activation, pair)
    total = (activation - mean).square().sum(0)
    relation, state = (by_relation - mean).square().sum(0), (by_state - mean).square().sum(0)
    town, answer = (by_town - by_state).square().sum(0), (by_pair - by_state - by_relation + mean).square().sum(0)
    rest = (total - relation - state - town - answer).clamp_min(0)
    return SumsOfSquares(
        relation=relation,
        state=(state - chance * town).clamp_min(0),
        answer=(answer - chance * rest).clamp_min(0),
        town=town * (1 + chance),
        total=total,
    )


def most_explaining(sums: SumsOfSquares, activation: Float[Tensor, "prompt feature"]) -> list[Variable]:
    """The variable that explains most of each feature's variance."""
    best = torch.stack(sums[:4]).argmax(0).tolist()
    deviation = (sums.total / len(activation)).sqrt()
    is_steady = (deviation <= LEAST_VARIATION * activation.mean(0)).tolist()
    return ["wording" if steady else VARIABLES[index] for index, steady in zip(best, is_steady, strict=True)]


def _means(
    activation: Float[Tensor, "prompt feature"], code: Int[Tensor, " prompt"]
) -> Float[Tensor, "prompt feature"]:
    """For each prompt the mean over all prompts of its code."""
    n = int(code.max()) + 1
    sums = activation.new_zeros(n, activation.shape[1]).index_add_(0, code, activation)
    return (sums / torch.bincount(code, minlength=n).clamp_min(1)[:, None])[code]

"""Which hidden variable each feature of a two-hop question follows, by an analysis of variance over its world.

Every town is asked for every relation, in one wording. At each layer and position the variance of a feature's
activation is shared out:

    relation    between relations
    state       between states, beyond what towns of one state differ by
    answer      between (state, relation) pairs, beyond both: what only the answer can explain
    town        between towns of one state
    wording     features that hardly vary: they read what all prompts share

A feature follows the variable that has the largest share. Where a variable is told by many features together and by
none alone, the features follow something finer (which town), and yet what they write to the stream together tells the
state of a town it has not seen. Such features are given to the state, or to the answer where enough of what they write
is explained by the answer alone. Measured on the cross-layer dictionary at the last word: the activations of layer 0
tell 10 % of towns and what they write 50 %, while at the town's own words it is 1 %; the answer explains 1 % of what
layer 0 writes, 4 % of layer 1, 12 % of layer 2 and 28 % of layer 3. No label and no edge is looked at, so that what a
graph says can be compared with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.interventions import Place
from silverstain.loading import ReplacementModel
from silverstain.models import harvest
from silverstain.organism.world import RELATIONS, Geography, default_geography

Variable = Literal["relation", "state", "answer", "town", "wording"]
VARIABLES: tuple[Variable, ...] = ("relation", "state", "answer", "town", "wording")
TELLS = 0.25
"""Share of left-out towns whose state a population must tell: far above a guess (1 in 50) and what is measured at the
town's own words (1 in 100), far below what is measured at the last word (50 to 80 in 100, by layer and dictionary)."""
SAYS = 0.2
"""Share of the variance of what a population writes that the answer alone must explain, for it to say the answer."""
HARDLY_VARIES = 0.05
"""A feature whose standard deviation is less than this share of its mean reads the wording."""
WORDING = "the {relation} of the state containing {town} is"
PROMPTS_A_PASS = 256


class Sums(NamedTuple):
    """Sums of squares of each feature, the parts first."""

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


def questions(loaded: ReplacementModel, *, like: str, geography: Geography | None = None) -> Questions:
    """The questions that have as many tokens as `like`; UsageError if hardly any has."""
    model, world = loaded.model, geography or default_geography()
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
class Answered:
    """The activations of all features over the questions, one layer and position at a time."""

    loaded: ReplacementModel
    asked: Questions
    mlp_inputs: Float[Tensor, "layer prompt pos d_model"]

    @classmethod
    def of(cls, loaded: ReplacementModel, asked: Questions) -> "Answered":
        parts = [harvest(loaded.model, ids).mlp_inputs for ids in asked.token_ids.split(PROMPTS_A_PASS)]
        return cls(loaded=loaded, asked=asked, mlp_inputs=torch.cat(parts, dim=1))

    def at(self, layer: int, position: int) -> Float[Tensor, "prompt feature"]:
        """Activations of every feature of a layer at a position."""
        return self.loaded.dictionary.encode_layer(layer, self.mlp_inputs[layer, :, position])

    def written(self, layer: int, position: int) -> Float[Tensor, "prompt d_model"]:
        """What a layer's features write at a position, to all layers they write to together."""
        dictionary = self.loaded.dictionary
        rows = dictionary.decoder_rows(layer, torch.arange(dictionary.n_features, device=dictionary.device)).sum(1)
        return (self.at(layer, position) @ rows).double()


def followed(answered: Answered, places: Sequence[Place]) -> dict[Place, Variable]:
    """The variable that each (layer, position, feature) follows over the questions."""
    asked, found = answered.asked, {}
    for layer, position in sorted({place[:2] for place in places}):
        features = [place[2] for place in places if place[:2] == (layer, position)]
        everything = answered.at(layer, position).double()
        names = strongest(sums_of_squares(everything[:, features], asked), everything[:, features])
        if "town" in names and told_states(written := answered.written(layer, position), asked) >= TELLS:
            parts = sums_of_squares(written, asked)
            says = float(parts.answer.sum() / parts.total.sum()) >= SAYS
            together: Variable = "answer" if says else "state"
            names = [together if name == "town" else name for name in names]
        found |= {(layer, position, feature): name for feature, name in zip(features, names, strict=True)}
    return found


def told_states(vectors: Float[Tensor, "prompt d"], asked: Questions) -> float:
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


def sums_of_squares(activation: Float[Tensor, "prompt feature"], asked: Questions) -> Sums:
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
    return Sums(
        relation=relation,
        state=(state - chance * town).clamp_min(0),
        answer=(answer - chance * rest).clamp_min(0),
        town=town * (1 + chance),
        total=total,
    )


def strongest(sums: Sums, activation: Float[Tensor, "prompt feature"]) -> list[Variable]:
    """The variable with the largest part of each feature's variance."""
    best = torch.stack(sums[:4]).argmax(0).tolist()
    deviation = (sums.total / len(activation)).sqrt()
    steady = (deviation <= HARDLY_VARIES * activation.mean(0)).tolist()
    return ["wording" if is_steady else VARIABLES[winner] for winner, is_steady in zip(best, steady, strict=True)]


def _means(
    activation: Float[Tensor, "prompt feature"], code: Int[Tensor, " prompt"]
) -> Float[Tensor, "prompt feature"]:
    """For each prompt the mean over all prompts of its code."""
    n = int(code.max()) + 1
    sums = activation.new_zeros(n, activation.shape[1]).index_add_(0, code, activation)
    return (sums / torch.bincount(code, minlength=n).clamp_min(1)[:, None])[code]

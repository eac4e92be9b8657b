"""A first reading of a graph: its features grouped by what they mean, and each called by a name that has support.

One rule for every feature: a concept names a feature if the feature cards support it (`labels.is_supported`); else the
tokens that it writes do (`output.written_tokens`); else it has no name but its own, L3.F1501.

Neurons are many and small, so all of them are grouped, by where they stand, what they read and what they say
(`placing`); and so is attention.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from silverstain.bases import Basis
from silverstain.features.cards import Cards
from silverstain.features.grouping import group_nodes
from silverstain.features.labels import written_label_of
from silverstain.features.output import written_tokens
from silverstain.features.placing import place_groups, told_apart
from silverstain.graphs import Graph, Group, Story, edge_shares, influence, story_groups, target_weights
from silverstain.models import LanguageModel

SPEAKS = 0.8
"""Share of a feature's influence that must reach the answer directly before what it writes names it: what an early
feature writes is read by later layers, and its effect on the vocabulary says little."""
MOST_GROUPED = 4096
"""Units, the most influential, that are grouped by their places."""
MOST_NAMED = 256
"""Features, the most influential, of which it is asked what they write: each costs a product with the vocabulary."""


def read_graph(graph: Graph, model: LanguageModel, dictionary: Basis, cards: Cards | None = None) -> Story:
    """Groups from the cards, and labels of the features that pruning kept and of the strongest in any case."""
    is_feature, reached = graph.nodes.is_kind("feature"), influence(graph)
    ranked = torch.where(is_feature, reached, -1.0).argsort(descending=True, stable=True)[: int(is_feature.sum())]
    kept = graph.kept_nodes()[ranked]
    kept[:MOST_NAMED] = True
    ranked = ranked[kept]
    layers, features = graph.nodes.layer[ranked].tolist(), graph.nodes.feature[ranked].tolist()
    places = list(dict.fromkeys(zip(layers, features, strict=True)))  # strongest first
    concepts = {} if cards is None else {place: cards.supported_label(*place) for place in places}
    named = {place: label for place, label in concepts.items() if label is not None}
    speaks = direct_shares(graph)[ranked] >= SPEAKS
    speakers = {
        place for place, is_one in zip(zip(layers, features, strict=True), speaks.tolist(), strict=True) if is_one
    }
    unnamed = [place for place in places if place not in named and place in speakers][:MOST_NAMED]
    signs = zip(zip(layers, features, strict=True), graph.nodes.activation[ranked].tolist(), strict=True)
    strongest = dict(reversed(list(signs)))
    negative = {place for place, activation in strongest.items() if activation < 0}
    written = written_tokens(model, dictionary, unnamed, negative=negative)
    labels = named | {place: written_label_of(tokens) for place, tokens in written.items()}
    return Story(
        graph_hash=graph.hash,
        groups=story_groups(graph, first_groups(graph, model, dictionary, cards, reached)),
        labels={f"{layer}_{feature}": labels[layer, feature] for layer, feature in sorted(labels)},
    )


def first_groups(
    graph: Graph, model: LanguageModel, dictionary: Basis, cards: Cards | None, reached: Float64[Tensor, " node"]
) -> list[Group]:
    """Groups from the cards and, of a graph of neurons or of a contrast, of the strongest units that are in none."""
    groups = [] if cards is None else group_nodes(graph, cards)
    is_neurons = dictionary.is_dense
    if not is_neurons and not graph.meta.get("contrast"):
        return groups
    left = graph.nodes.is_unit & (reached > 0)
    left[[member for group in groups for member in group.members]] = False
    ranked = torch.where(left, reached, -1.0).argsort(descending=True, stable=True)
    nodes = sorted(ranked[: min(int(left.sum()), MOST_GROUPED)].tolist())
    more = place_groups(graph, model, dictionary, nodes, reached, direct_shares(graph), by_place=is_neurons)
    return [*groups, *told_apart([*groups, *more])[len(groups) :]]


def direct_shares(graph: Graph) -> Float64[Tensor, " node"]:
    """Of each node's influence on the targets, the share that its own edges into them carry; 0 without influence."""
    reached = influence(graph)
    arriving = (edge_shares(graph) * target_weights(graph)[graph.targets]).double()
    direct = torch.zeros_like(reached).index_add_(0, graph.indices.long(), arriving)
    return torch.where(reached > 0, direct / reached, 0.0)

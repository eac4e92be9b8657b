"""What a feature means: where it fires, which tokens it promotes, which known value it stands for; labels, groups."""

from silverstain.features.building import build_cards
from silverstain.features.cards import Cards, Example, FeatureCard, places_of_kind
from silverstain.features.corpus import Sample
from silverstain.features.grouping import group_nodes
from silverstain.features.neuron_tokens import NeuronTokens, neuron_tokens
from silverstain.features.output import direct_effects, written_tokens
from silverstain.features.reading import read_graph
from silverstain.graphs import group_places

__all__ = [
    "Cards",
    "Example",
    "FeatureCard",
    "NeuronTokens",
    "Sample",
    "build_cards",
    "direct_effects",
    "group_nodes",
    "group_places",
    "neuron_tokens",
    "places_of_kind",
    "read_graph",
    "written_tokens",
]

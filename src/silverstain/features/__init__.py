"""What a feature means: where it fires, which tokens it promotes, which known value it stands for; labels, groups."""

from silverstain.features.assembling import CardSettings, assemble
from silverstain.features.building import build_cards
from silverstain.features.card_files import open_cards
from silverstain.features.card_table import CardTable
from silverstain.features.cards import Cards, Example, FeatureCard, places_of_kind
from silverstain.features.concepts import label_by_concepts, read_concepts
from silverstain.features.corpus import Sample
from silverstain.features.grouping import group_nodes
from silverstain.features.lens import Lens, build_lens
from silverstain.features.naming import label_cards
from silverstain.features.neuron_tokens import NeuronTokens, neuron_tokens
from silverstain.features.output import direct_effects, written_tokens
from silverstain.features.queries import query_cards
from silverstain.features.reading import read_graph
from silverstain.features.rows import rows_of
from silverstain.features.streaming import stream, stream_plan
from silverstain.graphs import group_places

__all__ = [
    "CardSettings",
    "CardTable",
    "Cards",
    "Example",
    "FeatureCard",
    "Lens",
    "NeuronTokens",
    "Sample",
    "assemble",
    "build_cards",
    "build_lens",
    "direct_effects",
    "group_nodes",
    "group_places",
    "label_by_concepts",
    "label_cards",
    "neuron_tokens",
    "open_cards",
    "places_of_kind",
    "query_cards",
    "read_concepts",
    "read_graph",
    "rows_of",
    "stream",
    "stream_plan",
    "written_tokens",
]

"""What a feature means: where it fires, which tokens it promotes, which known value it stands for; labels, groups."""

from silverstain.features.building import build_cards as build_cards
from silverstain.features.cards import Cards as Cards
from silverstain.features.cards import Example as Example
from silverstain.features.cards import FeatureCard as FeatureCard
from silverstain.features.cards import places_of_kind as places_of_kind
from silverstain.features.corpus import Sample as Sample
from silverstain.features.grouping import group_nodes as group_nodes
from silverstain.features.output import direct_effects as direct_effects
from silverstain.graphs import group_places as group_places

__all__ = [
    "Cards",
    "Example",
    "FeatureCard",
    "Sample",
    "build_cards",
    "direct_effects",
    "group_nodes",
    "group_places",
    "places_of_kind",
]

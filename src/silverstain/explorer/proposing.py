"""Groups that the page proposes: the one place that says where they come from."""

from typing import TYPE_CHECKING

from silverstain.graphs import Graph, Story, StoryGroup

if TYPE_CHECKING:
    from silverstain.loading import ReplacementModel


def proposed_groups(graph: Graph, story: Story, loaded: "ReplacementModel") -> list[StoryGroup]:
    """Groups that a person may accept or reject, beside those of the story: a first reading's."""
    there = {frozenset(group.members) for group in story.groups}
    return [group for group in loaded.read(graph).groups if frozenset(group.members) not in there]

"""Groups that the page proposes: the one place that says where they come from."""

from typing import TYPE_CHECKING

from silverstain.graphs import Graph, Story, StoryGroup, find_roles, propose

if TYPE_CHECKING:
    from silverstain.loading import ReplacementModel


def proposed_groups(graph: Graph, story: Story, loaded: "ReplacementModel") -> list[StoryGroup]:
    """Groups that a person may accept or reject, beside those of the story: a first reading's, by what units mean,
    then those of units with one role, by what feeds them and what they feed."""
    there = {frozenset(group.members) for group in story.groups}
    labels = {group.label for group in story.groups}
    roles = propose(graph, story, find_roles(graph, labels=story.labels_in(graph.nodes)))
    found = []
    for group in (*loaded.read(graph).groups, *(change.group for change in roles.changes if change.op == "add")):
        members = frozenset(group.members)
        if members not in there and group.label not in labels:
            there.add(members)
            labels.add(group.label)
            found.append(group)
    return found

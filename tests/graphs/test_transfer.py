"""Groups found again in another graph."""

from tests.graphs.test_roles import planted

from silverstain.graphs import find_roles
from silverstain.graphs.transfer import GroupRoles, transferred


def test_groups_are_found_again_in_their_own_graph(make_graph):
    graph = make_graph(3, n_features=30)
    groups = find_roles(graph).groups
    assert [g.members for g in transferred(graph, groups, graph)] == [g.members for g in groups]


def test_a_unit_that_was_in_no_graph_joins_those_that_do_the_same():
    graph = planted()
    groups = find_roles(graph).groups
    without = [group.__class__(label=group.label, members=group.members[:1]) for group in groups]
    assert sum(len(g.members) for g in transferred(graph, without, graph, by_role=False)) == len(groups)
    again = GroupRoles.of(graph, without).found_in(graph)
    assert [set(g.members) for g in again] == [set(g.members) for g in groups]

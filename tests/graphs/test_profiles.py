"""What feeds a unit and what it feeds, against dense arithmetic."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.graphs import profiles
from silverstain.graphs.kinds import FEATURE, TOKEN

SEEDS = st.integers(0, 1000)


@given(SEEDS)
def test_what_feeds_a_unit_is_the_sum_over_all_paths_from_each_word(make_graph, oracle, seed: int):
    graph = make_graph(seed)
    units = (graph.nodes.kind == FEATURE).nonzero().flatten()
    found = profiles(graph, units)
    shares = oracle.shares(graph, oracle.edges(graph))
    paths = torch.linalg.inv(torch.eye(graph.n_nodes, dtype=torch.float64) - shares)  # I + A + A² + …
    for row, unit in enumerate(units.tolist()):
        ends = [paths[unit, (graph.nodes.kind == TOKEN) & (graph.nodes.position == at)].sum() for at in range(4)]
        ends.append(paths[unit, graph.nodes.is_rest].sum())
        expected = torch.stack(ends)
        expected = expected / expected.sum().clamp_min(1e-12)
        assert found.fed_by[row].tolist() == pytest.approx(expected.tolist(), abs=1e-9)


@given(SEEDS)
def test_what_a_unit_feeds_is_its_influence_by_where_it_first_goes(make_graph, oracle, seed: int):
    graph = make_graph(seed)
    units = (graph.nodes.kind == FEATURE).nonzero().flatten()
    shares, goal = oracle.shares(graph, oracle.edges(graph)), oracle.goal(graph)
    reached = oracle.influence(shares, goal) + goal
    flow = shares * reached[:, None]
    found = profiles(graph, units).feeds
    for row, unit in enumerate(units.tolist()):
        whole = flow[:, unit].sum().clamp_min(1e-12)
        answers = flow[graph.nodes.is_kind("logit"), unit].sum()
        assert float(found[row, 0]) == pytest.approx(float(answers / whole), abs=1e-9)

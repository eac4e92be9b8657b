"""Which way things go: what is below 0 is driven by what pushes it further down, and all that is added adds up."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.graphs import Graph, Group, collapse
from silverstain.graphs.influence import signed_shares, target_weights
from silverstain.graphs.signs import contributions, directions

SEEDS = st.integers(0, 2**31)


def turned(graph: Graph, turn: torch.Tensor) -> Graph:
    """The same run with the activations of some units counted the other way round."""
    flip = torch.where(turn, -1.0, 1.0).double()
    return replace(
        graph,
        nodes=replace(graph.nodes, activation=graph.nodes.activation * flip),
        values=graph.values * flip[graph.targets],
        values_of_targets=graph.values_of_targets * flip[graph.row_nodes],
    )


def with_signs(graph: Graph) -> Graph:
    """Activations that have the sign of what enters, as those of neurons have."""
    activation = graph.nodes.activation.double().clone()
    is_row = graph.nodes.is_unit[graph.row_nodes]
    activation[graph.row_nodes[is_row]] = graph.values_of_targets[is_row]
    return replace(graph, nodes=replace(graph.nodes, activation=activation))


@given(seed=SEEDS)
def test_which_way_round_activations_are_counted_changes_nothing(make_graph, seed: int):
    graph = with_signs(make_graph(seed, n_attention=6))
    turn = graph.nodes.is_unit & (torch.rand(graph.n_nodes, generator=torch.Generator().manual_seed(seed)) < 0.5)
    other = turned(graph, turn)
    groups = [Group(label="a", members=(0, 1, 2)), Group(label="b", members=(4, 5)),
              Group(label="answer", members=(graph.n_nodes - 1,))]  # fmt: skip
    torch.testing.assert_close(signed_shares(other), signed_shares(graph))
    torch.testing.assert_close(collapse(other, groups).weights, collapse(graph, groups).weights)
    torch.testing.assert_close(contributions(other), contributions(graph))


@given(seed=SEEDS)
def test_what_the_ends_of_all_paths_add_is_the_targets(make_graph, seed: int):
    graph = make_graph(seed, n_attention=6)
    added = contributions(graph)
    is_end = torch.ones(graph.n_nodes, dtype=torch.bool)
    is_end[graph.row_nodes[graph.indptr.diff() > 0]] = False  # a unit that nothing enters is an end
    weights, rows = target_weights(graph), graph.row_nodes
    expected = float((weights[rows] * graph.values_of_targets).sum())
    assert float(added[is_end].sum()) == pytest.approx(expected, rel=1e-6, abs=1e-6 * float(added.abs().max() + 1))


@given(seed=SEEDS)
def test_a_direction_is_of_what_leaves_a_group(make_graph, seed: int):
    graph = make_graph(seed)
    alone = [Group(label=str(node), members=(node,)) for node in range(9)]
    added = contributions(graph)[:9]
    torch.testing.assert_close(
        torch.tensor(directions(graph, alone), dtype=torch.float64), torch.where(added.abs() > 0, added.sign(), 0.0)
    )
    everything = Group(label="all", members=tuple(range(9)))
    assert -1 <= directions(graph, [everything])[0] <= 1

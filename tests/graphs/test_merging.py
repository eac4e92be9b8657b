"""One graph of a family."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.errors import UsageError
from silverstain.graphs import Graph, find_roles, merge


@given(st.integers(0, 1000))
def test_an_edge_is_the_mean_over_all_graphs(make_graph, seed: int):
    graphs = [make_graph(seed + i, n_attention=3) for i in range(3)]
    merged = merge(graphs)
    dense = torch.zeros(merged.graph.n_nodes, merged.graph.n_nodes, dtype=torch.float64)
    for graph, place in zip(graphs, merged.places, strict=True):
        dense[place[graph.targets], place[graph.indices.long()]] += graph.values.double() / 3
    there = torch.from_numpy(merged.graph.matrix().toarray()).double()
    assert torch.allclose(there, dense, atol=1e-6)
    assert merged.graph.exactness() < 1e-5


def test_a_family_of_one_is_the_graph_itself(make_graph, tmp_path):
    graph = make_graph(1)
    merged = merge([graph])
    sides = [dict(zip(one.nodes.ids(), one.influence().tolist(), strict=True)) for one in (merged.graph, graph)]
    assert sides[0] == pytest.approx(sides[1], abs=1e-6)
    assert merged.node_share.unique().tolist() == [1.0]
    merged.graph.save(tmp_path / "family.safetensors")
    assert Graph.load(tmp_path / "family.safetensors").meta["merged"]["n"] == 1


def test_prompts_of_other_lengths_end_at_the_same_place(make_graph):
    short, long = make_graph(1, n_positions=4), make_graph(2, n_positions=6)
    merged = merge([short, long])
    last = [int(graph.nodes.position[graph.nodes.span("logit")].max()) for graph in (short, long, merged.graph)]
    assert last == [3, 5, 5]
    assert set(merged.graph.nodes.position[merged.graph.nodes.span("logit")].tolist()) == {5}


def test_how_often_a_node_is_there_is_counted(make_graph):
    merged = merge([make_graph(1), make_graph(1), make_graph(2)])
    features = merged.graph.nodes.is_kind("feature")
    assert set(merged.node_counts[features].tolist()) <= {1, 2, 3}
    assert int(merged.node_counts[features].sum()) == 3 * 9
    assert find_roles(merged.graph).supernodes


def test_graphs_of_two_bases_are_not_laid_over_each_other(make_graph):
    graph = make_graph(1)
    other = replace(graph, meta={**graph.meta, "dictionary": {"name": "another\x1b", "hash": "zzz"}})
    with pytest.raises(UsageError, match=r"the graphs are of 2 kinds .*toy/dictionary.*another") as told:
        merge([graph, other])
    assert "\x1b" not in str(told.value)
    with pytest.raises(UsageError, match="there is no graph to merge"):
        merge([])

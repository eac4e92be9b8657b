"""Two graphs side by side, against sums over dictionaries of edges."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silverstain.graphs import Graph, compare

Edges = dict[tuple[str, str], float]


def edges_of(graph: Graph, kind: str = "", *, pruned: bool = False) -> Edges:
    """Every edge by the ids of its ends, one loop step an edge."""
    ids, kinds = graph.nodes.ids(), graph.nodes.kinds
    mask = graph.edge_mask if pruned else torch.ones(graph.n_edges, dtype=torch.bool)
    found = zip(graph.indices.tolist(), graph.targets.tolist(), graph.values.tolist(), mask.tolist(), strict=True)
    return {(ids[s], ids[t]): v for s, t, v, kept in found if kept and kinds[s].startswith(kind)}


def share_only_in(mine: Edges, other: Edges) -> float:
    return sum(abs(v) for e, v in mine.items() if e not in other) / sum(map(abs, mine.values()))


def perturbed(graph: Graph, seed: int) -> Graph:
    """The same prompt with other values, some edges gone and two features renamed."""
    draw = torch.Generator().manual_seed(seed)
    feature, span = graph.nodes.feature.clone(), graph.nodes.span("feature")
    feature[span.stop - 1] += 100
    kept = torch.rand(graph.n_edges, generator=draw) < 0.8
    counts = torch.bincount(graph.edge_rows[kept], minlength=len(graph.row_nodes))
    noise = 1 + 0.1 * torch.randn(graph.n_edges, generator=draw, dtype=torch.float64)
    return replace(
        graph,
        nodes=replace(graph.nodes, feature=feature, activation=graph.nodes.activation * 1.5, influence=None),
        indptr=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
        indices=graph.indices[kept],
        values=(graph.values * noise)[kept],
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), pruned=st.booleans())
def test_every_figure_is_the_one_counted_by_hand(make_graph, seed: int, pruned: bool):
    left = make_graph(seed, n_features=12).prune(0.9)
    right = perturbed(left.unpruned(), seed).prune(0.9)
    found = compare(left, right, pruned=pruned)
    for kind in ("all", "feature", "error", "token", "bias"):
        ours, theirs = (edges_of(g, "" if kind == "all" else kind, pruned=pruned) for g in (left, right))
        if not ours and not theirs:
            assert kind not in found.edges or kind == "all"
            continue
        both = ours.keys() & theirs.keys()
        agreement = found.edges[kind]
        assert agreement.count == (len(both), len(ours) - len(both), len(theirs) - len(both))
        if both:
            difference = math.sqrt(sum((ours[e] - theirs[e]) ** 2 for e in both))
            size = math.sqrt(sum(theirs[e] ** 2 for e in both))
            product = sum(ours[e] * theirs[e] for e in both) / size / math.sqrt(sum(ours[e] ** 2 for e in both))
            assert agreement.relative_difference == pytest.approx(difference / size)
            assert agreement.cosine == pytest.approx(product)
        if ours:
            assert agreement.left_share == pytest.approx(share_only_in(ours, theirs), abs=1e-12)
        if theirs:
            assert agreement.right_share == pytest.approx(share_only_in(theirs, ours), abs=1e-12)


def test_nodes_and_activations_are_counted_by_kind(make_graph):
    left = make_graph(3, n_features=12)
    found = compare(left, perturbed(left, 0))
    assert found.nodes["feature"] == (11, 1, 1)
    assert found.nodes["token"] == (4, 0, 0)
    assert found.activations.n == 11
    assert found.activations.correlation == pytest.approx(1)
    assert found.activations.max_relative_difference == pytest.approx(1 / 3)


def test_a_graph_agrees_with_itself(make_graph):
    graph = make_graph(1)
    found = compare(graph, graph)
    assert found.edges["all"].count == (graph.n_edges, 0, 0)
    assert found.edges["all"].relative_difference == 0
    assert found.edges["all"].cosine == pytest.approx(1)
    assert found.activations.max_relative_difference == 0
    assert [(target.left, target.right) for target in found.targets] == [
        (w, w) for w in graph.nodes.activation[-2:].tolist()
    ]


def test_targets_of_one_side_are_told(make_graph):
    left = make_graph(1)
    token = left.nodes.token.clone()
    token[-1] = 77
    right = replace(left, nodes=replace(left.nodes, token=token, influence=None), meta={})
    assert [(target.name, target.left is None, target.right is None) for target in compare(left, right).targets] == [
        (" x0", False, False),
        (" x1", False, True),
        ("77", True, False),
    ]


def test_graphs_without_anything_in_common_are_compared_too(make_graph):
    left = make_graph(1)
    empty = replace(left, indptr=left.indptr * 0, indices=left.indices[:0], values=left.values[:0])
    found = compare(left, empty)
    assert found.edges["all"].count == (0, left.n_edges, 0)
    assert found.edges["all"].cosine is None
    assert (found.edges["all"].left_share, found.edges["all"].right_share) == (1, 0)


def test_targets_that_are_no_tokens_are_matched_by_name(make_graph):
    def asked(*names: str) -> Graph:
        graph = make_graph(1)
        token = graph.nodes.token.clone()
        token[-len(names) :] = -1
        targets = [{"kind": "direction", "name": name, "weight": 1.0} for name in names]
        nodes = replace(graph.nodes, token=token, influence=None)
        return replace(graph, nodes=nodes, meta={**graph.meta, "targets": targets})

    found = compare(asked("a − b", "L1.F3"), asked("L1.F3", "up"))
    assert found.nodes["logit"] == (1, 1, 1)
    assert {(target.name, target.left is None, target.right is None) for target in found.targets} == {
        ("a − b", False, True),
        ("L1.F3", False, False),
        ("up", True, False),
    }

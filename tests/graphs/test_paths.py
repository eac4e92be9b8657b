"""The strongest paths, against every path there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silverstain.errors import UsageError
from silverstain.graphs import node_named, strongest_paths
from silverstain.graphs.influence import signed_shares


def every_path(graph, start: int, end: int) -> list[tuple[float, tuple[int, ...]]]:
    """One recursion step an edge."""
    shares = signed_shares(graph).tolist()

    def back(node: int, product: float, tail: tuple[int, ...]):
        if node == start:
            yield product, (node, *tail)
            return
        for row, target in enumerate(graph.row_nodes.tolist()):
            if target == node:
                for edge in range(int(graph.indptr[row]), int(graph.indptr[row + 1])):
                    if shares[edge]:
                        yield from back(int(graph.indices[edge]), product * shares[edge], (node, *tail))

    return sorted(back(end, 1.0, ()), key=lambda one: -abs(one[0]))


@given(st.integers(0, 1000))
def test_no_path_is_stronger_than_those_that_are_found(make_graph, seed: int):
    graph = make_graph(seed)
    start, end = graph.nodes.span("token").start + 1, graph.nodes.span("logit").start
    expected = every_path(graph, start, end)
    found = strongest_paths(graph, start, end, most=4)
    assert found.is_whole
    assert [abs(p.product) for p in found.paths] == pytest.approx([abs(p) for p, _ in expected[:4]])
    assert found.total == pytest.approx(sum(abs(p) for p, _ in expected))


def test_nodes_are_named_by_word_answer_or_id(make_graph):
    graph = make_graph(1)
    assert node_named(graph, "t2") == graph.nodes.span("token").start + 2
    assert node_named(graph, "x1") == graph.nodes.span("logit").start + 1
    assert node_named(graph, graph.nodes.ids()[0]) == 0
    with pytest.raises(UsageError, match=r"no node '.*x1bno'; give an id, "):
        node_named(graph, "\x1bno")
    twice = graph.with_meta({**graph.meta, "tokens": ["t", "t", "t2", "t3"]})
    with pytest.raises(UsageError, match="'t' is there 2 times: t@0, t@1"):
        node_named(twice, "t")
    assert node_named(twice, "t@1") == graph.nodes.span("token").start + 1

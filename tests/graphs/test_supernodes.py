import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.errors import UsageError
from silverstain.graphs import Group, collapse, group_shares, influence


def slow_collapse(graph, groups, oracle):
    """The formula of Circuit Tracing, term by term."""
    dense = oracle.edges(graph)
    size = dense.abs()
    size[:, graph.nodes.is_kind("bias")] = 0
    weights = torch.zeros(len(groups), len(groups), dtype=torch.float64)
    for t, target in enumerate(groups):
        outside = [n for n in range(graph.n_nodes) if n not in target.members]
        f = {
            n: size[n, outside].sum() / size[n].sum() if size[n].sum() > 0 else torch.tensor(0.0)
            for n in target.members
        }
        total = sum(f.values())
        for s, source in enumerate(groups):
            if s == t or total == 0:
                continue
            for n in target.members:
                if size[n].sum() > 0:
                    given = dense[n, list(source.members)] * (size[n, list(source.members)] > 0)
                    weights[t, s] += f[n] * given.sum() / size[n].sum() / total
    return weights


@given(seed=st.integers(0, 2**31))
def test_the_graph_between_groups_is_the_papers_formula(make_graph, oracle, seed):
    graph = make_graph(seed)
    groups = [
        Group(label="early", members=(0, 1, 2)),
        Group(label="late", members=(5, 6, 7, 8), kind="concept"),
        Group(label="prompt", members=tuple(range(*graph.nodes.span("token").indices(graph.n_nodes)))),
        Group(label="says x0", members=(graph.n_nodes - 2,)),
    ]
    found = collapse(graph, groups)
    torch.testing.assert_close(found.weights, slow_collapse(graph, groups, oracle))
    assert found.groups == tuple(groups)
    torch.testing.assert_close(found.shares, group_shares(graph, groups))


def test_groups_of_one_node_have_its_signed_shares_of_input(make_graph):
    graph = make_graph(8)
    logit = graph.n_nodes - 1
    sources, values = graph.incoming(logit)
    inputs = [(s, v) for s, v in zip(sources.tolist(), values.tolist(), strict=True) if graph.nodes.kinds[s] != "bias"]
    groups = [Group(label=str(s), members=(s,)) for s, _ in inputs] + [Group(label="logit", members=(logit,))]
    weights = collapse(graph, groups).weights[-1, :-1]
    expected = torch.tensor([v for _, v in inputs], dtype=torch.float64)
    torch.testing.assert_close(weights, expected / expected.abs().sum())


def test_pruned_edges_count_only_in_the_whole_graph(make_graph):
    graph = make_graph(8).prune(0.5, 0.5)
    groups = [Group(label=str(n), members=(n,)) for n in range(graph.n_nodes)]
    whole, pruned = collapse(graph, groups).weights, collapse(graph, groups, pruned=True).weights
    assert (pruned != 0).sum() == graph.edge_mask.sum() < (whole != 0).sum()


def test_shares_are_of_all_influence(make_graph):
    graph = make_graph(8)
    everything = [Group(label="all", members=tuple(range(graph.n_nodes)))]
    assert float(group_shares(graph, everything)) == pytest.approx(1)
    assert group_shares(graph, []).shape == (0,)
    one = [Group(label="one", members=(1,))]
    assert float(group_shares(graph, one)) == pytest.approx(float(influence(graph)[1] / influence(graph).sum()))


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([("a", (1, 2)), ("b", (2,))], "node 2 is in two groups, 'a' and 'b'; leave it in one"),
        ([("a", ())], "the group 'a' has no members"),
        ([("a", (999,))], "the group 'a' names node 999; this graph has 31 nodes"),
    ],
)
def test_groups_that_cannot_be_are_refused(make_graph, groups, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        collapse(make_graph(0), [Group(label=label, members=members) for label, members in groups])

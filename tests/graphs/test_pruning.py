import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.errors import UsageError
from silverstain.graphs import exactness, prune, pruning, removed_as_error, scores
from silverstain.graphs.pruning import top_share

SEEDS = st.integers(0, 2**31)
SHARES = st.floats(0, 1)


@pytest.fixture(scope="module", params=[1, 16])
def monkeypatch_at_once(request):
    """So few items are sorted at once that halving does the work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "SORTED_AT_ONCE", request.param)
        yield


def edge_matrix(graph):
    kept = torch.zeros(graph.n_nodes, graph.n_nodes, dtype=torch.bool)
    kept[graph.targets[graph.edge_mask], graph.indices[graph.edge_mask]] = True
    return kept


@given(
    seed=SEEDS, node_share=st.floats(0.1, 0.97), edge_share=st.floats(0.1, 0.97), n_attention=st.sampled_from([0, 12])
)
def test_pruning_without_keeping_errors_is_circuit_tracers(
    make_graph, oracle, seed, node_share, edge_share, n_attention
):
    graph = make_graph(seed, n_features=12, n_attention=n_attention)
    nodes, edges = oracle.prune(graph, oracle.edges(graph), node_share, edge_share)
    pruned = prune(graph, node_share=node_share, edge_share=edge_share, keep_errors=False)
    assert torch.equal(pruned.node_mask, nodes)
    assert torch.equal(edge_matrix(pruned), edges)


def test_pruning_golden_graphs_keeps_what_circuit_tracer_keeps(golden, oracle):
    graph, dense = golden
    nodes, edges = oracle.prune(graph, dense, 0.8, 0.98)
    pruned = prune(graph, keep_errors=False)
    assert torch.equal(pruned.node_mask, nodes)
    assert torch.equal(edge_matrix(pruned), edges)


@given(seed=SEEDS, node_share=SHARES, edge_share=SHARES, keep_errors=st.booleans())
def test_pruning_keeps_tokens_logits_and_if_asked_errors(make_graph, seed, node_share, edge_share, keep_errors):
    graph = make_graph(seed, n_attention=6)
    pruned = graph.prune(node_share, edge_share, keep_errors)
    protected = graph.nodes.is_kind("token", "logit", *(["error"] if keep_errors else []))
    protected |= graph.nodes.is_rest & keep_errors
    assert pruned.node_mask[protected].all()
    assert not pruned.node_mask[graph.nodes.is_kind("bias")].any()


@given(seed=SEEDS, node_share=SHARES, edge_share=SHARES)
def test_kept_edges_join_kept_nodes_and_kept_features_have_a_way_in_and_out(make_graph, seed, node_share, edge_share):
    pruned = prune(make_graph(seed, n_attention=8), node_share=node_share, edge_share=edge_share)
    kept, features = edge_matrix(pruned), pruned.node_mask & pruned.nodes.is_unit
    assert pruned.node_mask[kept.any(0)].all()
    assert pruned.node_mask[kept.any(1)].all()
    assert kept.any(0)[features].all()
    assert kept.any(1)[features].all()


@given(seed=SEEDS, node_share=SHARES)
def test_pruning_is_a_mask_that_can_be_undone_and_done_again(make_graph, seed, node_share):
    graph = make_graph(seed, n_attention=8)
    pruned = prune(graph, node_share=node_share)
    undone = pruned.unpruned()
    assert undone.node_mask is None
    assert undone.edge_mask is None
    assert undone.values is graph.values
    assert undone.hash == graph.hash == pruned.hash
    torch.testing.assert_close(pruned.prune(1, 1).node_mask, graph.prune(1, 1).node_mask)


def test_pruning_at_full_shares_keeps_every_edge_that_has_influence(make_graph):
    graph = make_graph(5)
    pruned = graph.prune(1, 1)
    useful = (graph.nodes.influence[graph.targets] > 0) | graph.nodes.is_kind("logit")[graph.targets]
    assert torch.equal(pruned.edge_mask, useful & ~graph.nodes.is_kind("bias")[graph.indices])


@given(seed=SEEDS, share=st.floats(0.01, 1), n=st.integers(1, 400), levels=st.integers(1, 50))
def test_the_threshold_found_by_halving_is_the_sorted_one(monkeypatch_at_once, seed, share, n, levels):
    generator = torch.Generator().manual_seed(seed)
    # few levels: ties; whole numbers: sums are exact in any order
    weights = torch.randint(0, levels, (n,), generator=generator).double()
    found = top_share(weights, share)
    if weights.sum() == 0:
        assert not found.any()
        return
    ranked = weights.sort(descending=True).values
    threshold = ranked[int(torch.searchsorted(ranked.cumsum(0), share * float(weights.sum())))]
    assert torch.equal(found, (weights >= threshold) & (weights > 0))


def test_the_top_share_is_the_fewest_that_reach_the_share_and_never_zeros():
    weights = torch.tensor([0.0, 5.0, 1.0, 4.0, 0.0])
    assert top_share(weights, 0.5).nonzero().flatten().tolist() == [1]
    assert top_share(weights, 0.51).nonzero().flatten().tolist() == [1, 3]
    assert top_share(weights, 1.0).nonzero().flatten().tolist() == [1, 2, 3]
    assert not top_share(weights, 0.0).any()
    assert not top_share(torch.zeros(3), 0.9).any()


@pytest.mark.parametrize("shares", [{"node_share": 1.2}, {"edge_share": -0.1}, {"node_share": float("nan")}])
def test_a_share_outside_0_to_1_is_refused(make_graph, shares):
    ((name, value),) = shares.items()
    with pytest.raises(UsageError, match=re.escape(f"{name} is {value}; it is a share, give a number from 0 to 1")):
        prune(make_graph(0), **shares)


@given(seed=SEEDS, node_share=SHARES)
def test_counting_removed_features_as_error_changes_no_targets_sum(make_graph, seed, node_share):
    graph = prune(make_graph(seed, n_attention=8), node_share=node_share, keep_errors=False)
    merged = removed_as_error(graph)
    assert exactness(merged) < 1e-12
    ids, left = graph.nodes.ids(), merged.nodes.ids()
    removed = {ids[i] for i in (graph.nodes.is_unit & ~graph.node_mask).nonzero().flatten().tolist()}
    assert not removed & {left[i] for i in (*merged.row_nodes.tolist(), *merged.indices.tolist())}


@given(seed=SEEDS)
def test_removed_features_are_added_to_the_error_of_their_place(make_graph, oracle, seed):
    graph = prune(make_graph(seed), node_share=0.5)
    dense = oracle.edges(graph)
    table = graph.nodes
    for node in (table.is_kind("feature") & ~graph.node_mask).nonzero().flatten().tolist():
        same_place = (table.layer == table.layer[node]) & (table.position == table.position[node])
        error = int((same_place & table.is_kind("error")).nonzero())
        dense[:, error] += dense[:, node]
        dense[:, node] = 0
        dense[node] = 0
    torch.testing.assert_close(oracle.edges(removed_as_error(graph)), dense)


@given(seed=SEEDS)
def test_removed_attention_is_added_to_the_rest_of_attention_of_its_place(make_graph, oracle, seed):
    graph = prune(make_graph(seed, n_attention=12), node_share=0.5)
    dense, names = oracle.edges(graph), graph.nodes.ids()
    merged = removed_as_error(graph)
    at = {node_id: i for i, node_id in enumerate(merged.nodes.ids())}
    expected = torch.zeros(merged.n_nodes, merged.n_nodes, dtype=torch.float64)
    table = graph.nodes
    name_after = list(names)
    for node in (table.is_unit & ~graph.node_mask).nonzero().flatten().tolist():
        what = "attn" if table.kinds[node] == "attention" else "error"
        name_after[node] = f"{int(table.layer[node])}_{what}_{int(table.position[node])}"
        dense[node] = 0
    for target, source in dense.nonzero().tolist():
        expected[at[names[target]], at[name_after[source]]] += dense[target, source]
    torch.testing.assert_close(oracle.edges(merged), expected)
    assert set(at) >= set(names)


def test_scoring_a_pruned_graph_counts_what_was_removed_as_error(make_graph):
    graph = make_graph(2, n_features=12)
    half, none = graph.prune(0.5), graph.prune(0, 0)
    assert scores(none, pruned=True).completeness < scores(half, pruned=True).completeness < scores(graph).completeness
    assert scores(none, pruned=True).replacement < scores(half, pruned=True).replacement < scores(graph).replacement
    assert scores(none) == scores(graph)
    assert scores(graph, pruned=True) == scores(graph)

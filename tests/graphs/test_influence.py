import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.graphs import (
    Graph,
    NodeLayout,
    cumulative_influence,
    edge_shares,
    influence,
    node_table,
    path_lengths,
    target_weights,
)

SEEDS = st.integers(0, 2**31)


@given(
    seed=SEEDS,
    n_layers=st.integers(1, 5),
    n_features=st.integers(0, 14),
    n_real=st.integers(0, 2),
    n_attention=st.integers(0, 12),
)
def test_influence_equals_the_sum_over_path_lengths(
    make_graph, oracle, seed, n_layers, n_features, n_real, n_attention
):
    graph = make_graph(seed, n_layers=n_layers, n_features=n_features, n_real=n_real, n_attention=n_attention)
    shares = oracle.shares(graph, oracle.edges(graph))
    torch.testing.assert_close(influence(graph), oracle.influence(shares, oracle.goal(graph)))
    torch.testing.assert_close(graph.nodes.influence, influence(graph))


@given(seed=SEEDS, n_attention=st.sampled_from([0, 9]))
def test_any_goal_can_be_asked_about(make_graph, oracle, seed, n_attention):
    graph = make_graph(seed, n_attention=n_attention)
    goal = torch.rand(graph.n_nodes, dtype=torch.float64)
    shares = oracle.shares(graph, oracle.edges(graph))
    torch.testing.assert_close(influence(graph, goal=goal), oracle.influence(shares, goal))


@given(seed=SEEDS)
def test_shares_of_a_row_add_up_to_one_and_biases_have_none(make_graph, seed):
    graph = make_graph(seed)
    shares = edge_shares(graph)
    sums = torch.zeros(len(graph.row_nodes), dtype=torch.float64).index_add_(0, graph.edge_rows, shares)
    assert torch.all(((sums - 1).abs() < 1e-12) | (sums == 0))
    assert not shares[graph.nodes.is_kind("bias")[graph.indices]].any()


def test_probabilities_of_targets_are_normalised(make_graph):
    weights = target_weights(make_graph(0))
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert not weights[~make_graph(0).nodes.is_kind("logit")].any()


def test_influence_equals_circuit_tracers_on_golden_graphs(golden, oracle):
    graph, dense = golden
    expected = oracle.influence(oracle.shares(graph, dense), oracle.goal(graph))
    torch.testing.assert_close(influence(graph), expected, rtol=1e-6, atol=1e-12)


def test_cumulative_influence_ranks_nodes_and_ends_at_one(make_graph):
    graph = make_graph(3)
    cumulative, column = cumulative_influence(graph), influence(graph)
    torch.testing.assert_close(cumulative.max(), torch.tensor(1.0, dtype=torch.float64))
    best = int(column.argmax())
    assert int(cumulative.argmin()) == best
    torch.testing.assert_close(cumulative[best], column[best] / column.sum())


def chain(*edges: tuple[str, str, float]) -> Graph:
    """token → f0 → f1 → logit and an error in layer 0, by name, with the edges given as (source, target, value)."""
    layout = NodeLayout(n_features=2, n_layers=2, n_positions=1, n_logits=1, n_real=0)
    nodes = node_table(
        layout,
        layer=torch.tensor([0, 1]),
        position=torch.tensor([0, 0]),
        feature=torch.tensor([3, 4]),
        activation=torch.ones(2),
        token_ids=[7],
        target_ids=[9],
        target_probabilities=[0.4],
        target_position=0,
    )
    name = {"f0": 0, "f1": 1, "error": layout.error(0, 0), "token": layout.token(0), "logit": layout.logit(0)}
    name |= {"bias": layout.constant}
    rows = torch.zeros(3, layout.size)
    row_of = {"f0": 0, "f1": 1, "logit": 2}
    for source, target, value in edges:
        rows[row_of[target], name[source]] = value
    row_nodes = torch.tensor([0, 1, layout.logit(0)])
    return Graph.from_rows(nodes=nodes, row_nodes=row_nodes, rows=rows, values_of_targets=rows.sum(1))


def test_path_lengths_of_a_hand_made_graph():
    graph = chain(("token", "f0", 1.0), ("f0", "f1", -2.0), ("f1", "logit", 3.0), ("token", "logit", -1.0))
    lengths = path_lengths(graph)
    torch.testing.assert_close(lengths.cumulative, torch.tensor([0.25, 0.25, 1.0], dtype=torch.float64))
    assert lengths.average == 0.25 * 1 + 0.75 * 3


@given(seed=SEEDS)
def test_path_lengths_count_all_influence_of_tokens_through_attention_too(make_graph, seed):
    graph = make_graph(seed, n_attention=12)
    shares, step, total = edge_shares(graph), target_weights(graph), []
    for _ in range(20):
        flow = shares * step[graph.targets]
        step = torch.zeros_like(step).index_add_(0, graph.indices, flow)
        total.append(float(step[graph.nodes.is_kind("token")].sum()))
    lengths = path_lengths(graph)
    n = len(lengths.cumulative)
    assert not any(total[n:])
    torch.testing.assert_close(lengths.cumulative.diff(), torch.tensor(total[1:n], dtype=torch.float64) / sum(total))


def test_scores_of_the_graph_that_tells_the_two_completeness_scores_apart():
    graph = chain(("token", "f0", 1.0), ("f0", "logit", 1.0), ("error", "logit", 1.0), ("bias", "logit", 50.0))
    scores = graph.scores()
    assert scores.replacement == 0.5
    torch.testing.assert_close(scores.completeness, 2 / 3)  # targets: the logit, weight 1, half; f0, weight .5, whole
    torch.testing.assert_close(scores.completeness_all_rows, 0.8)


def test_a_graph_of_an_error_alone_explains_nothing_except_by_circuit_tracers_count():
    scores = chain(("error", "logit", 1.0)).scores()
    assert (scores.replacement, scores.completeness, scores.completeness_all_rows) == (0.0, 0.0, 0.5)


def test_a_graph_without_edges_scores_zero_and_has_no_paths():
    graph = chain()
    assert graph.scores()[:2] == (0.0, 0.0)
    assert path_lengths(graph).average == 0.0


def test_shares_leave_the_edges_as_they_were():
    graph = chain(("token", "f0", -1.0), ("f0", "logit", -2.0), ("bias", "logit", 50.0))
    assert sorted(graph.values.tolist()) == [-2.0, -1.0, 50.0]
    graph.scores()
    assert sorted(graph.values.tolist()) == [-2.0, -1.0, 50.0]

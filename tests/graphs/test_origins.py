"""Origins in spans: a dense oracle over paths of every length, and what must add up."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.graphs import origins, target_weights

SEEDS = st.integers(0, 2**31)


@given(seed=SEEDS, n_layers=st.integers(1, 4), n_features=st.integers(0, 12), n_attention=st.sampled_from([0, 8]))
def test_origins_equal_the_sum_over_paths_from_the_spans_tokens(
    make_graph, oracle, seed, n_layers, n_features, n_attention
):
    graph = make_graph(seed, n_layers=n_layers, n_features=n_features, n_attention=n_attention)
    spans = [{0}, {1, 2}]
    A = oracle.shares(graph, oracle.edges(graph))
    reached = torch.eye(graph.n_nodes, dtype=torch.float64)  # I + A + A² + …
    step = reached
    while step.any():
        step = step @ A
        reached = reached + step
    is_token = graph.nodes.is_kind("token")
    for column, span in enumerate(spans):
        starts = is_token & torch.isin(graph.nodes.position, torch.tensor(sorted(span)))
        expected = reached @ starts.double()
        found = origins(graph, spans)
        torch.testing.assert_close(found.of_nodes[:, column], expected)
        torch.testing.assert_close(found.of_targets[column], target_weights(graph) @ expected)


@given(seed=SEEDS)
def test_all_tokens_and_errors_make_up_all_that_is_explained(make_graph, seed):
    graph = make_graph(seed)
    n_positions = int(graph.nodes.position.max()) + 1
    found = origins(graph, [{position} for position in range(n_positions)])
    total = float(found.of_targets.sum()) + found.errors
    assert total <= 1 + 1e-9
    assert (found.of_nodes >= 0).all()
    assert (found.of_nodes.sum(1) <= 1 + 1e-9).all()

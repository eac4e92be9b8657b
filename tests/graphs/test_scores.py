import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.graphs import Scores, exactness, scores

SEEDS = st.integers(0, 2**31)


@given(seed=SEEDS, n_layers=st.integers(1, 5), n_attention=st.sampled_from([0, 8]))
def test_scores_equal_circuit_tracers_where_they_mean_the_same(make_graph, oracle, seed, n_layers, n_attention):
    graph = make_graph(seed, n_layers=n_layers, n_attention=n_attention)
    replacement, completeness = oracle.scores(graph, oracle.edges(graph))
    assert scores(graph).replacement == pytest.approx(replacement)
    assert scores(graph).completeness_all_rows == pytest.approx(completeness)


def test_scores_equal_circuit_tracers_on_golden_graphs(golden, oracle):
    graph, dense = golden
    replacement, completeness = oracle.scores(graph, dense)
    assert scores(graph).replacement == pytest.approx(replacement, rel=1e-6)
    assert scores(graph).completeness_all_rows == pytest.approx(completeness, rel=1e-6)


@given(seed=SEEDS)
def test_the_papers_completeness_never_exceeds_the_one_over_all_rows(make_graph, seed):
    found = scores(make_graph(seed))
    assert found.completeness <= found.completeness_all_rows + 1e-12


def test_scores_are_printed_in_a_line():
    assert str(Scores(0.9251, 0.9639, 0.97)) == "replacement .925, completeness .964 (whole graph)"
    kept = Scores(1.0, float("nan"), 0.97, "what the file kept")
    assert f"{kept}" == "replacement 1.000, completeness not known (what the file kept)"


def test_exactness_is_zero_when_rows_add_up(make_graph):
    assert exactness(make_graph(1)) < 1e-14


def test_exactness_is_the_worst_relative_error(make_graph):
    graph = make_graph(1)
    values = graph.values_of_targets.clone()
    values[3] += 0.5
    size = graph.values[graph.edge_rows == 3].abs().sum()
    assert exactness(replace(graph, values_of_targets=values)) == pytest.approx(0.5 / float(size))


def test_a_value_that_no_edge_explains_is_infinitely_wrong(make_graph):
    graph = make_graph(1, n_features=0)
    no_edges = {"indptr": torch.zeros_like(graph.indptr), "indices": graph.indices[:0], "values": graph.values[:0]}
    assert exactness(replace(graph, **no_edges)) == math.inf
    assert exactness(replace(graph, **no_edges, values_of_targets=torch.zeros(len(graph.row_nodes)))) == 0.0

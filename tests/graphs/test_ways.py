"""Every unit of a circuit has a way from words and to an answer, whatever the graph."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.graphs import Graph, Group, NodeLayout, Story, StoryGroup, circuit_of, collapse, influence, node_table
from silverstain.graphs.ways import SMALLEST_SHARE, _Ways


def layered(n: int, *, hidden: bool = False) -> Graph:
    """One word feeds `n` features, which all feed the answer; with `hidden`, by way of one more small feature each."""
    n_features, layers = (2 * n, [0] * n + [1] * n) if hidden else (n, [0] * n)
    layout = NodeLayout(n_features=n_features, n_layers=2, n_positions=3, n_logits=1)
    nodes = node_table(
        layout,
        layer=torch.tensor(layers),
        position=torch.full((n_features,), 2),
        feature=torch.arange(n_features),
        activation=torch.ones(n_features),
        token_ids=[0, 1, 2],
        target_ids=[7],
        target_probabilities=[0.9],
        target_position=2,
    )
    rows = torch.zeros(n_features + 1, layout.size, dtype=torch.float64)
    rows[:n, layout.token(1)] = 1.0
    if hidden:
        rows[range(n, 2 * n), range(n)] = 1.0
        rows[-1, n : 2 * n] = torch.linspace(1.0, 2.0, n, dtype=torch.float64)
    else:
        rows[-1, :n] = torch.linspace(1.0, 2.0, n, dtype=torch.float64)
    row_nodes = torch.tensor([*range(n_features), layout.logit(0)])
    meta = {"tokens": ["<s>", "in", "at"], "targets": [{"name": "out", "id": 7, "probability": 0.9}]}
    return Graph.from_rows(nodes=nodes, row_nodes=row_nodes, rows=rows, values_of_targets=rows.sum(1), meta=meta)


def units_of(circuit):
    return [node for node in circuit.nodes if node.kind not in ("token", "logit", "error")]


@pytest.mark.parametrize(("n", "boxes", "drawn"), [(50, 12, 12), (300, 25, 25), (9, 30, 9)])
def test_boxes_are_filled_however_small_the_units_are(n: int, boxes: int, drawn: int):
    circuit = circuit_of(layered(n), Story(), max_groups=boxes)
    assert len(units_of(circuit)) == drawn
    if n > 1 / SMALLEST_SHARE:
        assert max(abs(e.weight) for e in circuit.edges if circuit.nodes[e.target].kind == "logit") < SMALLEST_SHARE
    for node in range(len(circuit.nodes)):
        if circuit.nodes[node].kind == "feature":
            assert any(edge.source == node for edge in circuit.edges)
            assert any(edge.target == node for edge in circuit.edges)


def test_what_acts_through_units_that_are_not_drawn_is_joined_by_the_sum_of_those_paths():
    graph = layered(6, hidden=True)
    first = [f"0_{i}_2" for i in range(6)]
    story = Story(groups=(StoryGroup(label="all of layer 0", members=tuple(first)),))
    circuit = circuit_of(graph, story, max_groups=1)
    (edge,) = [edge for edge in circuit.edges if circuit.nodes[edge.target].kind == "logit"]
    assert not edge.is_direct
    assert edge.weight == pytest.approx(1.0)


@given(seed=st.integers(0, 2**31))
def test_paths_through_hidden_units_are_a_geometric_series(make_graph, seed: int):
    graph = make_graph(seed, n_features=10)
    groups = [Group(label="a", members=(1, 2)), Group(label="answer", members=(graph.n_nodes - 1,))]
    got = _Ways(graph, collapse(graph, groups)).through(1)[0]
    dense = torch.zeros(graph.n_nodes, graph.n_nodes, dtype=torch.float64)
    sizes = graph.values.abs().clone()
    sizes[graph.nodes.is_kind("bias")[graph.indices]] = 0
    dense[graph.targets, graph.indices.long()] = sizes * graph.values.sign()
    dense /= dense.abs().sum(1, keepdim=True).clamp(min=1e-300)
    hidden = torch.ones(graph.n_nodes, dtype=torch.bool)
    hidden[[1, 2, graph.n_nodes - 1]] = False
    inner = torch.linalg.inv(torch.eye(int(hidden.sum()), dtype=torch.float64) - dense[hidden][:, hidden])
    answer = graph.n_nodes - 1
    want = dense[answer] + dense[answer, hidden] @ inner @ dense[hidden]
    assert float(got) == pytest.approx(float(want[[1, 2]].sum()), abs=1e-9)


def test_unnamed_units_stand_beside_named_ones_by_their_influence():
    graph = layered(8)
    strongest = int(torch.where(graph.nodes.is_kind("feature"), influence(graph), 0.0).argmax())
    weakest = graph.nodes.ids()[0]
    story = Story(groups=(StoryGroup(label="a concept", members=(weakest,)),), labels={"0_5": "writes out"})
    labels = [node.label for node in units_of(circuit_of(graph, story, max_groups=20))]
    assert f"L0.F{strongest}" in labels
    assert {"a concept", "writes out"} <= set(labels)
    assert len(labels) == 8


def test_units_of_one_label_are_told_apart():
    story = Story(labels={"0_1": "writes out", "0_2": "writes out"})
    labels = [node.label for node in units_of(circuit_of(layered(4), story))]
    assert {"writes out (L0.F1@2)", "writes out (L0.F2@2)"} <= set(labels)


def test_a_node_in_two_groups_is_drawn_in_the_first():
    groups = (StoryGroup(label="one", members=("0_1_2", "0_2_2")), StoryGroup(label="two", members=("0_2_2", "0_3_2")))
    found = {node.label: node.n_members for node in units_of(circuit_of(layered(4), Story(groups=groups)))}
    assert found["one"] == 2
    assert found["two"] == 1


def test_words_without_a_name_are_called_by_their_place():
    graph = replace(layered(3), meta={"targets": []})
    assert "@1" in {node.label for node in circuit_of(graph, Story()).nodes if node.kind == "token"}


def test_errors_are_a_source_where_much_passes_through_them(make_graph):
    graph = make_graph(3, n_features=12)
    assert graph.scores().replacement < 0.8
    circuit = circuit_of(graph, Story())
    (error,) = [node for node in circuit.nodes if node.kind == "error"]
    assert error.n_members == graph.nodes.count()["error"]
    assert not any(circuit.nodes[edge.target].kind == "error" for edge in circuit.edges)
    assert not [node for node in circuit_of(layered(4), Story()).nodes if node.kind == "error"]

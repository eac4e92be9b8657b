"""The few nodes and edges of a circuit, chosen from any graph."""

from dataclasses import replace

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silverstain.graphs import Group, Story, circuit_of, collapse, counts_of, group_shares, groups_of, story_groups
from silverstain.graphs.circuit import word_spans


def story_of(graph) -> Story:
    """Two groups of features; the others have none."""
    groups = [Group(label="early", members=(0, 1)), Group(label="late", members=(5, 6, 7, 8))]
    return Story(groups=story_groups(graph, groups))


@given(seed=st.integers(0, 2**31), with_groups=st.booleans(), n=st.integers(1, 8))
def test_a_circuit_has_no_cycle_and_all_of_it_leads_to_an_answer(make_graph, seed, with_groups, n):
    graph = make_graph(seed, n_features=12)
    circuit = circuit_of(graph, story_of(graph) if with_groups else Story(), max_groups=n)
    drawn = networkx.DiGraph((edge.source, edge.target) for edge in circuit.edges)
    answers = [i for i, node in enumerate(circuit.nodes) if node.kind == "logit"]
    drawn.add_nodes_from(answers)
    assert networkx.is_directed_acyclic_graph(drawn)
    lead_there = set(answers).union(*(networkx.ancestors(drawn, answer) for answer in answers))
    assert lead_there == set(range(len(circuit.nodes)))
    assert len(answers) == 2
    assert sum(node.kind not in ("token", "logit", "error") for node in circuit.nodes) <= n


@given(seed=st.integers(0, 2**31))
def test_edges_are_those_between_groups_and_shares_are_of_all_influence(make_graph, seed):
    graph = make_graph(seed, n_features=12)
    story = story_of(graph)
    circuit, groups = circuit_of(graph, story), story.groups_in(graph)
    answer = Group(label="answer", members=(graph.n_nodes - 1,))
    between = collapse(graph, [*groups, answer]).weights
    index = {"early": 0, "late": 1, graph.target_names[-1]: 2}
    for edge in circuit.edges:
        source, target = (circuit.nodes[end].label for end in (edge.source, edge.target))
        if {source, target} <= index.keys():
            assert edge.weight == pytest.approx(float(between[index[target], index[source]]))
    share = dict(zip(("early", "late"), group_shares(graph, groups).tolist(), strict=True))
    shown = {node.label: node.share for node in circuit.nodes if node.label in share}
    assert shown == pytest.approx({label: share[label] for label in shown})
    features = Group(label="features", members=tuple(range(12)))
    drawn = sum(node.share for node in circuit.nodes if node.kind not in ("token", "logit", "error"))
    assert circuit.left_out == pytest.approx(float(group_shares(graph, [features])) - drawn)


def test_pieces_of_a_word_are_one_span():
    assert word_spans(["the", "dal", "##las", "is"]) == [range(1), range(1, 3), range(3, 4)]
    assert word_spans([]) == []


def test_counts_and_groups_are_what_json_can_hold(make_graph):
    graph = make_graph(0)
    counts = counts_of(graph)
    assert counts["nodes"] == graph.nodes.count() | {"active": 9}
    assert "kept" not in counts
    pruned = graph.prune(0.5)
    assert counts_of(pruned)["kept"] == {"nodes": int(pruned.node_mask.sum()), "edges": int(pruned.edge_mask.sum())}
    assert counts_of(replace(graph, meta={"active_features": 40}))["nodes"]["active"] == 40
    early, late = groups_of(graph, story_of(graph))
    assert early["members"] == graph.nodes.ids()[:2]
    assert late["share"] == pytest.approx(float(group_shares(graph, [Group(label="late", members=(5, 6, 7, 8))])))

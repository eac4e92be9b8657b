import re
from dataclasses import replace

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.graphs import Graph, NodeLayout, node_table


def test_layout_gives_every_node_one_place():
    layout = NodeLayout(n_features=3, n_layers=2, n_positions=4, n_logits=2, n_real=1)
    places = [
        *range(layout.features.stop),
        *(layout.error(layer, p) for layer in range(2) for p in range(1, 4)),
        *(layout.token(p) for p in range(4)),
        layout.constant,
        *(layout.decoder_bias(layer) for layer in range(2)),
        *(layout.real_mlp(layer, 0) for layer in range(2)),
        *(layout.logit(k) for k in range(2)),
    ]
    assert places == list(range(layout.size))


def test_layout_of_a_prompt_shorter_than_its_real_positions_is_refused():
    with pytest.raises(ValueError, match="2 leading positions do not fit in 1 positions"):
        NodeLayout(n_features=0, n_layers=1, n_positions=1, n_logits=1, n_real=2)


def test_columns_say_what_stands_where(make_graph):
    nodes = make_graph(0).nodes
    assert nodes.count() == {"feature": 9, "error": 9, "token": 4, "bias": 7, "logit": 2}
    assert nodes.layer[nodes.span("token")].tolist() == [-1] * 4
    assert nodes.layer[nodes.span("logit")].tolist() == [3, 3]
    assert nodes.layer[nodes.span("error")].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert nodes.position[nodes.span("error")].tolist() == [1, 2, 3] * 3
    assert nodes.layer[nodes.span("bias")].tolist() == [-1, 0, 1, 2, 0, 1, 2]
    assert nodes.position[nodes.span("bias")].tolist() == [-1, -1, -1, -1, 0, 0, 0]
    assert nodes.kinds[0] == "feature"
    assert nodes.n_layers == 3


def test_ids_are_unique(make_graph):
    ids = make_graph(0).nodes.ids()
    assert len(set(ids)) == len(ids)


def test_two_directions_as_targets_have_two_ids(make_graph):
    nodes = make_graph(0).nodes
    token = nodes.token.clone()
    token[nodes.span("logit")] = -1
    ids = replace(nodes, token=token).ids()
    assert ids[-2:] == ["4_direction0_3", "4_direction1_3"]


def test_matrix_has_targets_as_rows_and_shows_pruning_only_when_asked(make_graph, oracle):
    graph = make_graph(4).prune(0.5)
    dense = oracle.edges(graph)
    assert torch.equal(torch.from_numpy(graph.matrix().toarray()), dense)
    pruned = torch.from_numpy(graph.matrix(pruned=True).toarray())
    assert (pruned != 0).sum() == graph.edge_mask.sum() < (dense != 0).sum()


def test_incoming_and_outgoing_are_rows_and_columns(make_graph, oracle):
    graph = make_graph(4)
    dense = oracle.edges(graph)
    for node in (0, 5, 12, 20, graph.n_nodes - 1):
        sources, values = graph.incoming(node)
        assert torch.equal(dense[node, sources], values)
        assert len(sources) == (dense[node] != 0).sum()
        targets, values = graph.outgoing(node)
        assert torch.equal(dense[targets, node], values)
        assert len(targets) == (dense[:, node] != 0).sum()


def test_networkx_graph_has_the_kept_nodes_and_edges(make_graph):
    graph = make_graph(4).prune(0.5)
    drawn = graph.to_networkx()
    assert drawn.number_of_nodes() == graph.node_mask.sum()
    assert drawn.number_of_edges() == graph.edge_mask.sum()
    source, target, data = next(iter(drawn.edges(data=True)))
    assert graph.matrix()[target, source] == data["weight"]
    assert drawn.nodes[source]["kind"] in ("feature", "error", "token")


def test_pandas_is_asked_for_when_it_is_missing(make_graph, monkeypatch):
    import importlib

    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(UsageError, match=re.escape("this needs pandas, which is not installed; install it: pip")):
        make_graph(0).to_pandas()


def test_rows_out_of_order_are_refused(make_graph):
    graph = make_graph(0)
    with pytest.raises(ValueError, match="must stand in the one order of nodes"):
        replace(graph, row_nodes=graph.row_nodes.flip(0))


def test_edges_into_tokens_are_refused(make_graph):
    graph = make_graph(0)
    row_nodes = graph.row_nodes.clone()
    row_nodes[-1] = graph.nodes.span("token").start
    with pytest.raises(ValueError, match=r"one order of nodes|only features, attention and logits have rows"):
        replace(graph, row_nodes=row_nodes.sort().values)


def test_layout_puts_attention_between_features_and_errors():
    layout = NodeLayout(n_features=3, n_layers=2, n_positions=4, n_logits=2, n_attention=5)
    without = NodeLayout(n_features=3, n_layers=2, n_positions=4, n_logits=2)
    assert (layout.attentions.start, layout.attentions.stop) == (3, 8)
    assert layout.error(1, 2) == without.error(1, 2) + 5
    assert layout.size == without.size + 5


def test_attention_has_columns_ids_and_a_depth_of_its_own(make_graph):
    nodes = make_graph(0, n_attention=40).nodes
    attention = nodes.is_kind("attention")
    assert nodes.key is not None
    assert (nodes.key[~attention] == -1).all()
    for name, depth, layer, kind in zip(
        nodes.ids(), nodes.depth.tolist(), nodes.layer.tolist(), nodes.kinds, strict=True
    ):
        expected = {"token": -1, "attention": 2 * layer, "logit": 2 * nodes.n_layers + 1}.get(kind, 2 * layer + 1)
        assert depth == expected, name
    assert {"2_attn1_3_0", "2_attn_3"} & set(nodes.ids())
    assert len(set(nodes.ids())) == len(nodes)
    assert nodes.count()["attention"] == int(attention.sum())
    assert make_graph(0).nodes.key is None


def test_columns_of_attention_are_given_all_or_none():
    layout = NodeLayout(n_features=0, n_layers=1, n_positions=1, n_logits=1, n_real=0, n_attention=1)
    none = torch.zeros(0, dtype=torch.long)
    columns = {"layer": none, "position": none, "feature": none, "activation": torch.zeros(0), "token_ids": [1]}
    targets = {"target_ids": [2], "target_probabilities": [1.0], "target_position": 0}
    with pytest.raises(ValueError, match="1 nodes of attention are given the columns layer, head"):
        node_table(layout, **columns, **targets, attention_layer=none, attention_head=none)
    with pytest.raises(ValueError, match="1 nodes of attention are given the columns none"):
        node_table(layout, **columns, **targets)


def attention_beside_feature(source: str, target: str) -> Graph:
    """One layer with a feature, a node of attention and the rest of attention; one edge between two of these."""
    layout = NodeLayout(n_features=1, n_layers=1, n_positions=1, n_logits=1, n_real=0, n_attention=2)
    zero = torch.zeros(1, dtype=torch.long)
    nodes = node_table(
        layout, layer=zero, position=zero, feature=zero, activation=torch.ones(1), token_ids=[1], target_ids=[2],
        target_probabilities=[1.0], target_position=0, attention_layer=torch.zeros(2, dtype=torch.long),
        attention_position=torch.zeros(2, dtype=torch.long), attention_head=torch.tensor([-1, 0]),
        attention_key=torch.tensor([-1, 0]), attention_activation=torch.tensor([0.0, -0.5]),
    )  # fmt: skip
    place = {"feature": 0, "rest": 1, "attention": 2, "logit": layout.logit(0)}
    rows = torch.zeros(1, layout.size)
    rows[0, place[source]] = 1.0
    return Graph.from_rows(
        nodes=nodes, row_nodes=torch.tensor([place[target]]), rows=rows, values_of_targets=torch.ones(1)
    )


def test_in_a_layer_attention_comes_before_features():
    assert attention_beside_feature("attention", "feature").n_edges == 1
    assert attention_beside_feature("rest", "feature").n_edges == 1
    with pytest.raises(
        ValueError, match="an edge does not run from a lower layer to a higher one, in a layer from att"
    ):
        attention_beside_feature("feature", "attention")


def test_nothing_enters_the_rest_of_attention():
    with pytest.raises(ValueError, match="the rest of attention has a row, but nothing enters it"):
        attention_beside_feature("logit", "rest")


def test_attention_without_keys_is_refused(make_graph):
    graph = make_graph(0, n_attention=3)
    with pytest.raises(ValueError, match="no column `key` to say which position each reads from"):
        replace(graph, nodes=replace(graph.nodes, key=None))

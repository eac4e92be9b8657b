import json
import re

import pytest

from silverstain.errors import UsageError
from silverstain.graphs import Group, Story, cumulative_influence, graph_json, story_groups

NODE_KEYS = {"node_id", "jsNodeId", "feature", "layer", "ctx_idx", "feature_type", "clerp"}  # required by the schema


@pytest.fixture
def graph(make_graph):
    return make_graph(4, n_features=12).prune(0.7)


def test_the_object_has_what_the_viewers_require(graph):
    content = graph_json(graph, slug="dallas")
    assert set(content) == {"metadata", "qParams", "nodes", "links"}
    assert {"slug", "scan", "prompt_tokens", "prompt"} <= set(content["metadata"])
    assert content["metadata"]["prompt_tokens"] == ["t0", "t1", "t2", "t3"]
    assert content["metadata"]["scan"] == "toy-dictionary"  # Neuronpedia takes no slash
    assert content["metadata"]["node_threshold"] == 0.7
    assert isinstance(content["qParams"]["pinnedIds"], list)
    for node in content["nodes"]:
        assert set(node) >= NODE_KEYS
        assert isinstance(node["feature"], int)
        assert node["jsNodeId"] == node["node_id"]
        assert "supernode-" not in node["node_id"]


def test_node_ids_are_unique_and_links_join_them(graph):
    content = graph_json(graph, slug="dallas")
    ids = [node["node_id"] for node in content["nodes"]]
    assert len(set(ids)) == len(ids)
    assert {link[end] for link in content["links"] for end in ("source", "target")} <= set(ids)
    assert len(content["links"]) == graph.edge_mask.sum()


def test_features_are_cantor_pairs_and_influence_is_the_cumulative_share(graph):
    content = graph_json(graph, slug="dallas")
    node = next(n for n in content["nodes"] if n["feature_type"] == "cross layer transcoder")
    layer, feature, position = map(int, node["node_id"].split("_"))
    assert node["feature"] == (layer + feature) * (layer + feature + 1) // 2 + feature
    assert (node["layer"], node["ctx_idx"]) == (str(layer), position)
    index = graph.nodes.ids().index(node["node_id"])
    assert node["influence"] == float(cumulative_influence(graph)[index])
    assert node["activation"] == float(graph.nodes.activation[index])


def test_logits_carry_the_words_that_viewers_parse(graph):
    logits = [n for n in graph_json(graph, slug="dallas")["nodes"] if n["feature_type"] == "logit"]
    assert [n["is_target_logit"] for n in logits] == [True, False]
    assert re.fullmatch(r'Output " x0" \(p=0\.\d{3}\)', logits[0]["clerp"])
    assert logits[0]["token_prob"] == pytest.approx(float(graph.nodes.activation[graph.nodes.span("logit").start]))
    assert logits[0]["layer"] == "4"


def test_biases_are_left_out_and_an_unpruned_graph_is_shown_whole(make_graph):
    graph = make_graph(4)
    content = graph_json(graph, slug="whole")
    biases = graph.nodes.is_kind("bias")[graph.indices]
    assert len(content["links"]) == graph.n_edges - int(biases.sum())
    assert not any(n["node_id"].startswith("bias") for n in content["nodes"])


def test_a_story_gives_labels_pins_and_groups(graph):
    shown = [n["node_id"] for n in graph_json(graph, slug="s")["nodes"] if n["layer"] != "E"]
    index = graph.nodes.ids().index(shown[0])
    groups = story_groups(graph, [Group(label="texas", members=(index,))])
    story = Story(pins=(shown[0], "no_such_node"), groups=groups, labels={shown[0]: "fires on texas"})
    content = graph_json(graph, slug="s", story=story)
    assert content["qParams"]["pinnedIds"] == [shown[0]]
    assert content["qParams"]["supernodes"] == [["texas", shown[0]]]
    assert next(n for n in content["nodes"] if n["node_id"] == shown[0])["clerp"] == "fires on texas"


def test_the_file_is_the_object(graph, tmp_path):
    path = tmp_path / "the capital.json"
    graph.to_json(path)
    assert json.loads(path.read_text()) == graph_json(graph, slug="the-capital")


def test_a_slug_that_neuronpedia_refuses_is_refused(graph):
    with pytest.raises(UsageError, match=re.escape("the slug 'a b' has other characters")):
        graph_json(graph, slug="a b")

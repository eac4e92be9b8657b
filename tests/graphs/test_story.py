import re

import pytest

from silverstain.errors import UsageError
from silverstain.graphs import Group, Story, story_groups
from silverstain.storage import write_json_whole


def story_of(graph):
    ids = graph.nodes.ids()
    return Story(
        graph_hash=graph.hash,
        pins=(ids[0], ids[-1]),
        groups=story_groups(graph, [Group(label="texas", members=(1, 2), kind="concept")]),
        labels={ids[1]: "fires here", "_".join(ids[2].split("_")[:2]): "fires anywhere"},
        notes=("the state is read at 'las'",),
        evidence=({"experiment": "swap", "kl": 1.5, "holds": True},),
    )


def test_a_story_comes_back_from_its_file_as_it_went(make_graph, tmp_path):
    story = story_of(make_graph(0))
    story.save(tmp_path / "story.json")
    assert Story.load(tmp_path / "story.json") == story


def test_labels_are_found_by_node_and_by_feature(make_graph):
    graph = make_graph(0)
    story = story_of(graph)
    assert story.label_of(graph.nodes, 1) == "fires here"
    assert story.label_of(graph.nodes, 2) == "fires anywhere"
    assert story.label_of(graph.nodes, 3) is None


def test_groups_come_back_as_nodes_and_strangers_are_left_out(make_graph):
    graph = make_graph(0)
    story = story_of(graph)
    assert story.groups_in(graph) == [Group(label="texas", members=(1, 2), kind="concept")]
    assert story.groups_in(make_graph(0, n_features=2))[0].members in [(), (0,), (1,), (0, 1)]


def test_another_file_is_refused(tmp_path):
    write_json_whole(tmp_path / "s.json", {"format": "silverstain.graph/1"})
    with pytest.raises(UsageError, match=re.escape("is not a silverstain.story/1 file")):
        Story.load(tmp_path / "s.json")


@pytest.mark.parametrize("part", [{"groups": [{"label": "x"}]}, {"pins": 3}, {"groups": [1]}])
def test_a_story_of_another_form_is_refused(tmp_path, part):
    write_json_whole(tmp_path / "s.json", {"format": "silverstain.story/1", **part})
    with pytest.raises(UsageError, match="a part of the story has another form"):
        Story.load(tmp_path / "s.json")

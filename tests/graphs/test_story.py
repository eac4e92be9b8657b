import re
from dataclasses import replace

import pytest

from silverstain.errors import UsageError
from silverstain.graphs import Group, Story, open_with_story, story_beside, story_groups
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


def test_groups_come_back_as_nodes_and_members_that_are_not_there_are_left_out(make_graph):
    graph = make_graph(0)
    story = story_of(graph)
    assert story.groups_in(graph) == [Group(label="texas", members=(1, 2), kind="concept")]
    fewer = replace(story, groups=(replace(story.groups[0], members=(*story.groups[0].members, "9_9_9")),))
    assert fewer.groups_in(graph) == story.groups_in(graph)


def test_evidence_takes_the_place_of_earlier_evidence_of_its_kind(make_graph):
    story = replace(story_of(make_graph(0)), evidence=({"kind": "swap", "kl": 1.5}, {"kind": "verification", "n": 1}))
    found = story.with_evidence("abc", {"kind": "verification", "n": 2})
    assert found == replace(
        story, graph_hash="abc", evidence=({"kind": "swap", "kl": 1.5}, {"kind": "verification", "n": 2})
    )


def test_a_graph_is_opened_with_the_story_beside_it(make_graph, tmp_path):
    graph, file = make_graph(0), tmp_path / "dallas.safetensors"
    graph.save(file)
    assert open_with_story(file)[1] == Story(graph_hash=graph.hash)
    assert story_beside(file) == tmp_path / "dallas.story.json"
    story_of(graph).save(story_beside(file))
    opened, story = open_with_story(file)
    assert (opened.hash, story) == (graph.hash, story_of(graph))


def test_another_file_is_refused(tmp_path):
    write_json_whole(tmp_path / "s.json", {"format": "silverstain.graph/1"})
    with pytest.raises(UsageError, match=re.escape("is not a silverstain.story/1 file")):
        Story.load(tmp_path / "s.json")


@pytest.mark.parametrize("part", [{"groups": [{"label": "x"}]}, {"pins": 3}, {"groups": [1]}])
def test_a_story_of_another_form_is_refused(tmp_path, part):
    write_json_whole(tmp_path / "s.json", {"format": "silverstain.story/1", **part})
    with pytest.raises(UsageError, match="a part of the story has another form"):
        Story.load(tmp_path / "s.json")

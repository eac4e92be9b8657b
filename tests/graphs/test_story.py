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
    before, after = ({"kind": "verification", "verdicts": {"confirmed": n}} for n in (1, 2))
    story = replace(story_of(make_graph(0)), evidence=({"kind": "swap", "kl": 1.5}, before))
    found = story.with_evidence("abc", after)
    assert found == replace(story, graph_hash="abc", evidence=({"kind": "swap", "kl": 1.5}, after))


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


VERIFIED = {"kind": "verification", "verdicts": {"confirmed": 3}}


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"groups": [{"label": "x"}]}, "groups.0.members: field required"),
        ({"groups": [{"label": "a", "members": [["x"]]}]}, "groups.0.members.0: input should be a valid string"),
        ({"groups": [{"label": "x" * 30_000, "members": []}]}, "groups.0.label: string should have at most 10000"),
        ({"groups": [1]}, "groups.0"),
        ({"groups": None}, "groups"),
        ({"pins": 3}, "pins: input should be a valid list (seen: 3)"),
        ({"labels": {"0_1_2": 7}}, "labels.0_1_2: input should be a valid string (seen: 7)"),
        ({"labels": []}, "labels"),
        ({"notes": "a note"}, "notes: input should be a valid list"),
        ({"graph_hash": 5}, "graph_hash"),
        ({"evidence": ["a"]}, "evidence.0"),
        ({"evidence": [{"kind": "verification"}]}, "verdicts"),
        ({"evidence": [VERIFIED | {"verdicts": {"confirmed": "many"}}]}, "verdicts.confirmed"),
        ({"evidence": [VERIFIED | {"ghosts": [{}]}]}, "ghosts.0.id"),
        ({"evidence": [VERIFIED | {"inhibited": [{"id": "0_1_2", "says": 4, "wakes": True}]}]}, "says"),
        ({"evidence": [VERIFIED | {"inhibited": 3}]}, "inhibited"),
    ],
)
def test_a_story_of_another_form_is_refused_where_it_is_wrong(tmp_path, part, words):
    write_json_whole(tmp_path / "s.json", {"format": "silverstain.story/1", **part})
    with pytest.raises(UsageError, match=rf"(?s)^cannot read .*s\.json: .*{re.escape(words)}") as raised:
        Story.load(tmp_path / "s.json")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 700


def test_evidence_with_the_former_name_of_its_features_is_read(tmp_path):
    ghost = {"id": "0_1_2", "says": "texas", "wakes": True}
    write_json_whole(
        tmp_path / "s.json", {"format": "silverstain.story/1", "evidence": [VERIFIED | {"ghosts": [ghost]}]}
    )
    assert Story.load(tmp_path / "s.json").evidence == (VERIFIED | {"ghosts": [ghost]},)


def test_evidence_that_could_not_be_read_again_is_not_taken_in(make_graph):
    with pytest.raises(ValueError, match="verdicts"):
        story_of(make_graph(0)).with_evidence("abc", {"kind": "verification"})

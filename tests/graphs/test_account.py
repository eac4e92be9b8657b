"""A graph in sentences."""

import torch
from tests.graphs.test_roles import planted

from silverstain.graphs import Graph, Story, StoryGroup, account_of, group_shares


def test_every_sentence_about_a_group_has_its_share():
    graph = planted()
    ids = graph.nodes.ids()
    story = Story(groups=(StoryGroup(label="texas", members=tuple(ids[:6])),))
    told = account_of(graph, story)
    sentence = next(one for one in told.sentences if one.about == "group")
    assert sentence.groups[0] == "texas"
    share = float(group_shares(graph, story.groups_in(graph))[0])
    assert dict(sentence.numbers)["share"] == share
    assert f"carries {100 * share:.0f} % of the influence" in sentence.text
    assert told == account_of(graph, story)


def test_it_begins_with_the_answer_and_ends_with_what_is_not_explained(make_graph):
    told = account_of(make_graph(2, n_features=20)).sentences
    assert told[0].about == "what"
    assert told[-1].about == "left"
    assert any("silverstain verify" in one.text for one in told)


def test_what_strangers_wrote_is_escaped():
    graph = planted(tokens=("<bos>", "<script>x</script>", "\x1b[31mred", "is"))
    ids = graph.nodes.ids()
    story = Story(groups=(StoryGroup(label="<img onerror=alert(1)>*\x07", members=tuple(ids[:6])),))
    told = account_of(graph, story)
    assert "<img" not in told.html()
    assert "<script" not in told.html()
    assert "<img" not in told.markdown()
    assert "\x1b" not in str(told) + told.markdown() + told.html()
    assert "\x07" not in str(told)


def test_a_graph_without_edges_is_told_as_one():
    graph = planted()
    bare = Graph.from_rows(
        nodes=graph.nodes, row_nodes=graph.row_nodes, rows=torch.zeros(len(graph.row_nodes), graph.n_nodes),
        values_of_targets=graph.values_of_targets, meta=graph.meta,
    )  # fmt: skip
    assert "the graph has no edges" in str(account_of(bare))
    assert "nothing to read" in str(account_of(planted(errors=100.0)))

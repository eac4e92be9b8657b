"""Groups by role: what is alike is together, what is opposite is apart."""

import torch
from tests.cli.conftest import tiny as tiny

import silverstain
from silverstain.graphs import Graph, NodeLayout, Story, find_roles, node_table, propose
from silverstain.graphs.roles import explained_by_features, nothing_to_read


def planted(*, tokens: tuple[str, ...] = ("<bos>", "dallas", "capital", "is"), errors: float = 0.0) -> Graph:
    """Twelve features at two positions and three layers: some carry word 1, some word 2, some write against it."""
    places = [
        (layer, position, feature) for layer in range(3) for position, feature in ((1, 5), (2, 6), (3, 7), (3, 8))
    ]
    layout = NodeLayout(n_features=len(places), n_layers=3, n_positions=4, n_logits=1)
    layer, position, feature = (torch.tensor(column) for column in zip(*places, strict=True))
    nodes = node_table(
        layout, layer=layer, position=position, feature=feature, activation=torch.ones(len(places)),
        token_ids=[0, 1, 2, 3], target_ids=[9], target_probabilities=[1.0], target_position=3,
    )  # fmt: skip
    row_nodes = torch.tensor([*range(len(places)), layout.logit(0)])
    rows = torch.zeros(len(row_nodes), layout.size)
    for row, (at_layer, at, which) in enumerate(places):
        word = {5: 1, 6: 2, 7: 1, 8: 2}[which]
        rows[row, layout.token(word)] = 1.0
        rows[-1, row] = -1.0 if (which, at_layer) == (7, 0) else 1.0
        if errors and at_layer:
            rows[row, layout.error(at_layer - 1, at)] = errors
    if errors:
        rows[-1, layout.error(2, 3)] = 12 * errors
    meta = {"tokens": list(tokens), "prompt": "x", "targets": [{"token": "austin", "id": 9, "probability": 1.0}]}
    return Graph.from_rows(nodes=nodes, row_nodes=row_nodes, rows=rows, values_of_targets=rows.sum(1), meta=meta)


def test_units_fed_by_one_word_are_one_group_over_layers_and_positions():
    graph = planted()
    groups = {frozenset(one.group.members) for one in find_roles(graph).supernodes}
    columns = zip(graph.nodes.layer.tolist()[:12], graph.nodes.feature.tolist()[:12], strict=True)
    word_one = {i for i, (layer, feature) in enumerate(columns) if feature in (5, 7) and (layer, feature) != (0, 7)}
    assert frozenset(word_one) in groups


def test_opposite_effects_are_apart_and_every_group_pulls_one_way():
    graph = planted()
    against = next(i for i in range(12) if graph.nodes.layer[i] == 0 and graph.nodes.feature[i] == 7)
    found = find_roles(graph)
    alone = next(one for one in found.supernodes if against in one.group.members)
    assert alone.group.members == (against,)
    assert alone.direction == -1
    assert {one.consistency for one in found.supernodes} == {1.0}
    with_it = [one for one in found.supernodes if one.role == alone.role]
    assert len(with_it) == 2, "the two directions of one role stay one group of groups"


def test_groups_come_with_figures_and_the_same_every_time(make_graph):
    graph = make_graph(3, n_features=40, n_attention=6)
    first, again = find_roles(graph), find_roles(graph)
    assert first == again
    members = [member for one in first.supernodes for member in one.group.members]
    assert len(members) == len(set(members)) > 0
    assert all(0 <= one.internal <= 1 and 0 <= one.consistency <= 1 for one in first.supernodes)
    for one in first.supernodes:
        assert len({int(graph.nodes.kind[m]) for m in one.group.members}) == 1, "features and attention are apart"
    shares = [one.share for one in first.supernodes]
    assert shares == sorted(shares, reverse=True)


def test_a_label_names_a_group_and_decides_nothing_else():
    graph = planted()
    plain = find_roles(graph)
    named = find_roles(graph, labels=["texas" if i < 12 else None for i in range(graph.n_nodes)])
    assert [one.group.members for one in plain.supernodes] == [one.group.members for one in named.supernodes]
    assert {one.group.label.split(" (")[0] for one in named.supernodes} == {"texas"}
    assert len({one.group.label for one in named.supernodes}) == len(named.supernodes)


def test_words_of_strangers_are_fit_to_be_shown():
    found = find_roles(planted(tokens=("<bos>", "\x1b[31mdal", "<script>", "is")))
    assert all("\x1b" not in one.group.label for one in found.supernodes)


def test_where_all_goes_through_errors_there_is_nothing_to_read():
    assert nothing_to_read(planted()) == ""
    assert explained_by_features(planted()) == 1.0
    said = find_roles(planted(errors=100.0)).remark
    assert "of the influence passes through error nodes" in said
    assert "nothing about the model" in said


def test_a_random_dictionary_is_told_of_though_its_replacement_score_is_high(tiny: dict[str, str]):
    loaded = silverstain.load(tiny["model"], dictionary=tiny["dictionary"])
    graph = loaded.trace("the capital of the state containing dallas is")
    assert explained_by_features(graph) < 0
    assert "nothing about the model" in find_roles(graph).remark


def test_an_empty_graph_has_no_group_and_says_why():
    graph = planted()
    bare = Graph.from_rows(
        nodes=graph.nodes, row_nodes=graph.row_nodes, rows=torch.zeros(len(graph.row_nodes), graph.n_nodes),
        values_of_targets=graph.values_of_targets, meta=graph.meta,
    )  # fmt: skip
    found = find_roles(bare)
    assert found.supernodes == ()
    assert found.remark == "the graph has no edges, so no unit has a role"


def test_what_one_agrees_to_is_taken_over_and_no_more():
    graph = planted()
    roles = find_roles(graph)
    fresh = propose(graph, Story(), roles)
    assert {change.op for change in fresh.changes} == {"add"}
    story = fresh.applied()
    assert len(story.groups) == len(roles.supernodes)
    assert {change.op for change in propose(graph, story, roles).changes} == {"same"}
    first, second = (change.group.label for change in fresh.changes[:2])
    assert first not in {group.label for group in fresh.rejected([first]).applied().groups}
    both = fresh.merged([first, second]).applied()
    whole = next(group for group in both.groups if group.label == first)
    assert set(whole.members) == {m for change in fresh.changes[:2] for m in change.group.members}
    parts = fresh.merged([first, second]).split(graph, first).applied()
    assert {f"{first} / 1", f"{first} / 2"} <= {group.label for group in parts.groups}


def test_a_group_of_the_story_is_changed_only_when_one_says_so():
    graph = planted()
    roles = find_roles(graph)
    story = propose(graph, Story(), roles).applied()
    mine = story.groups[0].__class__(label="mine", members=story.groups[0].members[:-1])
    story = Story(groups=(mine,))
    proposal = propose(graph, story, roles)
    assert proposal.changes[0].op == "change"
    assert mine in proposal.applied().groups
    assert mine not in proposal.accepted().applied().groups

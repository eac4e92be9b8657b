"""A two-hop circuit comes apart into its words, its concepts and what it says."""

import pytest
import torch

from silverstain.features.building import cards_from
from silverstain.features.grouping import group_nodes
from silverstain.graphs import Graph, NodeLayout, collapse, group_places, node_table

from .conftest import IDS, N_LAYERS
from .test_cards import RULES

TOKENS = ["<bos>", "the", "capital", "of", "dal", "##las", "is"]
FEATURES = [  # (layer, position, feature)
    (0, 2, 0),  # the word capital
    (0, 4, 1),  # the piece dal…
    (0, 5, 2),  # state = texas
    (0, 5, 3),  # a town
    (0, 6, 4),  # mixed
    (1, 6, 0),  # says austin
    (1, 6, 1),  # says a capital
]


@pytest.fixture(scope="module")
def cards(world):
    return cards_from(world.model, world.dictionary, world.corpus, world.firings(RULES))


@pytest.fixture(scope="module")
def graph() -> Graph:
    layout = NodeLayout(n_features=len(FEATURES), n_layers=N_LAYERS, n_positions=len(TOKENS), n_logits=1)
    columns = torch.tensor(FEATURES)
    nodes = node_table(
        layout, layer=columns[:, 0], position=columns[:, 1], feature=columns[:, 2],
        activation=torch.ones(len(FEATURES)), token_ids=[IDS[token] for token in TOKENS],
        target_ids=[IDS["austin"]], target_probabilities=[0.9], target_position=len(TOKENS) - 1,
    )  # fmt: skip
    rows = torch.zeros(len(FEATURES) + 1, layout.size)
    rows[0, layout.token(2)] = rows[1, layout.token(4)] = rows[2, layout.token(5)] = rows[2, layout.token(4)] = 1.0
    rows[3, layout.token(5)] = rows[4, layout.token(6)] = 1.0
    rows[5, 2] = rows[5, 0] = rows[6, 0] = 1.0
    rows[7, 5] = rows[7, 6] = 2.0
    return Graph.from_rows(
        nodes=nodes,
        row_nodes=torch.tensor([*range(len(FEATURES)), layout.logit(0)]),
        rows=rows,
        values_of_targets=rows.sum(1),
        meta={
            "tokens": TOKENS,
            "targets": [{"token": "austin", "id": IDS["austin"], "probability": 0.9}],
            "settings": {"n_real": 1},
        },
    )


def test_a_two_hop_circuit_shows_its_parts_from_prompt_to_answer(graph, cards):
    groups = group_nodes(graph, cards)
    labels = [(group.label, group.kind) for group in groups]
    assert labels[:5] == [(word, "token") for word in ("the", "capital", "of", "dallas", "is")]
    assert set(labels[5:7]) == {("state = texas", "concept"), ("a town", "concept")}
    assert set(labels[7:9]) == {("say austin", "output"), ("say a capital", "output")}
    assert labels[9:] == [("austin", "logit")]
    layout = {group.label: group for group in groups}
    assert group_places(graph, layout["dallas"]) == [(0, 4, 1)]
    assert len(layout["dallas"].members) == 3  # two pieces and their feature
    assert group_places(graph, layout["state = texas"]) == [(0, 5, 2)]
    assert len({group.label for group in groups}) == len(groups)


def test_groups_carry_the_circuit(graph, cards):
    groups = group_nodes(graph, cards)
    between = collapse(graph, groups)
    at = {group.label: i for i, group in enumerate(groups)}
    assert between.weights[at["state = texas"], at["dallas"]] > 0
    assert between.weights[at["say austin"], at["state = texas"]] > 0
    assert between.weights[at["austin"], at["say austin"]] > 0


def test_nodes_that_pruning_dropped_are_in_no_group(graph, cards):
    kept = torch.ones(graph.n_nodes, dtype=torch.bool)
    kept[2] = False
    from dataclasses import replace

    pruned = replace(graph, node_mask=kept, edge_mask=torch.ones(graph.n_edges, dtype=torch.bool))
    assert "state = texas" not in {group.label for group in group_nodes(pruned, cards)}


def test_a_word_that_is_there_twice_has_two_groups(graph, cards):
    from dataclasses import replace

    doubled = replace(graph, meta={**graph.meta, "tokens": ["<bos>", "is", "capital", "of", "dal", "##las", "is"]})
    labels = [group.label for group in group_nodes(doubled, cards)]
    assert "is" in labels
    assert "is (2)" in labels


def test_a_feature_of_several_values_joins_the_one_that_others_stand_for(graph, world):
    """In this graph one feature says texas and one says texas or iowa: they are one group."""
    rules = RULES | {
        (0, 3): lambda word, _next, values: 1.0 if values["state"] in ("texas", "iowa") and word == "is" else 0.0
    }
    cards = cards_from(world.model, world.dictionary, world.corpus, world.firings(rules))
    assert cards.label(0, 3) == "state = texas or iowa"
    groups = {group.label: group for group in group_nodes(graph, cards)}
    assert group_places(graph, groups["state = texas"]) == [(0, 5, 2), (0, 5, 3)]
    assert "state = texas or iowa" not in groups

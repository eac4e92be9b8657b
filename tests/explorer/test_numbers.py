"""What the page computes equals what Python computes, on random graphs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.explorer.javascript import needs_node, run_module
from tests.graphs.conftest import random_graph

from silverstain.explorer import page_document
from silverstain.graphs import (
    Graph,
    Group,
    Story,
    circuit_of,
    collapse,
    cumulative_influence,
    edge_shares,
    influence,
    prune,
    scores,
    story_groups,
)
from silverstain.graphs.influence import signed_shares
from silverstain.graphs.signs import contributions, directions
from silverstain.graphs.supernodes import group_shares

pytestmark = needs_node
SIZES: list[dict[str, Any]] = [
    {"seed": 1},
    {"seed": 2, "n_layers": 1, "n_positions": 2, "n_features": 3, "n_logits": 1},
    {"seed": 3, "n_layers": 4, "n_positions": 6, "n_features": 40, "n_logits": 3},
    {"seed": 4, "n_layers": 3, "n_positions": 5, "n_features": 25, "n_attention": 12},
    {"seed": 5, "n_layers": 6, "n_positions": 9, "n_features": 120, "n_logits": 4, "n_attention": 30},
]
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"seed{size['seed']}")
MODULES = ("format", "influence", "scores", "pruning", "groups", "circuit", "paths", "state")
START = "const graph = format.decoded(given.document); const known = influence.analysed(graph);"


def signed_graph(size: dict[str, Any]) -> Graph:
    """A random graph in which half of the activations are below 0, as neurons' are."""
    graph = random_graph(**size)
    unit = graph.nodes.is_unit
    signs = torch.where(torch.arange(graph.n_nodes) % 2 == 0, 1.0, -1.0)
    activation = torch.where(unit, graph.nodes.activation * signs, graph.nodes.activation)
    return replace(graph, nodes=replace(graph.nodes, activation=activation, influence=None))


def random_groups(graph: Graph, n: int = 4) -> list[Group]:
    """Every third unit in a group, at random."""
    generator = torch.Generator().manual_seed(7)
    units = graph.nodes.is_unit.nonzero().flatten().tolist()[::2]
    which = torch.randint(0, n, (len(units),), generator=generator).tolist()
    groups = [
        Group(label=f"group {k}", members=tuple(u for u, w in zip(units, which, strict=True) if w == k))
        for k in range(n)
    ]
    return [group for group in groups if group.members]


def assert_close(found: Any, expected: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected.double(), rtol=1e-6, atol=1e-9)


@every_size
def test_influence_shares_and_contributions_are_pythons(size: dict[str, Any]):
    graph = signed_graph(size)
    found = run_module(
        f"{START} return {{ reached: known.reached, ranks: known.ranks, shares: known.shares, signed: known.signed, "
        "added: known.added, weights: known.weights, depth: graph.depth };",
        {"document": page_document(graph)},
        modules=MODULES,
    )
    assert_close(found["reached"], influence(graph))
    assert_close(found["ranks"], cumulative_influence(graph))
    assert_close(found["shares"], edge_shares(graph))
    assert_close(found["signed"], signed_shares(graph))
    assert_close(found["added"], contributions(graph))
    assert found["depth"] == graph.nodes.depth.tolist()


@every_size
def test_scores_of_the_whole_and_of_a_part_are_pythons(size: dict[str, Any]):
    graph = signed_graph(size)
    pruned = prune(graph, node_share=0.6)
    assert pruned.node_mask is not None
    found = run_module(
        f"{START} return [scores.scores(graph), scores.scoresOfKept(graph, given.kept)];",
        {"document": page_document(graph), "kept": pruned.node_mask.int().tolist()},
        modules=MODULES,
    )
    for one, expected in zip(found, (scores(graph), scores(pruned, pruned=True)), strict=True):
        assert one["replacement"] == pytest.approx(expected.replacement, rel=1e-6)
        assert one["completeness"] == pytest.approx(expected.completeness, rel=1e-6)
        assert one["completenessAllRows"] == pytest.approx(expected.completeness_all_rows, rel=1e-6)


@every_size
@pytest.mark.parametrize("keep_errors", [True, False])
def test_pruning_keeps_what_pythons_keeps(size: dict[str, Any], keep_errors: bool):
    graph = signed_graph(size)
    settings = {"nodeShare": 0.7, "edgeShare": 0.9, "keepErrors": keep_errors}
    found = run_module(
        f"{START} return pruning.pruned(graph, given.settings);",
        {"document": page_document(graph), "settings": settings},
        modules=MODULES,
    )
    pruned = prune(graph, node_share=0.7, edge_share=0.9, keep_errors=keep_errors)
    assert pruned.node_mask is not None
    assert pruned.edge_mask is not None
    assert found["nodes"] == pruned.node_mask.int().tolist()
    assert found["edges"] == pruned.edge_mask.int().tolist()


@every_size
def test_weights_between_groups_are_pythons(size: dict[str, Any]):
    graph = signed_graph(size)
    groups = random_groups(graph)
    found = run_module(
        f"{START} const groups_ = given.groups.map((members) => ({{ members }})); "
        "const groupOf = groups.groupOfNodes(graph.n, groups_); "
        "const inputs = groups_.map((one) => groups.inputsOf(graph, known, one.members, groupOf)); "
        "const directions = circuit.directions(graph, known, groups_); "
        "return { ...groups.collapsed(graph, known, groups_), inputs, directions };",
        {"document": page_document(graph), "groups": [list(group.members) for group in groups]},
        modules=MODULES,
    )
    expected = collapse(graph, groups)
    assert_close(found["weights"], expected.weights)
    assert_close(found["shares"], group_shares(graph, groups))
    assert_close(found["directions"], torch.tensor(directions(graph, groups)))
    for target, inputs in enumerate(found["inputs"]):
        for one in inputs:  # a group is summed; a node that is in no group stands for itself
            if one["key"] < 0:
                assert one["share"] == pytest.approx(
                    float(expected.weights[target, -1 - one["key"]]), rel=1e-6, abs=1e-9
                )


@every_size
def test_the_circuit_has_the_boxes_and_edges_that_show_draws(size: dict[str, Any]):
    graph = signed_graph(size)
    story = Story(groups=story_groups(graph, random_groups(graph, 3)))
    document = page_document(graph, story)
    found = run_module(
        f"{START} const state_ = state.stateOfStory(given.document.story); "
        "const index = new Map(graph.ids.map((id, i) => [id, i])); "
        "return circuit.circuitOf({ document: given.document, graph, known, index }, state_);",
        {"document": document},
        modules=MODULES,
    )
    expected = circuit_of(graph, story)
    assert [box["label"] for box in found["boxes"]] == [node.label for node in expected.nodes]
    assert [box["positions"] for box in found["boxes"]] == [list(node.positions) for node in expected.nodes]
    assert_close([box["layer"] for box in found["boxes"]], torch.tensor([node.layer for node in expected.nodes]))
    ends = [(edge["source"], edge["target"], edge["direct"]) for edge in found["edges"]]
    assert ends == [(edge.source, edge.target, edge.is_direct) for edge in expected.edges]
    assert_close([edge["weight"] for edge in found["edges"]], torch.tensor([edge.weight for edge in expected.edges]))


@every_size
def test_a_circuit_made_from_the_last_one_is_the_one_made_from_nothing(size: dict[str, Any]):
    """Pins, hidden boxes, groups and the number of boxes change in turn, and the sums of the last circuit go on."""
    graph = signed_graph(size)
    found = run_module(
        START
        + """
        const index = new Map(graph.ids.map((id, i) => [id, i]));
        const page = { document: given.document, graph, known, index };
        const kept = new passages.Passages(graph, known);
        let passes = 0;
        let seed = 1;
        const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
        const units = graph.ids.filter((_, i) => format.isUnit(graph, i));
        let now = state.stateOfStory(given.document.story);
        const pairs = [];
        for (let step = 0; step < 40; step++) {
          const id = units[random(units.length)];
          const kind = random(10);
          if (kind < 7) now = state.togglePins(now, [id]);
          else if (kind === 7) now = state.hidden(now, [id], 'a test');
          else if (kind === 8) now = { ...now, boxes: 1 + random(8), hidden: {} };
          else now = state.grouped(now, [id, units[random(units.length)]], `group ${step}`);
          const from = new passages.Passages(graph, known);
          pairs.push([circuit.circuitOf(page, now, kept), circuit.circuitOf(page, now, from)]);
          passes += from.passes;
        }
        return { pairs, saved: passes - kept.passes, passes };
        """,
        {"document": page_document(graph)},
        modules=(*MODULES, "passages"),
    )
    for one, other in found["pairs"]:
        assert one["boxes"] == other["boxes"]
        for name in ("source", "target", "direct"):
            assert [edge[name] for edge in one["edges"]] == [edge[name] for edge in other["edges"]]
        assert_close([e["weight"] for e in one["edges"]], torch.tensor([e["weight"] for e in other["edges"]]))
    assert found["saved"] > found["passes"] / 2 or found["passes"] < 10  # most sums went on


@every_size
def test_the_strongest_paths_are_those_that_trying_all_of_them_finds(size: dict[str, Any]):
    graph = random_graph(**size | {"n_features": min(size.get("n_features", 9), 12), "n_attention": 0})
    shares = torch.zeros(graph.n_nodes, graph.n_nodes, dtype=torch.float64)
    shares[graph.targets, graph.indices.long()] = signed_shares(graph)
    start, end = graph.nodes.span("token").start + 1, graph.nodes.span("logit").start

    def every_path(node: int, weight: float, before: list[int]) -> list[tuple[float, list[int]]]:
        path = [*before, node]
        if node == end:
            return [(weight, path)]
        steps = [t for t in shares[:, node].nonzero().flatten().tolist() if abs(float(shares[t, node])) >= 1e-3]
        return [one for t in steps for one in every_path(t, weight * float(shares[t, node]), path)]

    expected = sorted(every_path(start, 1.0, []), key=lambda one: -abs(one[0]))[:5]
    found = run_module(
        f"{START} return paths.strongestPaths(graph, known, [given.start], [given.end], 5);",
        {"document": page_document(graph), "start": start, "end": end},
        modules=MODULES,
    )
    assert [one["nodes"] for one in found] == [path for _, path in expected]
    assert_close([one["weight"] for one in found], torch.tensor([weight for weight, _ in expected]))

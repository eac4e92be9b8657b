"""A circuit: the few groups that matter most, words and answers at its ends, and the strongest edges between them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from silverstain.graphs.graph import Graph
from silverstain.graphs.story import Story
from silverstain.graphs.supernodes import Group, collapse
from silverstain.notation import feature_name
from silverstain.pieces import word, word_spans

SMALLEST_SHARE = 0.05
"""Edges that carry less of their target's input than this are left out."""
MOST_INPUTS = 4
"""Edges into one node of the circuit that are chosen by their strength."""


@dataclass(frozen=True, kw_only=True)
class CircuitNode:
    """A group, a single feature, a word of the prompt or an answer."""

    label: str
    kind: str
    """token, logit, or what the group's kind says; "feature" for a feature without a group."""
    layer: float
    """Mean over the members, weighted by influence; -1 for words, n_layers for answers."""
    position: int
    """Where most of the influence is."""
    positions: tuple[int, ...]
    """All positions of the members."""
    share: float | None
    """Of the influence on the answer; for an answer its probability, None if it is no token."""


@dataclass(frozen=True, kw_only=True)
class CircuitEdge:
    """The signed share of a target's input that a source gives; both are indices into the circuit's nodes."""

    source: int
    target: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The nodes and edges of a circuit; the edges never form a cycle."""

    nodes: tuple[CircuitNode, ...]
    edges: tuple[CircuitEdge, ...]
    tokens: tuple[str, ...]
    """Of the prompt."""
    left_out: float
    """Share of the influence that runs through features of no node of the circuit."""


def circuit_of(graph: Graph, story: Story, *, max_groups: int = 10, max_answers: int = 3) -> Circuit:
    """The story's groups, or where there are none the strongest features by themselves, with words and answers.

    A node that leads to no answer is left out.
    """
    groups = [*_words(graph), *_strongest_groups(graph, story, max_groups), *_answers(graph, max_answers)]
    between = collapse(graph, groups)
    nodes = [_node(graph, group, share) for group, share in zip(groups, between.shares.tolist(), strict=True)]
    edges = _towards_answers(_without_cycles(_strongest_edges(between.weights, nodes), len(nodes)), nodes)
    used = sorted({end for edge in edges for end in (edge.source, edge.target)} | _of_kind(nodes, "logit"))
    new_index = {old: new for new, old in enumerate(used)}
    shown = sum(nodes[i].share or 0.0 for i in used if nodes[i].kind not in ("token", "logit"))
    return Circuit(
        nodes=tuple(nodes[i] for i in used),
        edges=tuple(replace(e, source=new_index[e.source], target=new_index[e.target]) for e in edges),
        tokens=tuple(graph.meta.get("tokens", ())),
        left_out=max(0.0, _share_of_features(graph) - shown),
    )


def _words(graph: Graph) -> list[Group]:
    """The prompt's tokens, pieces of one word together: dal·las."""
    tokens, first = graph.meta.get("tokens", ()), graph.nodes.span("token").start
    return [
        Group(
            label=word(tokens[span.start : span.stop]),
            members=tuple(first + at for at in span),
            kind="token",
        )
        for span in word_spans(tokens)
    ]


def _strongest_groups(graph: Graph, story: Story, most: int) -> list[Group]:
    """Groups with features in them, most influential first; without any, single features that pruning kept."""
    is_feature = graph.nodes.is_kind("feature")
    named = [
        replace(g, kind="word" if g.kind == "token" else g.kind, members=tuple(m for m in g.members if is_feature[m]))
        for g in story.groups_in(graph)
    ]
    named = [group for group in named if group.members and group.kind != "logit"]
    influence = _influence(graph)
    if named:
        return sorted(named, key=lambda g: -float(influence[list(g.members)].sum()))[:most]
    kept = is_feature & graph.kept_nodes()
    best = torch.where(kept, influence, 0.0).topk(min(most, int(kept.sum()))).indices.tolist()
    labels = story.labels_in(graph.nodes)
    layer, feature = graph.nodes.layer.tolist(), graph.nodes.feature.tolist()
    return [Group(label=labels[n] or feature_name(layer[n], feature[n]), members=(n,), kind="feature") for n in best]


def _answers(graph: Graph, most: int) -> list[Group]:
    """The likeliest targets."""
    span, names = graph.nodes.span("logit"), graph.target_names
    ranked = sorted(range(span.start, span.stop), key=lambda node: -float(graph.nodes.activation[node]))
    return [Group(label=names[node - span.start], members=(node,), kind="logit") for node in ranked[:most]]


def _node(graph: Graph, group: Group, share: float) -> CircuitNode:
    members = torch.tensor(group.members)
    weight = _influence(graph)[members].double()
    weight = weight / weight.sum() if float(weight.sum()) > 0 else torch.full_like(weight, 1 / len(members))
    position_of = graph.nodes.position[members]
    positions = tuple(position_of.unique().tolist())
    first_answer = graph.nodes.span("logit").start
    return CircuitNode(
        label=group.label,
        kind=group.kind,
        layer=float((graph.nodes.layer[members].double() * weight).sum()),
        position=max(positions, key=lambda p: float(weight[position_of == p].sum())),
        positions=positions,
        share=graph.target_probabilities[group.members[0] - first_answer] if group.kind == "logit" else share,
    )


def _strongest_edges(weights: Float64[Tensor, "target source"], nodes: Sequence[CircuitNode]) -> list[CircuitEdge]:
    """For each target its strongest inputs, and for each source but words its strongest output; strongest first."""
    chosen: set[tuple[int, int]] = set()
    for target, row in enumerate(weights.abs()):
        values, sources = row.topk(min(MOST_INPUTS, len(row)))
        chosen |= {(target, s) for v, s in zip(values.tolist(), sources.tolist(), strict=True) if v >= SMALLEST_SHARE}
    for source, column in enumerate(weights.abs().T):
        target = int(column.argmax())
        if nodes[source].kind != "token" and float(column[target]) >= SMALLEST_SHARE:
            chosen.add((target, source))
    edges = [CircuitEdge(source=s, target=t, weight=float(weights[t, s])) for t, s in chosen]
    return sorted(edges, key=lambda edge: (-abs(edge.weight), edge.target, edge.source))


def _without_cycles(edges: Sequence[CircuitEdge], n: int) -> list[CircuitEdge]:
    """The edges, strongest first, without those that would close a cycle: groups of many layers may feed each other."""
    reaches = torch.eye(n, dtype=torch.bool)  # [a, b]: a path leads from a to b
    kept = []
    for edge in edges:
        if not reaches[edge.target, edge.source]:
            kept.append(edge)
            reaches |= reaches[:, edge.source, None] & reaches[None, edge.target]
    return kept


def _towards_answers(edges: Sequence[CircuitEdge], nodes: Sequence[CircuitNode]) -> list[CircuitEdge]:
    """Edges on a path to an answer."""
    reached, todo = set(), list(_of_kind(nodes, "logit"))
    while todo:
        node = todo.pop()
        if node not in reached:
            reached.add(node)
            todo += [edge.source for edge in edges if edge.target == node]
    return [edge for edge in edges if edge.target in reached]


def _of_kind(nodes: Sequence[CircuitNode], kind: str) -> set[int]:
    return {i for i, node in enumerate(nodes) if node.kind == kind}


def _influence(graph: Graph) -> Float[Tensor, " node"]:
    assert graph.nodes.influence is not None  # a Graph fills it in
    return graph.nodes.influence


def _share_of_features(graph: Graph) -> float:
    influence = _influence(graph).double()
    total = float(influence.sum())
    return float(influence[graph.nodes.is_kind("feature")].sum()) / total if total > 0 else 0.0

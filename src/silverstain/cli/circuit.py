"""What is drawn of a graph: a few boxes, the strongest arrows between them, and the words they stand over."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from silverstain.graphs import Graph, Group, Story, collapse

FAINTEST = 0.05
"""Arrows that carry less of their target's input than this are left out."""
MOST_INTO_ONE = 4
CONTINUES = "##"


@dataclass(frozen=True, kw_only=True)
class Box:
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
class Arrow:
    """The signed share of a target's input that a source gives."""

    source: int
    target: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """A drawing before it has places: arrows name boxes by index and never form a ring."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    tokens: tuple[str, ...]
    unseen: float
    """Share of the features' influence that is in no box."""


def circuit_of(graph: Graph, story: Story, *, max_boxes: int = 10, max_answers: int = 3) -> Circuit:
    """The boxes to draw: the story's groups, or where there are none the strongest features by themselves.

    A box that leads nowhere is left out, and so are words that nothing drawn reads.
    """
    between = _groups(graph, story, max_boxes)
    groups = [*_words(graph), *between, *_answers(graph, max_answers)]
    collapsed = collapse(graph, groups)
    boxes = [_box(graph, group, share) for group, share in zip(groups, collapsed.shares.tolist(), strict=True)]
    arrows = _useful(_without_rings(_strongest(collapsed.weights, boxes), len(boxes)), boxes)
    drawn = sorted({end for arrow in arrows for end in (arrow.source, arrow.target)} | _indices(boxes, "logit"))
    place = {old: new for new, old in enumerate(drawn)}
    seen = sum(boxes[i].share or 0.0 for i in drawn if boxes[i].kind not in ("token", "logit"))
    return Circuit(
        boxes=tuple(boxes[i] for i in drawn),
        arrows=tuple(replace(a, source=place[a.source], target=place[a.target]) for a in arrows),
        tokens=tuple(graph.meta.get("tokens", ())),
        unseen=max(0.0, _share_of_features(graph) - seen),
    )


def _groups(graph: Graph, story: Story, most: int) -> list[Group]:
    """Groups with features in them, most influential first; without any, single features that pruning kept."""
    feature = graph.nodes.is_kind("feature")
    named = [
        replace(g, kind="word" if g.kind == "token" else g.kind, members=tuple(m for m in g.members if feature[m]))
        for g in story.groups_in(graph)
    ]
    named = [group for group in named if group.members and group.kind != "logit"]
    reached = _influence(graph)
    if named:
        return sorted(named, key=lambda g: -float(reached[list(g.members)].sum()))[:most]
    kept = feature if graph.node_mask is None else feature & graph.node_mask
    strength = torch.where(kept, reached, 0.0)
    best = strength.topk(min(most, int(kept.sum()))).indices.tolist()
    labels = story.labels_in(graph.nodes)
    layer, number = graph.nodes.layer.tolist(), graph.nodes.feature.tolist()
    return [Group(label=labels[n] or f"L{layer[n]}.F{number[n]}", members=(n,), kind="feature") for n in best]


def _words(graph: Graph) -> list[Group]:
    """The prompt's tokens, pieces of one word (##…) together."""
    tokens = graph.meta.get("tokens", ())
    first = graph.nodes.span("token").start
    words: list[Group] = []
    for at, token in enumerate(tokens):
        if token.startswith(CONTINUES) and words:
            before = words.pop()
            label = f"{before.label}·{token.removeprefix(CONTINUES)}"
            words.append(replace(before, label=label, members=(*before.members, first + at)))
        else:
            words.append(Group(label=token, members=(first + at,), kind="token"))
    return words


def _answers(graph: Graph, most: int) -> list[Group]:
    span = graph.nodes.span("logit")
    names = graph.target_names
    ranked = sorted(range(span.start, span.stop), key=lambda node: -float(graph.nodes.activation[node]))
    return [Group(label=names[node - span.start], members=(node,), kind="logit") for node in ranked[:most]]


def _box(graph: Graph, group: Group, share: float) -> Box:
    members = torch.tensor(group.members)
    weight = _influence(graph)[members].double()
    weight = weight / weight.sum() if float(weight.sum()) > 0 else torch.full_like(weight, 1 / len(members))
    positions = graph.nodes.position[members]
    places = tuple(positions.unique().tolist())
    first = graph.nodes.span("logit").start
    return Box(
        label=group.label,
        kind=group.kind,
        layer=float((graph.nodes.layer[members].double() * weight).sum()),
        position=max(places, key=lambda p: float(weight[positions == p].sum())),
        positions=places,
        share=graph.target_probabilities[group.members[0] - first] if group.kind == "logit" else share,
    )


def _strongest(weights: Tensor, boxes: Sequence[Box]) -> list[Arrow]:
    """For each target its strongest inputs, and for each source but words its strongest output; strongest first."""
    chosen: set[tuple[int, int]] = set()
    for target, row in enumerate(weights.abs()):
        values, sources = row.topk(min(MOST_INTO_ONE, len(row)))
        chosen |= {(target, s) for v, s in zip(values.tolist(), sources.tolist(), strict=True) if v >= FAINTEST}
    for source, column in enumerate(weights.abs().T):
        target = int(column.argmax())
        if boxes[source].kind != "token" and float(column[target]) >= FAINTEST:
            chosen.add((target, source))
    arrows = [Arrow(source=s, target=t, weight=float(weights[t, s])) for t, s in chosen]
    return sorted(arrows, key=lambda a: (-abs(a.weight), a.target, a.source))


def _without_rings(arrows: Sequence[Arrow], n: int) -> list[Arrow]:
    """The arrows, strongest first, without those that would close a ring: groups of many layers may feed each other."""
    reaches = torch.eye(n, dtype=torch.bool)  # [a, b]: a path leads from a to b
    kept = []
    for arrow in arrows:
        if not reaches[arrow.target, arrow.source]:
            kept.append(arrow)
            reaches |= reaches[:, arrow.source, None] & reaches[None, arrow.target]
    return kept


def _useful(arrows: Sequence[Arrow], boxes: Sequence[Box]) -> list[Arrow]:
    """Arrows on a path to an answer."""
    useful, todo = set(), list(_indices(boxes, "logit"))
    while todo:
        box = todo.pop()
        if box not in useful:
            useful.add(box)
            todo += [arrow.source for arrow in arrows if arrow.target == box]
    return [arrow for arrow in arrows if arrow.target in useful]


def _indices(boxes: Sequence[Box], kind: str) -> set[int]:
    return {i for i, box in enumerate(boxes) if box.kind == kind}


def _influence(graph: Graph) -> Tensor:
    assert graph.nodes.influence is not None  # a graph fills it in
    return graph.nodes.influence


def _share_of_features(graph: Graph) -> float:
    reached = _influence(graph).double()
    total = float(reached.sum())
    return float(reached[graph.nodes.is_kind("feature")].sum()) / total if total > 0 else 0.0

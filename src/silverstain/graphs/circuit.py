"""A circuit: the few units that matter most, words and answers at its ends, and the strongest edges between them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

from silverstain.brief import brief
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.contrast import Contrast, contrast_of
from silverstain.graphs.influence import influence
from silverstain.graphs.kinds import ATTENTION, NODE_KINDS
from silverstain.graphs.lettering import columns_of
from silverstain.graphs.naming import attention_in_short, attention_in_words, unit_name
from silverstain.graphs.scores import Scores, scores
from silverstain.graphs.signs import directions
from silverstain.graphs.story import Story
from silverstain.graphs.supernodes import Group, collapse
from silverstain.graphs.trust import GOOD
from silverstain.graphs.ways import CircuitEdge, chosen_edges
from silverstain.pieces import word, word_spans
from silverstain.printable import printable

NEGLIGIBLE = 0.02
"""Of the strongest unit's influence: a unit with less is not worth a box, however many boxes are free."""
ONE_WAY = 0.2
"""Of all that a unit adds to an answer, up or down, so much must be left over for it to have a sign."""
LONGEST_NAME = 80
"""Characters of a name or a token that a drawing looks at."""
LONGEST_WORDS = 40
"""Columns of what attention does, told in words."""
LONGEST_PROMPT = 2000
MOST_WORDS = 256
"""Words of the prompt, the most influential ones, that edges may come from."""


@brief
@dataclass(frozen=True, kw_only=True)
class CircuitNode:
    """A group, a single feature, attention of one head from one position to another, what no unit explains, a word of
    the prompt or an answer."""

    label: str
    kind: str
    """token, logit, error, or what the group's kind says; "feature" and "attention" for those without a group."""
    layer: float
    """Mean over the members, weighted by influence; -1 for words, n_layers for answers."""
    position: int
    """Where most of the influence is."""
    positions: tuple[int, ...]
    """All positions of the members."""
    share: float | None
    """Of the influence on the answer; for an answer its probability, None if it is no token."""
    sign: int = 0
    """In a contrast: 1 if all its members together raise what is explained, −1 if they lower it, 0 if what they do goes
    both ways; 0 of all else, too."""
    n_members: int = 1
    name: str = ""
    """What a single feature or attention is called in commands: L3.F1501@9; empty for anything else."""
    short: str = ""
    """What stands in a box that is too narrow for the label, where that says more than the label's beginning."""
    is_attention: bool = False
    """Whether all members are attention: it stands before the features of its layer."""

    @property
    def arrow(self) -> str:
        """How the sign is written beside the share: ↑ or ↓."""
        return {1: " ↑", -1: " ↓"}.get(self.sign, "")

    @property
    def is_named(self) -> bool:
        """Whether a single feature or attention has a label beside what it is called in commands."""
        return bool(self.name) and self.name not in self.label and not self.name.startswith(f"{self.label}@")


@brief
@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The nodes and edges of a circuit; the edges never form a cycle. All text in it is fit to be shown."""

    nodes: tuple[CircuitNode, ...]
    edges: tuple[CircuitEdge, ...]
    tokens: tuple[str, ...]
    """Of the prompt."""
    left_out: float
    """Share of the influence that runs through units of no node of the circuit."""
    scores: Scores | None = None
    """Of the graph."""
    has_edges: bool = True
    """Whether the graph has any, drawn or not."""
    prompt: str = ""
    model: str = ""
    dictionary: str = ""
    contrast: Contrast | None = None
    """Of a graph that explains the difference of two runs."""
    is_rest: bool = False
    """Whether nodes of kind error are all else of their layer and position, and no errors of a dictionary."""

    @property
    def units(self) -> str:
        """What the graph's units are called, several of them."""
        return "units" if self.is_rest else "features"


def circuit_of(graph: GraphArrays, story: Story, *, max_groups: int = 10, max_answers: int = 3) -> Circuit:
    """The `max_groups` units with the most influence, with words, answers and errors at their ends.

    A unit is a group of the story, or a single feature or attention that is in no group; pruning, which keeps the
    strongest, changes nothing here. Every one has a way on from words and to an answer: see `ways`. Error nodes, the
    rest of attention among them, are one more unit where much of the influence passes through them, which is where the
    replacement score is below `trust.GOOD`.
    """
    reached, found = influence(graph), scores(graph)
    units = _strongest_units(graph, story, max_groups, reached)
    groups = [*_words(graph, reached), *_errors(graph, found), *units, *_answers(graph, max_answers)]
    between = collapse(graph, groups)
    signs = [0] * len(groups)
    if graph.meta.get("contrast"):
        signs = [_sign(group, one) for group, one in zip(groups, directions(graph, groups), strict=True)]
    shares = between.shares.tolist()
    nodes = [_node(graph, *one, reached) for one in zip(groups, shares, signs, strict=True)]
    edges = chosen_edges(graph, between, [node.kind for node in nodes])
    used = sorted({end for edge in edges for end in (edge.source, edge.target)} | _of_kind(nodes, "logit"))
    new_index = {old: new for new, old in enumerate(used)}
    shown = sum(nodes[i].share or 0.0 for i in used if nodes[i].kind not in ("token", "logit", "error"))
    return Circuit(
        nodes=tuple(_told_apart([nodes[i] for i in used])),
        edges=tuple(replace(e, source=new_index[e.source], target=new_index[e.target]) for e in edges),
        tokens=tuple(_tokens(graph)),
        left_out=max(0.0, _share_of_units(graph, reached) - shown),
        scores=found,
        has_edges=graph.n_edges > 0,
        prompt=printable(str(graph.meta.get("prompt") or ""), LONGEST_PROMPT),
        contrast=contrast_of(graph.meta, graph.target_names),
        is_rest=bool(graph.meta.get("rest")),
        **{what: shown_name((graph.meta.get(what) or {}).get("name") or "") for what in ("model", "dictionary")},
    )


def shown_name(text: object) -> str:
    """A name or a token of anybody's, fit for a drawing: one line, nothing a terminal acts on, of bounded length."""
    return printable(str(text), LONGEST_NAME)


def _words(graph: GraphArrays, reached: Float64[Tensor, " node"]) -> list[Group]:
    """The prompt's tokens, pieces of one word together: dal·las."""
    tokens, span = _tokens(graph), graph.nodes.span("token")
    node_at = {position: span.start + i for i, position in enumerate(graph.nodes.position[span].tolist())}
    words = [
        Group(
            label=word(tokens[positions.start : positions.stop]),
            members=tuple(node_at[at] for at in positions if at in node_at),
            kind="token",
        )
        for positions in word_spans(tokens)
    ]
    strongest = sorted(words, key=lambda one: -sum(reached[list(one.members)].tolist()))[:MOST_WORDS]
    kept = {one.members for one in strongest if one.members}
    return [one for one in words if one.members in kept]


def _tokens(graph: GraphArrays) -> list[str]:
    """The prompt's tokens; those that the graph does not tell by their position."""
    told = [shown_name(token) for token in graph.meta.get("tokens") or ()]
    places = graph.nodes.position[graph.nodes.span("token")]
    n = min(int(places.max()) + 1, MOST_WORDS) if len(places) else 0
    return told + [f"@{position}" for position in range(len(told), n)]


def _errors(graph: GraphArrays, found: Scores) -> list[Group]:
    """All error nodes as one source, if much passes through them."""
    if found.replacement is None or not found.replacement < GOOD:
        return []
    members = tuple(graph.nodes.is_rest.nonzero().flatten().tolist())
    label = "all the rest" if graph.meta.get("rest") else "error nodes"
    return [Group(label=label, members=members, kind="error")] if members else []


def _strongest_units(graph: GraphArrays, story: Story, most: int, reached: Float64[Tensor, " node"]) -> list[Group]:
    """The story's groups with features or attention in them, and those in none of them, most influential first."""
    is_unit = graph.nodes.is_unit
    groups = [
        replace(g, kind="word" if g.kind == "token" else g.kind, members=tuple(m for m in g.members if is_unit[m]))
        for g in story.groups_in(graph)
    ]
    groups = _without_overlaps([group for group in groups if group.kind != "logit"])
    single = is_unit.clone()
    single[[member for group in groups for member in group.members]] = False
    single &= reached > 0
    alone = torch.where(single, reached, 0.0).topk(min(most, int(single.sum()))).indices.tolist()
    labels = story.labels_in(graph.nodes)
    units = [*groups, *(_single(graph, node, labels[node]) for node in alone)]
    size = [float(reached[list(unit.members)].sum()) for unit in units]
    ranked = sorted(range(len(units)), key=lambda i: -size[i])
    return [units[i] for i in ranked if size[i] > 0 and size[i] >= NEGLIGIBLE * size[ranked[0]]][:most]


def _without_overlaps(groups: Sequence[Group]) -> list[Group]:
    """Groups that share no member: what is in several stays in the first; a group left with none is dropped."""
    taken: set[int] = set()
    out = []
    for group in groups:
        members = tuple(member for member in dict.fromkeys(group.members) if member not in taken)
        taken |= set(members)
        if members:
            out.append(replace(group, members=members))
    return out


def _single(graph: GraphArrays, node: int, label: str | None) -> Group:
    """A unit without a group. Attention is told in words where they are short enough for a box."""
    kind = NODE_KINDS[int(graph.nodes.kind[node])]
    if label is None and kind == "attention":
        words = attention_in_words(graph, node)
        label = words if columns_of(shown_name(words)) <= LONGEST_WORDS else f"attention {unit_name(graph.nodes, node)}"
    return Group(label=label or unit_name(graph.nodes, node, with_position=False), members=(node,), kind=kind)


def _answers(graph: GraphArrays, most: int) -> list[Group]:
    """The likeliest targets."""
    span, names = graph.nodes.span("logit"), graph.target_names
    ranked = sorted(range(span.start, span.stop), key=lambda node: -float(graph.nodes.activation[node]))
    if graph.meta.get("contrast"):  # Madrid − Paris, without the blanks that tokens begin with
        names = [" ".join(name.split()) for name in names]
    return [Group(label=names[node - span.start], members=(node,), kind="logit") for node in ranked[:most]]


def _sign(group: Group, direction: float) -> int:
    is_unit = group.kind not in ("token", "logit", "error")
    return 0 if not is_unit or abs(direction) < ONE_WAY else 1 if direction > 0 else -1


def _node(graph: GraphArrays, group: Group, share: float, sign: int, reached: Float64[Tensor, " node"]) -> CircuitNode:
    members = torch.tensor(group.members)
    weight = reached[members].double()
    weight = weight / weight.sum() if float(weight.sum()) > 0 else torch.full_like(weight, 1 / len(members))
    position_of = graph.nodes.position[members]
    places, which = position_of.unique(return_inverse=True)
    at_place = torch.zeros(len(places), dtype=weight.dtype).index_add_(0, which, weight)
    first_answer, only = graph.nodes.span("logit").start, group.members[0]
    is_unit = len(group.members) == 1 and bool(graph.nodes.is_unit[only])
    words = attention_in_words(graph, only) if is_unit and group.kind == "attention" else None
    return CircuitNode(
        label=shown_name(group.label),
        kind=group.kind,
        layer=float((graph.nodes.layer[members].double() * weight).sum()),
        position=int(places[int(at_place.argmax())]),
        positions=tuple(places.tolist()),
        share=graph.target_probabilities[only - first_answer] if group.kind == "logit" else share,
        sign=sign,
        n_members=len(group.members),
        name=unit_name(graph.nodes, only) if is_unit else "",
        short=shown_name(attention_in_short(graph, only)) if group.label == words else "",
        is_attention=group.kind != "error" and bool((graph.nodes.kind[members] == ATTENTION).all()),
    )


def _told_apart(nodes: Sequence[CircuitNode]) -> list[CircuitNode]:
    """Single units that would be called alike with their names beside: writes austin (L3.F2@9)."""
    times = Counter(node.label for node in nodes if node.kind != "token")
    return [
        replace(node, label=node.name if node.name.startswith(f"{node.label}@") else f"{node.label} ({node.name})")
        if node.name and times[node.label] > 1
        else node
        for node in nodes
    ]


def _of_kind(nodes: Sequence[CircuitNode], kind: str) -> set[int]:
    return {i for i, node in enumerate(nodes) if node.kind == kind}


def _share_of_units(graph: GraphArrays, reached: Float64[Tensor, " node"]) -> float:
    total = float(reached.sum())
    return float(reached[graph.nodes.is_unit].sum()) / total if total > 0 else 0.0

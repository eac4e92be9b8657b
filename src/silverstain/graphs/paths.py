"""The strongest paths from one node to another: a path is worth the product of the shares of its edges.

An edge's share is what it gives of its target's input, so the product is the share of the last node's input that
comes from the first one along this path; the sum over all paths is what the first gives in all.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.influence import influence, signed_shares
from silverstain.graphs.kinds import TOKEN
from silverstain.notation import name_of_id
from silverstain.printable import printable

MOST_STEPS = 200_000
"""Beginnings of paths that are looked at."""


@brief
@dataclass(frozen=True, kw_only=True)
class Path:
    """Nodes from the first to the last, and what each edge gives of its target's input, signed."""

    nodes: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def product(self) -> float:
        """The share of the last node's input that the first gives along this path, signed."""
        found = 1.0
        for share in self.shares:
            found *= share
        return found


@brief
@dataclass(frozen=True, kw_only=True)
class Paths:
    """The strongest paths between two nodes."""

    paths: tuple[Path, ...]
    total: float
    """Σ |product| over all paths there are."""
    is_whole: bool
    """Whether the search came to its end: with it, no path that is stronger was missed."""


def strongest_paths(graph: GraphArrays, start: int, end: int, *, most: int = 5, longest: int = 64) -> Paths:
    """The `most` paths from one node to another with the largest |product|, strongest first.

    Paths are begun at the end and followed back, best first: a beginning is worth its product times the largest product
    that leads on to the start, which is known of every node, so the first that arrive are the strongest.
    """
    for node in (start, end):
        if not 0 <= node < graph.n_nodes:
            raise UsageError(f"there is no node {node}; the graph has {graph.n_nodes}")
    signed = signed_shares(graph).tolist()
    pointers, sources = graph.indptr.tolist(), graph.indices.tolist()
    row_of = {int(node): row for row, node in enumerate(graph.row_nodes.tolist())}
    best = _best_from(graph, start)
    goal = torch.zeros(graph.n_nodes, dtype=torch.float64)
    goal[end] = 1.0
    total = float(influence(graph, goal=goal)[start]) if start != end else 0.0
    waiting: list[tuple[float, tuple[int, ...], tuple[float, ...], float]] = [(-best[end], (end,), (), 1.0)]
    found: list[Path] = []
    for _ in range(MOST_STEPS):
        if not waiting or len(found) == most:
            break
        bound, nodes, shares, product = heapq.heappop(waiting)
        node = nodes[-1]
        if node == start:
            if shares:
                found.append(Path(nodes=nodes[::-1], shares=shares[::-1]))
            continue
        row = row_of.get(node)
        if row is None or len(nodes) > longest or bound == 0:
            continue
        for edge in range(pointers[row], pointers[row + 1]):
            source, share = sources[edge], signed[edge]
            further = abs(product * share) * best[source]
            if further > 0:
                heapq.heappush(waiting, (-further, (*nodes, source), (*shares, share), product * share))
    return Paths(paths=tuple(found), total=total, is_whole=not waiting or len(found) == most)


def _best_from(graph: GraphArrays, start: int) -> list[float]:
    """The largest |product| of a path from the start to each node."""
    shares = signed_shares(graph).abs().tolist()
    pointers, sources = graph.indptr.tolist(), graph.indices.tolist()
    best = [0.0] * graph.n_nodes
    best[start] = 1.0
    depth = graph.nodes.depth[graph.row_nodes]
    for row in depth.argsort(stable=True).tolist():
        node = int(graph.row_nodes[row])
        if node == start:
            continue
        edges = range(pointers[row], pointers[row + 1])
        best[node] = max((shares[edge] * best[sources[edge]] for edge in edges), default=0.0)
    return best


def node_named(graph: GraphArrays, name: str) -> int:
    """The node that a person means: an id, the notation (`L3.F1501@9`), a word of the prompt or an answer.

    UsageError for none, and for a word that is there several times.
    """
    ids = {node_id: node for node, node_id in enumerate(graph.nodes.ids())}
    known = ids.get(name)
    if known is None:
        known = {name_of_id(node_id).lower(): node for node_id, node in ids.items()}.get(name.strip().lower())
    if known is not None:
        return known
    wanted, found = name.strip().lower(), []
    word, _, at = wanted.partition("@")
    tokens = [str(token) for token in graph.meta.get("tokens") or ()]
    for node in (graph.nodes.kind == TOKEN).nonzero().flatten().tolist():
        position = int(graph.nodes.position[node])
        if position < len(tokens) and _bare(tokens[position]) in (word, wanted) and at in ("", str(position)):
            found.append(node)
    answers: Sequence[str] = graph.target_names
    span = graph.nodes.span("logit")
    found += [span.start + i for i, answer in enumerate(answers) if _bare(answer) == wanted]
    if len(found) == 1:
        return found[0]
    shown = printable(repr(name), 60)
    if found:
        places = ", ".join(f"{word}@{int(graph.nodes.position[node])}" for node in found)
        raise UsageError(f"{shown} is there {len(found)} times: {printable(places, 200)}; give one of these, or its id")
    raise UsageError(f"the graph has no node {shown}; give an id, L3.F1501@9, a word of the prompt or an answer")


def _bare(text: str) -> str:
    return text.removeprefix("##").strip("Ġ▁ ").lower()

"""What feeds each unit of a graph and what it feeds: the two profiles by which units of one role are known.

`fed_by` follows the paths into a unit back to the words of the prompt: of all that enters it, what share comes from
each position. `feeds` looks the other way: of a unit's influence on the targets, what share leaves it right to the
answers, and what share to units at each position. Neither asks in which layer a unit is or what it is called, so that
units that do the same at another place have the same profiles.

In the graph of a family (`merging`) several words stand at a position. A unit may be fed by all of them alike, or by
some and not by others; the two are different roles, so such a position has two columns: what comes from particular
words beyond how often they are there, and the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from silverstain.brief import brief
from silverstain.graphs.arrays import GraphArrays, rows_by_depth
from silverstain.graphs.influence import edge_shares, influence, target_weights
from silverstain.graphs.kinds import LOGIT, TOKEN
from silverstain.graphs.signs import contributions

TINY = 1e-12


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class Profiles:
    """The profiles of some units. Rows add up to at most 1."""

    units: Int64[Tensor, " unit"]
    """Their nodes."""
    fed_by: Float64[Tensor, "unit source"]
    """By position; then, in a family's graph, by position what comes from particular words; last what comes from
    errors."""
    feeds: Float64[Tensor, "unit sink"]
    """To the answers; then by position to other units."""
    effect: Float64[Tensor, " unit"]
    """What each adds to the targets through all paths, signed."""

    @property
    def by_word(self) -> Float64[Tensor, "unit position"]:
        """What comes from each position, particular words or not."""
        n = self.feeds.shape[1] - 1
        general = self.fed_by[:, :n]
        return general + self.fed_by[:, n : 2 * n] if self.fed_by.shape[1] > n + 1 else general

    @property
    def direct(self) -> Float64[Tensor, " unit"]:
        """The share of a unit's influence that goes right to the answers."""
        return self.feeds[:, 0]


def profiles(graph: GraphArrays, units: Int64[Tensor, " unit"]) -> Profiles:
    """The profiles of some units of a graph."""
    n = max(int(graph.nodes.position.max()) + 1 if graph.n_nodes else 0, 1)
    return Profiles(
        units=units, fed_by=_fed_by(graph, units, n), feeds=_feeds(graph, units, n),
        effect=contributions(graph)[units],
    )  # fmt: skip


def reach_of(graph: GraphArrays, sources: Mapping[int, int], n: int) -> np.ndarray:
    """Of what enters each node the share that comes, through all paths, from each of `n` kinds of source.

    `sources` says of which kind a node is; one that is of a kind is followed no further back. With shares
    A[target, source] and the indicator S of the kinds, this is S + A S + A² S + …, made in one pass from the lowest
    depth up.
    """
    import scipy.sparse

    shares = edge_shares(graph).numpy()
    pointers = graph.indptr.numpy()
    matrix = scipy.sparse.csr_matrix(
        (shares, graph.indices.numpy(), pointers), shape=(len(graph.row_nodes), graph.n_nodes)
    )
    found = np.zeros((graph.n_nodes, n))
    if sources:
        found[list(sources), list(sources.values())] = 1
    is_source = np.zeros(graph.n_nodes, dtype=bool)
    is_source[list(sources)] = True
    for _, rows in rows_by_depth(graph):
        targets = graph.row_nodes[rows].numpy()
        open_ = ~is_source[targets]
        found[targets[open_]] = (matrix[rows.start : rows.stop] @ found)[open_]
    return found


def _fed_by(graph: GraphArrays, units: Tensor, n: int) -> Float64[Tensor, "unit source"]:
    nodes = graph.nodes
    tokens = (nodes.kind == TOKEN).nonzero().flatten()
    rest = nodes.is_rest.nonzero().flatten().tolist()
    kinds = {int(node): i for i, node in enumerate(tokens.tolist())} | dict.fromkeys(rest, len(tokens))
    reached = torch.from_numpy(reach_of(graph, kinds, len(tokens) + 1)[units.numpy()])
    reached = reached / reached.sum(1, keepdim=True).clamp_min(TINY)
    position = nodes.position[tokens].long()
    by_token, errors = reached[:, :-1], reached[:, -1:]
    mass = torch.zeros(len(units), n, dtype=torch.float64).index_add_(1, position, by_token)
    often = (graph.meta.get("merged") or {}).get("token_shares")
    if often is None or len(often) != len(tokens):
        return torch.cat([mass, errors], dim=1)
    expected = torch.tensor(often, dtype=torch.float64)[None] * mass[:, position]
    beyond = (by_token - expected).clamp_min(0)
    particular = torch.zeros_like(mass).index_add_(1, position, beyond)
    return torch.cat([mass - particular, particular, errors], dim=1)


def _feeds(graph: GraphArrays, units: Tensor, n: int) -> Float64[Tensor, "unit sink"]:
    reached, goal = influence(graph), target_weights(graph)
    index = torch.full((graph.n_nodes,), -1)
    index[units] = torch.arange(len(units))
    source = index[graph.indices.long()]
    counted = source >= 0
    targets = graph.targets[counted]
    flow = edge_shares(graph)[counted] * (reached + goal)[targets]
    to_answer = graph.nodes.kind[targets] == LOGIT
    sink = torch.where(to_answer, 0, graph.nodes.position[targets].long().clamp_min(0) + 1)
    found = torch.zeros(len(units), n + 1, dtype=torch.float64)
    found.index_put_((source[counted], sink), flow, accumulate=True)
    return found / found.sum(1, keepdim=True).clamp_min(TINY)


def word_names(graph: GraphArrays) -> list[str]:
    """What each position is called."""
    tokens: list[Any] = list(graph.meta.get("tokens") or ())
    n = int(graph.nodes.position.max()) + 1 if graph.n_nodes else 0
    return [str(tokens[at]) if at < len(tokens) else f"@{at}" for at in range(max(n, len(tokens)))]

"""One graph of a family of prompts: what is in any of their graphs, how often, and the mean of its edges.

Prompts of a family ask the same of different words. Their graphs are laid over each other with the last tokens on top
of each other: a feature at the same place of two graphs is one node, and so is a token, an answer and an edge. The
value of an edge is its mean over *all* graphs, 0 where it is not there, so that what enters a target still adds up to
the target's own mean. How often a node or an edge is there is kept beside it (`Merged.node_share`): a step that every
prompt takes stands out from one that a single prompt took.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs.graph import Graph
from silverstain.graphs.nodes import NodeTable
from silverstain.printable import printable

MOST_TEXTS = 4
"""Different tokens at one position that are named."""
MOST_PROMPTS = 1000
"""Prompts that the merged graph's `meta` names."""
COLUMNS = ("kind", "layer", "position", "feature", "key", "token")
"""By which nodes are told apart; sorted by these they stand in the order of nodes, but for biases."""


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class Merged:
    """A family's graph, and how often each of its parts is there."""

    graph: Graph
    n: int
    """How many graphs were merged."""
    node_counts: Int64[Tensor, " node"]
    """In how many of them each node is."""
    edge_counts: Int64[Tensor, " edge"]
    places: tuple[Tensor, ...]
    """For each graph, the node here that each of its nodes is."""

    @property
    def node_share(self) -> Float64[Tensor, " node"]:
        """In what share of the graphs each node is."""
        return self.node_counts.double() / self.n

    @property
    def edge_share(self) -> Float64[Tensor, " edge"]:
        return self.edge_counts.double() / self.n


def basis_of(meta: Mapping[str, Any]) -> tuple[str, str, bool]:
    """What a graph's features are numbered in: hash or name of model and dictionary; and whether it is a contrast."""
    named = [meta.get(what) or {} for what in ("model", "dictionary")]
    model, dictionary = (str(one.get("hash") or one.get("name") or "") for one in named)
    return model, dictionary, bool(meta.get("contrast"))


def check_one_basis(graphs: Sequence[Graph]) -> None:
    """UsageError where features of the graphs are not of one model and dictionary: equal numbers then mean nothing."""
    kinds: dict[tuple[str, str, bool], str] = {}
    for graph in graphs:
        names = [str((graph.meta.get(what) or {}).get("name") or "?") for what in ("model", "dictionary")]
        kinds.setdefault(
            basis_of(graph.meta), " read in ".join(names) + (", contrasts" * bool(graph.meta.get("contrast")))
        )
    if len(kinds) > 1:
        said = "; ".join(printable(name, 80) for name in kinds.values())
        raise UsageError(
            f"the graphs are of {len(kinds)} kinds ({said}), whose features have nothing in common; give those of one"
        )


def merge(graphs: Sequence[Graph]) -> Merged:
    """The graph of a family. UsageError for none at all, and for graphs of several bases."""
    if not graphs:
        raise UsageError("there is no graph to merge; give some")
    check_one_basis(graphs)
    lengths = [_length(graph) for graph in graphs]
    longest = max(lengths)
    tables = [_identities(graph.nodes, longest - n) for graph, n in zip(graphs, lengths, strict=True)]
    identities, inverse = torch.cat(tables).unique(dim=0, return_inverse=True)
    places = inverse.split([len(table) for table in tables])
    n = len(identities)
    rows, pairs, values = [], [], []
    of_targets = torch.zeros(n, dtype=torch.float64)
    activation = torch.zeros(n, dtype=torch.float64)
    for graph, place in zip(graphs, places, strict=True):
        rows.append(place[graph.row_nodes])
        pairs.append(place[graph.targets] * n + place[graph.indices.long()])
        values.append(graph.values.double())
        of_targets.index_add_(0, rows[-1], graph.values_of_targets.double())
        activation.index_add_(0, place, graph.nodes.activation.double())
    row_nodes = torch.cat(rows).unique()
    edges, at = torch.cat(pairs).unique(return_inverse=True)
    summed = torch.zeros(len(edges), dtype=torch.float64).index_add_(0, at, torch.cat(values))
    per_row = torch.bincount(torch.searchsorted(row_nodes, edges // n), minlength=len(row_nodes))
    columns = dict(zip(COLUMNS, identities.unbind(1), strict=True))
    has_keys = any(graph.nodes.key is not None for graph in graphs)
    table = NodeTable(
        kind=columns["kind"].to(torch.int8),
        **{name: columns[name].int() for name in ("layer", "position", "feature", "token")},
        activation=(activation / len(graphs)).float(),
        key=columns["key"].int() if has_keys else None,
    )
    graph = Graph(
        nodes=table, row_nodes=row_nodes, indptr=torch.nn.functional.pad(per_row.cumsum(0), (1, 0)),
        indices=edges % n, values=(summed / len(graphs)).float(),
        values_of_targets=(of_targets / len(graphs))[row_nodes].float(),
        meta=_meta(graphs, table, places, longest),
    )  # fmt: skip
    return Merged(
        graph=graph, n=len(graphs), node_counts=torch.bincount(inverse, minlength=n),
        edge_counts=torch.bincount(at, minlength=len(edges)), places=tuple(places),
    )  # fmt: skip


def _length(graph: Graph) -> int:
    return max(len(graph.meta.get("tokens") or ()), int(graph.nodes.position.max()) + 1 if len(graph.nodes) else 0)


def _identities(nodes: NodeTable, shift: int) -> Int64[Tensor, "node 6"]:
    key = torch.full_like(nodes.kind, -1) if nodes.key is None else nodes.key
    moved = {
        "position": torch.where(nodes.position >= 0, nodes.position + shift, nodes.position),
        "key": torch.where(key >= 0, key + shift, key),
    }
    return torch.stack([(moved.get(name, getattr(nodes, name, None))).long() for name in COLUMNS], dim=1)  # pyright: ignore[reportOptionalMemberAccess]


def _meta(graphs: Sequence[Graph], nodes: NodeTable, places: Sequence[Tensor], longest: int) -> dict[str, Any]:
    first = graphs[0].meta
    texts: list[dict[str, None]] = [{} for _ in range(longest)]
    names: dict[int, str] = {}
    for graph, place in zip(graphs, places, strict=True):
        tokens = [str(token) for token in graph.meta.get("tokens") or ()]
        for at, token in enumerate(tokens, start=longest - len(tokens)):
            texts[at].setdefault(token)
        span = graph.nodes.span("logit")
        for node, name in zip(place[span].tolist(), graph.target_names, strict=True):
            names[node] = name if names.get(node, name) == name else "the answers' difference"
    span = nodes.span("logit")
    columns = (nodes.token[span].tolist(), nodes.position[span].tolist(), nodes.activation[span].tolist())
    targets = [
        {"kind": "token" if token >= 0 else "direction", "name": names[node], "token": names[node], "id": token,
         "probability": min(max(weight, 0.0), 1.0), "position": position}
        for node, (token, position, weight) in enumerate(zip(*columns, strict=True), start=span.start)
    ]  # fmt: skip
    tokens = [_together(list(several)) for several in texts]
    kept = {name: first[name] for name in ("model", "dictionary", "rest", "settings", "always_on") if name in first}
    tokens_here = nodes.span("token")
    counts = torch.bincount(torch.cat(list(places)), minlength=len(nodes))[tokens_here]
    merged = {
        "n": len(graphs),
        "prompts": [str(graph.meta.get("prompt") or "") for graph in graphs[:MOST_PROMPTS]],
        "token_shares": (counts.double() / len(graphs)).tolist(),
    }
    prompt = " ".join(tokens)
    return {**kept, "prompt": prompt, "tokens": tokens, "targets": targets, "merged": merged}


def _together(texts: list[str]) -> str:
    """What stands at one position: the token, or the first of several and how many more there are."""
    if len(texts) <= MOST_TEXTS:
        return "|".join(texts) or "?"
    return f"{texts[0]}|…{len(texts)}"

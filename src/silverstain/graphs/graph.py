"""The attribution graph as a value: nodes, edges in compressed sparse rows, and a mask beside them.

Only targets (features and logits) have rows. Pruning sets masks and changes no edge, so undoing it loses nothing.
The arithmetic is in `_influence`, `_scores`, `pruning`, `files` and `export`; the methods here are doors to it.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int, Int32, Int64
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.graphs.nodes import ERROR, FEATURE, LOGIT, NodeTable

if TYPE_CHECKING:
    import networkx
    import scipy.sparse

    from silverstain.graphs._scores import Scores


@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class Graph:
    """One traced prompt: which node contributed how much to which.

    Attributes:
        nodes: columns over all nodes, in the one order of `NodeLayout`.
        row_nodes: the target of each row, ascending.
        indptr: row r holds the edges indptr[r] to indptr[r + 1].
        indices: the source of each edge; given in 64 bits they are kept in 32, as there may be hundreds of millions.
        values: contribution of the source to the target's pre-activation, or demeaned logit; signed.
        values_of_targets: that pre-activation or demeaned logit, as the model computed it.
        node_mask: nodes that pruning kept; None before pruning.
        edge_mask: edges that pruning kept; None before pruning.
        meta: what JSON can hold: prompt, tokens, model and dictionary with their hashes, settings, targets.
    """

    nodes: NodeTable
    row_nodes: Int64[Tensor, " row"]
    indptr: Int64[Tensor, " row+1"]
    indices: Int[Tensor, " edge"]
    values: Float[Tensor, " edge"]
    values_of_targets: Float[Tensor, " row"]
    node_mask: Bool[Tensor, " node"] | None = None
    edge_mask: Bool[Tensor, " edge"] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_structure(self)
        object.__setattr__(self, "indices", self.indices.int())
        if self.nodes.influence is None:
            from silverstain.graphs._influence import influence

            column = influence(self).to(self.values.dtype)
            object.__setattr__(self, "nodes", replace(self.nodes, influence=column))

    @classmethod
    def from_rows(
        cls,
        *,
        nodes: NodeTable,
        row_nodes: Int64[Tensor, " row"],
        rows: Float[Tensor, "row node"],
        values_of_targets: Float[Tensor, " row"],
        meta: Mapping[str, Any] | None = None,
    ) -> "Graph":
        """A graph out of dense rows [target, source]; zeros become no edge."""
        rows = rows.detach().cpu()
        present = rows != 0
        edge_rows, sources = present.nonzero().unbind(1)
        return cls(
            nodes=nodes,
            row_nodes=row_nodes,
            indptr=torch.nn.functional.pad(present.sum(1).cumsum(0), (1, 0)),
            indices=sources,
            values=rows[edge_rows, sources],
            values_of_targets=values_of_targets,
            meta=dict(meta or {}),
        )

    @property
    def n_nodes(self) -> int:
        return len(self.nodes)

    @property
    def n_edges(self) -> int:
        return len(self.values)

    @property
    def n_layers(self) -> int:
        return self.nodes.n_layers

    @cached_property
    def edge_rows(self) -> Int64[Tensor, " edge"]:
        """The row of each edge."""
        return torch.arange(len(self.row_nodes)).repeat_interleave(self.indptr.diff())

    @property
    def targets(self) -> Int64[Tensor, " edge"]:
        """The node each edge ends at."""
        return self.row_nodes[self.edge_rows]

    @property
    def target_names(self) -> list[str]:
        """How each target reads, in the order of the logit nodes; by its id where `meta` does not say."""
        span, targets = self.nodes.span("logit"), self.meta.get("targets", ())
        names = [str(target.get("name", target.get("token"))) for target in targets]
        return [*names, *map(str, self.nodes.token[span].tolist()[len(names) :])][: span.stop - span.start]

    @property
    def target_probabilities(self) -> list[float | None]:
        """Of each target under the model, in the order of the logit nodes; None for what is no token."""
        span = self.nodes.span("logit")
        columns = zip(self.nodes.token[span].tolist(), self.nodes.activation[span].tolist(), strict=True)
        said = [target.get("probability") for target in self.meta.get("targets", ())]
        said += [None] * (span.stop - span.start - len(said))
        return [
            None if token < 0 else weight if known is None else known
            for (token, weight), known in zip(columns, said, strict=False)
        ]

    @cached_property
    def hash(self) -> str:
        """Identity of what was traced: the same before and after pruning, and in every file of it."""
        from silverstain.graphs.files import hash_of

        return hash_of(self)

    def incoming(self, node: int) -> tuple[Int32[Tensor, " edge"], Float[Tensor, " edge"]]:
        """Sources of a node's edges and their values, before pruning; empty for a node that has no row."""
        row = int(torch.searchsorted(self.row_nodes, node))
        if row == len(self.row_nodes) or int(self.row_nodes[row]) != node:
            return self.indices[:0], self.values[:0]
        edges = slice(int(self.indptr[row]), int(self.indptr[row + 1]))
        return self.indices[edges], self.values[edges]

    def outgoing(self, node: int) -> tuple[Int64[Tensor, " edge"], Float[Tensor, " edge"]]:
        """Targets of a node's edges and their values, before pruning."""
        edges = (self.indices == node).nonzero().flatten()
        return self.row_nodes[self.edge_rows[edges]], self.values[edges]

    def influence(self) -> Float[Tensor, " node"]:
        """See `silverstain.graphs.influence`."""
        from silverstain.graphs._influence import influence

        return influence(self)

    def scores(self, *, pruned: bool = False) -> "Scores":
        """Replacement and completeness scores; with `pruned`, what pruning removed counts as error."""
        from silverstain.graphs._scores import scores

        return scores(self, pruned=pruned)

    def exactness(self) -> float:
        """How far the edges of a target are from adding up to its value: the worst relative error."""
        from silverstain.graphs._scores import exactness

        return exactness(self)

    def prune(self, node_share: float = 0.8, edge_share: float = 0.98, keep_errors: bool = True) -> "Graph":
        """This graph with masks that keep the most influential nodes and edges."""
        from silverstain.graphs.pruning import prune

        return prune(self, node_share=node_share, edge_share=edge_share, keep_errors=keep_errors)

    def with_meta(self, meta: Mapping[str, Any]) -> "Graph":
        """This graph with other `meta`; its arrays are not looked at again."""
        other = copy(self)
        object.__setattr__(other, "meta", dict(meta))
        other.__dict__.pop("hash", None)
        return other

    def unpruned(self) -> "Graph":
        """This graph without masks."""
        return replace(self, node_mask=None, edge_mask=None)

    def save(self, path: str | Path) -> None:
        """Write the native file, whole or not at all."""
        from silverstain.graphs.files import save_graph

        save_graph(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Graph":
        """Read the native file; UsageError names a missing, foreign or damaged one."""
        from silverstain.graphs.files import load_graph

        return load_graph(path)

    def to_json(self, path: str | Path, **options: Any) -> None:
        """Write the JSON that circuit-tracer's viewer and Neuronpedia read; see `export.write_graph_json`."""
        from silverstain.graphs.export import write_graph_json

        write_graph_json(self, path, **options)

    def _kept_edges(self, pruned: bool) -> Bool[Tensor, " edge"]:
        if pruned and self.edge_mask is not None:
            return self.edge_mask
        return torch.ones(self.n_edges, dtype=torch.bool)

    def matrix(self, pruned: bool = False) -> "scipy.sparse.csr_matrix":
        """Edges as a scipy CSR over all nodes, row = target, column = source; before pruning unless asked."""
        import scipy.sparse

        kept = self._kept_edges(pruned)
        coordinates = (self.targets[kept].numpy(), self.indices[kept].numpy())
        shape = (self.n_nodes, self.n_nodes)
        return scipy.sparse.csr_matrix((self.values[kept].numpy(), coordinates), shape=shape)

    def to_networkx(self, pruned: bool = True) -> "networkx.DiGraph":
        """Nodes by index with their columns, edges source → target with `weight`; the pruned graph if there is one."""
        networkx = _imported("networkx")
        drawn = networkx.DiGraph()
        kept = self.node_mask if pruned and self.node_mask is not None else torch.ones(self.n_nodes, dtype=torch.bool)
        columns = _columns(self.nodes)
        for node in kept.nonzero().flatten().tolist():
            drawn.add_node(node, **{name: column[node] for name, column in columns.items()})
        edges = self._kept_edges(pruned)
        ends = zip(self.indices[edges].tolist(), self.targets[edges].tolist(), self.values[edges].tolist(), strict=True)
        drawn.add_weighted_edges_from(ends)
        return drawn

    def to_pandas(self) -> Any:
        """The node columns as a pandas data frame, one row a node, with `kept` after pruning."""
        pandas = _imported("pandas")
        columns = _columns(self.nodes)
        if self.node_mask is not None:
            columns["kept"] = self.node_mask.tolist()
        return pandas.DataFrame(columns)


def check_structure(graph: Graph) -> None:
    """ValueError unless the arrays fit each other and every edge runs from a lower layer to a higher one."""
    n, rows, edges = len(graph.nodes), len(graph.row_nodes), len(graph.values)
    if len(graph.indptr) != rows + 1 or len(graph.values_of_targets) != rows or len(graph.indices) != edges:
        raise ValueError(f"{rows} rows and {edges} edges do not fit the lengths of the other arrays")
    if int(graph.indptr[0]) != 0 or int(graph.indptr[-1]) != edges or bool((graph.indptr.diff() < 0).any()):
        raise ValueError("row pointers do not run from 0 to the number of edges")
    for what, index in (("row", graph.row_nodes), ("source", graph.indices)):
        if len(index) and not (int(index.min()) >= 0 and int(index.max()) < n):
            raise ValueError(f"a {what} names a node outside the {n} nodes there are")
    if bool((graph.row_nodes.diff() <= 0).any()) or bool((graph.nodes.kind.diff() < 0).any()):
        raise ValueError("nodes and rows must stand in the one order of nodes")
    kinds = graph.nodes.kind[graph.row_nodes]
    if not bool(((kinds == FEATURE) | (kinds == LOGIT)).all()):
        raise ValueError("only features and logits have rows")
    if not _rise(graph):
        raise ValueError("an edge does not run from a lower layer to a higher one")
    for name, mask, length in (("node", graph.node_mask, n), ("edge", graph.edge_mask, edges)):
        if mask is not None and len(mask) != length:
            raise ValueError(f"the {name} mask has {len(mask)} entries for {length} {name}s")


def _rise(graph: Graph) -> bool:
    """Whether every edge runs from a lower layer to a higher one; rows stand by layer, logits last."""
    layers, n_rows = torch.unique_consecutive(graph.nodes.layer[graph.row_nodes], return_counts=True)
    ends = graph.indptr[torch.cat([n_rows.new_zeros(1), n_rows.cumsum(0)])].tolist()
    for layer, (start, stop) in zip(layers.tolist(), pairwise(ends), strict=True):
        is_too_high = graph.nodes.layer >= layer
        if bool(is_too_high.index_select(0, graph.indices[start:stop]).any()):
            return False
    return True


def error_node_of(nodes: NodeTable) -> Int64[Tensor, " node"]:
    """The error node at the layer and position of each node; -1 where there is none."""
    n_positions = int(nodes.position.max()) + 1 if len(nodes) else 0
    place = nodes.layer.long() * n_positions + nodes.position.long()
    errors = (nodes.kind == ERROR).nonzero().flatten()
    table = torch.full(((nodes.n_layers + 1) * max(n_positions, 1),), -1)
    table[place[errors]] = errors
    on_grid = (nodes.layer >= 0) & (nodes.position >= 0)
    return torch.where(on_grid, table[place.clamp(min=0)], -1)


def _columns(nodes: NodeTable) -> dict[str, list[Any]]:
    names = ("layer", "position", "feature", "token", "activation", "influence")
    return {"id": nodes.ids(), "kind": nodes.kinds, **{name: getattr(nodes, name).tolist() for name in names}}


def _imported(package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(f"this needs {package}, which is not installed; install it: pip install {package}") from error

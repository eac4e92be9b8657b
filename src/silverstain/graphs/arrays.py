"""A traced graph as a plain value: node columns, edges in compressed sparse rows, and the masks of pruning beside them.

Influence, scores, pruning, supernodes and files are functions of `GraphArrays`. `Graph` is the same value with these
functions as methods.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Int32, Int64
from torch import Tensor

from silverstain.brief import brief
from silverstain.graphs.kinds import ATTENTION, FEATURE, LOGIT, file_codes
from silverstain.graphs.nodes import NodeTable
from silverstain.storage import HASH_LENGTH, hash_tensors


@brief
@dataclass(frozen=True, kw_only=True, eq=False)  # == of tensors is no truth value
class GraphArrays:
    """Which node contributed how much to which.

    Only targets (features, attention and logits) have rows. Pruning sets masks and changes no edge, so undoing it loses
    nothing.

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

    def kept_nodes(self, pruned: bool = True) -> Bool[Tensor, " node"]:
        """The nodes that pruning kept; all of them before pruning, or without `pruned`."""
        return self.node_mask if pruned and self.node_mask is not None else torch.ones(self.n_nodes, dtype=torch.bool)

    def kept_edges(self, pruned: bool = True) -> Bool[Tensor, " edge"]:
        """The edges that pruning kept; all of them before pruning, or without `pruned`."""
        return self.edge_mask if pruned and self.edge_mask is not None else torch.ones(self.n_edges, dtype=torch.bool)

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

    @property
    def target_names(self) -> list[str]:
        """What each target is called, in the order of the logit nodes; its token id where `meta` does not say."""
        span, targets = self.nodes.span("logit"), self.meta.get("targets", ())
        names = [str(target.get("name", target.get("token"))) for target in targets]
        return [*names, *map(str, self.nodes.token[span].tolist()[len(names) :])][: span.stop - span.start]

    @property
    def target_probabilities(self) -> list[float | None]:
        """Of each target under the model, in the order of the logit nodes; None for what is no token."""
        span = self.nodes.span("logit")
        columns = zip(self.nodes.token[span].tolist(), self.nodes.activation[span].tolist(), strict=True)
        known = [target.get("probability") for target in self.meta.get("targets", ())]
        known += [None] * (span.stop - span.start - len(known))
        return [
            (None if token < 0 else weight) if probability is None else probability
            for (token, weight), probability in zip(columns, known, strict=False)
        ]

    def traced(self) -> dict[str, Tensor]:
        """All arrays but the masks, as files hold them: integers in 32 bits where they fit, no half precision, kinds in
        the codes of files, and no keys where there is no attention."""
        columns = self.nodes.columns()
        if not bool((self.nodes.kind == ATTENTION).any()):
            columns.pop("key", None)
        arrays = {
            **columns,
            "kind": file_codes(self.nodes.kind),
            **{name: _narrow(getattr(self, name)) for name in ("row_nodes", "indptr", "indices")},
            "values": self.values,
            "values_of_targets": self.values_of_targets,
        }
        # browsers have no arrays of bfloat16
        return {name: t.float() if t.dtype in (torch.bfloat16, torch.float16) else t for name, t in arrays.items()}

    @cached_property
    def hash(self) -> str:
        """Hash of nodes, edges and the prompt, model and dictionary named in `meta`; masks and settings do not count.

        It is the same before and after pruning, and in every file of the graph.
        """
        identity = {key: self.meta.get(key) for key in ("token_ids", "model", "dictionary")}
        return checksum(self.traced(), json.dumps(identity, sort_keys=True))


AnyGraph = TypeVar("AnyGraph", bound=GraphArrays)


def checksum(arrays: Mapping[str, Tensor], text: str) -> str:
    """One hash over arrays and text."""
    return hashlib.sha256((hash_tensors(arrays) + text).encode()).hexdigest()[:HASH_LENGTH]


def check_structure(graph: GraphArrays) -> None:
    """ValueError unless the arrays fit each other and every edge rises (see `NodeTable.depth`)."""
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
    if not bool(((kinds == FEATURE) | (kinds == ATTENTION) | (kinds == LOGIT)).all()):
        raise ValueError("only features, attention and logits have rows")
    if bool(graph.nodes.is_rest[graph.row_nodes].any()):
        raise ValueError("the rest of attention has a row, but nothing enters it: it stands for many pairs")
    if bool((graph.nodes.kind == ATTENTION).any()) and graph.nodes.key is None:
        raise ValueError("there are nodes of attention and no column `key` to say which position each reads from")
    if not _all_edges_rise(graph):
        raise ValueError("an edge does not run from a lower layer to a higher one, in a layer from attention to MLP")
    for name, mask, length in (("node", graph.node_mask, n), ("edge", graph.edge_mask, edges)):
        if mask is not None and len(mask) != length:
            raise ValueError(f"the {name} mask has {len(mask)} entries for {length} {name}s")


def rows_by_depth(graph: GraphArrays) -> list[tuple[int, slice]]:
    """Each depth with its rows, lowest first. Rows stand by kind and layer, so those of one depth are contiguous."""
    depths, n_rows = torch.unique_consecutive(graph.nodes.depth[graph.row_nodes], return_counts=True)
    ends = [0, *n_rows.cumsum(0).tolist()]
    found = zip(depths.tolist(), (slice(start, stop) for start, stop in pairwise(ends)), strict=True)
    return sorted(found, key=lambda one: one[0])


def _all_edges_rise(graph: GraphArrays) -> bool:
    """Whether every edge runs from a lower depth to a higher one."""
    depth_of = graph.nodes.depth
    for depth, rows in rows_by_depth(graph):
        edges = slice(int(graph.indptr[rows.start]), int(graph.indptr[rows.stop]))
        if bool((depth_of >= depth).index_select(0, graph.indices[edges]).any()):
            return False
    return True


def _narrow(numbers: Tensor) -> Tensor:
    fits = not len(numbers) or int(numbers.max()) <= torch.iinfo(torch.int32).max
    return numbers.to(torch.int32) if fits else numbers

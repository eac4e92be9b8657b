"""The nodes of an attribution graph: their one order and their columns.

Every array with a node axis in this package follows the order defined here: features by (layer, position, feature),
attention by (layer, position, head, key), errors by (layer, position), tokens by position, biases, logits. Sources come
before targets only in the sense of `NodeTable.depth`: an edge always runs from a lower depth to a higher one.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int, Int8, Int32, Int64
from torch import Tensor

from silverstain.brief import brief
from silverstain.graphs.kinds import ATTENTION, BIAS, ERROR, FEATURE, LOGIT, NODE_KINDS, TOKEN


@brief
@dataclass(frozen=True, kw_only=True, eq=False)  # == of tensors is no truth value
class NodeTable:
    """Columns over all nodes of a graph.

    Attributes:
        kind: code, an index into NODE_KINDS.
        layer: of a feature, attention, error or bias; -1 for tokens and the constant; n_layers for logits, wherever
            they read.
        position: in the prompt, of attention the query's; -1 for biases that act at every position.
        feature: index of a feature, or of a head of attention, in its layer; else -1. Attention without a head stands
            for all pairs of head and key of its layer and position that have no node.
        token: vocabulary id of a token or logit node, else -1 (also for a target that is no token).
        activation: of a feature; of attention how much more the head looks from query to key than in the base run; of a
            logit its weight among the targets, for a token its probability; else 0.
        key: the position that attention reads from, else -1; None in a graph without attention.
        influence: on the targets, through paths of every length, before pruning; a Graph fills it in.
    """

    kind: Int8[Tensor, " node"]
    layer: Int32[Tensor, " node"]
    position: Int32[Tensor, " node"]
    feature: Int32[Tensor, " node"]
    token: Int32[Tensor, " node"]
    activation: Float[Tensor, " node"]
    key: Int32[Tensor, " node"] | None = None
    influence: Float[Tensor, " node"] | None = None

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def depth(self) -> Int32[Tensor, " node"]:
        """The order in which a model computes, by which edges rise: tokens and the constant at -1, attention of layer ℓ
        at 2ℓ, its features, errors and biases at 2ℓ + 1, logits at 2 n_layers + 1."""
        return 2 * self.layer + (self.kind != ATTENTION)

    @property
    def is_rest(self) -> Bool[Tensor, " node"]:
        """Nodes that stand for all of a layer and position that has no node of its own: errors, and attention without a
        head. Influence ends at them unexplained."""
        return (self.kind == ERROR) | ((self.kind == ATTENTION) & (self.feature < 0))

    @property
    def is_unit(self) -> Bool[Tensor, " node"]:
        """Nodes that something enters and that something leaves: features, and attention with a head."""
        return (self.kind == FEATURE) | ((self.kind == ATTENTION) & (self.feature >= 0))

    @property
    def kinds(self) -> list[str]:
        """The kind of each node in words."""
        return [NODE_KINDS[code] for code in self.kind.tolist()]

    def is_kind(self, *kinds: str) -> Bool[Tensor, " node"]:
        """Which nodes are of one of these kinds."""
        codes = torch.tensor([NODE_KINDS.index(kind) for kind in kinds], dtype=self.kind.dtype)
        return torch.isin(self.kind, codes)

    def span(self, kind: str) -> slice:
        """Where the nodes of a kind stand; they are contiguous because the order of nodes is by kind."""
        code = NODE_KINDS.index(kind)
        start, stop = torch.searchsorted(self.kind, torch.tensor([code, code + 1], dtype=self.kind.dtype)).tolist()
        return slice(start, stop)

    def columns(self) -> dict[str, Tensor]:
        """The columns by name, in the order of their declaration; influence only once it is known."""
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        return {name: column for name, column in columns.items() if column is not None}

    def rest_nodes(self) -> Int64[Tensor, " node"]:
        """The node that stands for the rest at the depth and position of each node; -1 where there is none."""
        n_positions = int(self.position.max()) + 1 if len(self) else 0
        place = self.depth.long() * max(n_positions, 1) + self.position.long()
        rests = self.is_rest.nonzero().flatten()
        if not len(rests):
            return torch.full((len(self),), -1)
        at, order = place[rests].sort(stable=True)
        found = torch.searchsorted(at, place).clamp(max=len(at) - 1)
        is_there = (self.layer >= 0) & (self.position >= 0) & (at[found] == place)
        return torch.where(is_there, rests[order[found]], -1)

    def count(self) -> dict[str, int]:
        """How many nodes there are of each kind; of attention only where there are any."""
        counts = torch.bincount(self.kind.long(), minlength=len(NODE_KINDS)).tolist()
        return {kind: n for kind, n in zip(NODE_KINDS, counts, strict=True) if n or kind != "attention"}

    @property
    def n_layers(self) -> int:
        """Layers of the model: logits stand just above the last."""
        return int(self.layer.max()) + (0 if LOGIT in self.kind else 1) if len(self) else 0

    def ids(self) -> list[str]:
        """A name for each node, unique in its graph and the same in every trace of the same prompt.

        They are circuit-tracer's, except that its error ids (`0_layer_position`) collide with features of layer 0.
        """
        key = torch.full_like(self.kind, -1) if self.key is None else self.key
        columns = zip(
            *(c.tolist() for c in (self.kind, self.layer, self.position, self.feature, self.token, key)), strict=True
        )
        first_logit = self.span("logit").start
        return [_node_id(*column, rank=i - first_logit) for i, column in enumerate(columns)]


def with_rest(
    nodes: NodeTable, depth: Int[Tensor, " new"], position: Int[Tensor, " new"]
) -> tuple[NodeTable, Int64[Tensor, " node"]]:
    """The table with nodes for the rest at places that have none, and where each former node now stands.

    At the depth of attention that is the rest of attention, at that of features an error.
    """
    new, n = len(depth), len(nodes)
    nothing, zero = torch.full((new,), -1), torch.zeros(new)
    added = {
        "kind": torch.where(depth % 2 == 0, ATTENTION, ERROR), "layer": depth // 2, "position": position,
        "feature": nothing, "token": nothing, "key": nothing, "activation": zero, "influence": zero,
    }  # fmt: skip
    columns = {name: torch.cat([column, added[name].to(column.dtype)]) for name, column in nodes.columns().items()}
    order = torch.arange(n + new)
    is_sorted = (columns["kind"] == ERROR) | (columns["kind"] == ATTENTION)  # the others keep their order
    for name in ("feature", "position", "layer"):
        key = torch.where(is_sorted, columns[name].long(), 0)[order]
        order = order[key.argsort(stable=True)]
    order = order[columns["kind"][order].argsort(stable=True)]
    place = torch.empty(n + new, dtype=torch.long)
    place[order] = torch.arange(n + new)
    return NodeTable(**{name: column[order] for name, column in columns.items()}), place[:n]


def _node_id(kind: int, layer: int, position: int, feature: int, token: int, key: int, *, rank: int) -> str:
    if kind == FEATURE:
        return f"{layer}_{feature}_{position}"
    if kind == ATTENTION:
        return f"{layer}_attn_{position}" if feature < 0 else f"{layer}_attn{feature}_{position}_{key}"
    if kind == ERROR:
        return f"{layer}_error_{position}"
    if kind == TOKEN:
        return f"E_{token}_{position}"
    if kind == BIAS:
        return "bias_constant" if layer < 0 else f"bias_{layer}" if position < 0 else f"bias_{layer}_{position}"
    return f"{layer + 1}_{token if token >= 0 else f'direction{rank}'}_{position}"

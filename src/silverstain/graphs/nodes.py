"""The nodes of an attribution graph: their kinds, their one order, and their columns.

Every array with a node axis in this package follows the order defined here: features by (layer, position, feature),
errors by (layer, position), tokens by position, biases, logits. Sources come before targets only in the sense of
`layer`: an edge always runs from a lower layer to a higher one, tokens being at layer -1 and logits at layer n_layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int, Int8, Int32, Int64
from torch import Tensor

from silverstain.brief import brief

NODE_KINDS = ("feature", "error", "token", "bias", "logit")
FEATURE, ERROR, TOKEN, BIAS, LOGIT = range(len(NODE_KINDS))

Index = TypeVar("Index", int, Tensor)


@dataclass(frozen=True, kw_only=True)
class NodeLayout:
    """Where each node stands in the one order of nodes.

    `n_real` leading positions keep their real MLP, so they have no error nodes; what their MLPs write comes from bias
    nodes instead. The biases are one constant, then one a layer for the decoder's bias, then one for each layer and
    leading position.
    """

    n_features: int
    n_layers: int
    n_positions: int
    n_logits: int
    n_real: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.n_real <= self.n_positions:
            raise ValueError(f"{self.n_real} leading positions do not fit in {self.n_positions} positions")

    @property
    def n_errors(self) -> int:
        return self.n_layers * (self.n_positions - self.n_real)

    @property
    def n_biases(self) -> int:
        return 1 + self.n_layers + self.n_layers * self.n_real

    @property
    def features(self) -> slice:
        return slice(0, self.n_features)

    @property
    def errors(self) -> slice:
        return slice(self.n_features, self.n_features + self.n_errors)

    @property
    def tokens(self) -> slice:
        return slice(self.errors.stop, self.errors.stop + self.n_positions)

    @property
    def biases(self) -> slice:
        return slice(self.tokens.stop, self.tokens.stop + self.n_biases)

    @property
    def logits(self) -> slice:
        return slice(self.biases.stop, self.biases.stop + self.n_logits)

    @property
    def size(self) -> int:
        return self.logits.stop

    def error(self, layer: Index, position: Index) -> Index:
        """Node of the reconstruction error at a layer and a position >= n_real."""
        return self.errors.start + layer * (self.n_positions - self.n_real) + (position - self.n_real)

    def token(self, position: Index) -> Index:
        """Node of the embedding at a position."""
        return self.tokens.start + position

    @property
    def constant(self) -> int:
        """Node of what enters a target from its own bias."""
        return self.biases.start

    def decoder_bias(self, layer: Index) -> Index:
        """Node of the decoder's bias of a layer, at all positions >= n_real."""
        return self.biases.start + 1 + layer

    def real_mlp(self, layer: Index, position: Index) -> Index:
        """Node of the real MLP output kept at a leading position."""
        return self.biases.start + 1 + self.n_layers + layer * self.n_real + position

    def logit(self, k: Index) -> Index:
        """Node of the k-th target."""
        return self.logits.start + k


@brief
@dataclass(frozen=True, kw_only=True, eq=False)  # == of tensors is no truth value
class NodeTable:
    """Columns over all nodes of a graph.

    Attributes:
        kind: code, an index into NODE_KINDS.
        layer: of a feature, error or bias; -1 for tokens and the constant; n_layers for logits, wherever they read.
        position: in the prompt; -1 for biases that act at every position.
        feature: index of a feature in its layer, else -1.
        token: vocabulary id of a token or logit node, else -1 (also for a target that is no token).
        activation: of a feature; of a logit its weight among the targets, for a token its probability; else 0.
        influence: on the targets, through paths of every length, before pruning; a Graph fills it in.
    """

    kind: Int8[Tensor, " node"]
    layer: Int32[Tensor, " node"]
    position: Int32[Tensor, " node"]
    feature: Int32[Tensor, " node"]
    token: Int32[Tensor, " node"]
    activation: Float[Tensor, " node"]
    influence: Float[Tensor, " node"] | None = None

    def __len__(self) -> int:
        return len(self.kind)

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

    def error_nodes(self) -> Int64[Tensor, " node"]:
        """The error node at the layer and position of each node; -1 where there is none."""
        n_positions = int(self.position.max()) + 1 if len(self) else 0
        place = self.layer.long() * max(n_positions, 1) + self.position.long()
        errors = (self.kind == ERROR).nonzero().flatten()
        if not len(errors):
            return torch.full((len(self),), -1)
        at, order = place[errors].sort(stable=True)
        found = torch.searchsorted(at, place).clamp(max=len(at) - 1)
        is_there = (self.layer >= 0) & (self.position >= 0) & (at[found] == place)
        return torch.where(is_there, errors[order[found]], -1)

    def count(self) -> dict[str, int]:
        """How many nodes there are of each kind."""
        counts = torch.bincount(self.kind.long(), minlength=len(NODE_KINDS)).tolist()
        return dict(zip(NODE_KINDS, counts, strict=True))

    @property
    def n_layers(self) -> int:
        """Layers of the model: logits stand just above the last."""
        return int(self.layer.max()) + (0 if LOGIT in self.kind else 1) if len(self) else 0

    def ids(self) -> list[str]:
        """A name for each node, unique in its graph and the same in every trace of the same prompt.

        They are circuit-tracer's, except that its error ids (`0_layer_position`) collide with features of layer 0.
        """
        columns = zip(
            *(c.tolist() for c in (self.kind, self.layer, self.position, self.feature, self.token)), strict=True
        )
        first_logit = self.span("logit").start
        return [_node_id(*column, rank=i - first_logit) for i, column in enumerate(columns)]


def with_errors(
    nodes: NodeTable, layer: Int[Tensor, " new"], position: Int[Tensor, " new"]
) -> tuple[NodeTable, Int64[Tensor, " node"]]:
    """The table with error nodes at places that have none, and where each former node now stands."""
    new, n = len(layer), len(nodes)
    added = {
        "kind": torch.full((new,), ERROR), "layer": layer, "position": position, "feature": torch.full((new,), -1),
        "token": torch.full((new,), -1), "activation": torch.zeros(new), "influence": torch.zeros(new),
    }  # fmt: skip
    columns = {name: torch.cat([column, added[name].to(column.dtype)]) for name, column in nodes.columns().items()}
    order = torch.arange(n + new)
    for key in (columns["position"], columns["layer"]):  # errors alone are sorted; the others keep their order
        is_error = columns["kind"][order] == ERROR
        key = torch.where(is_error, key[order].long(), 0)
        order = order[key.argsort(stable=True)]
    order = order[columns["kind"][order].argsort(stable=True)]
    place = torch.empty(n + new, dtype=torch.long)
    place[order] = torch.arange(n + new)
    return NodeTable(**{name: column[order] for name, column in columns.items()}), place[:n]


def _node_id(kind: int, layer: int, position: int, feature: int, token: int, *, rank: int) -> str:
    if kind == FEATURE:
        return f"{layer}_{feature}_{position}"
    if kind == ERROR:
        return f"{layer}_error_{position}"
    if kind == TOKEN:
        return f"E_{token}_{position}"
    if kind == BIAS:
        return "bias_constant" if layer < 0 else f"bias_{layer}" if position < 0 else f"bias_{layer}_{position}"
    return f"{layer + 1}_{token if token >= 0 else f'direction{rank}'}_{position}"


def node_table(
    layout: NodeLayout,
    *,
    layer: Int[Tensor, " feature"],
    position: Int[Tensor, " feature"],
    feature: Int[Tensor, " feature"],
    activation: Float[Tensor, " feature"],
    token_ids: Sequence[int] | Tensor,
    target_ids: Sequence[int] | Tensor,
    target_probabilities: Sequence[float] | Tensor,
    target_position: int | Sequence[int] | Tensor,
) -> NodeTable:
    """The columns of a layout's nodes.

    The feature columns must be sorted by (layer, position, feature). `target_ids` are vocabulary ids, -1 for a target
    that is a direction and not a token; `target_probabilities` are what such targets weigh beside the tokens.
    `target_position` is one position for all targets, or one for each.
    """
    kind = torch.empty(layout.size, dtype=torch.int8)
    columns = {
        name: torch.full((layout.size,), -1, dtype=torch.int32) for name in ("layer", "position", "feature", "token")
    }
    dtype = activation.dtype if activation.is_floating_point() else torch.float32
    activations = torch.zeros(layout.size, dtype=dtype)
    spans = (layout.features, layout.errors, layout.tokens, layout.biases, layout.logits)
    for code, span in enumerate(spans):
        kind[span] = code

    for name, column in (("layer", layer), ("position", position), ("feature", feature)):
        columns[name][layout.features] = column.detach().cpu().to(torch.int32)
    activations[layout.features] = activation.detach().cpu()

    layers = torch.arange(layout.n_layers, dtype=torch.int32)
    positions = torch.arange(layout.n_positions, dtype=torch.int32)
    grid = torch.cartesian_prod(layers, positions[layout.n_real :]).reshape(-1, 2)
    columns["layer"][layout.errors], columns["position"][layout.errors] = grid.unbind(1)

    columns["position"][layout.tokens] = positions
    columns["token"][layout.tokens] = torch.as_tensor(token_ids).cpu().to(torch.int32)

    columns["layer"][layout.decoder_bias(0) : layout.real_mlp(0, 0)] = layers
    kept = torch.cartesian_prod(layers, positions[: layout.n_real]).reshape(-1, 2)
    kept_span = slice(layout.real_mlp(0, 0), layout.biases.stop)
    columns["layer"][kept_span], columns["position"][kept_span] = kept.unbind(1)

    columns["layer"][layout.logits] = layout.n_layers
    columns["position"][layout.logits] = torch.as_tensor(target_position).cpu().to(torch.int32)
    columns["token"][layout.logits] = torch.as_tensor(target_ids).cpu().to(torch.int32)
    activations[layout.logits] = torch.as_tensor(target_probabilities).detach().cpu().to(dtype)
    return NodeTable(kind=kind, activation=activations, **columns)

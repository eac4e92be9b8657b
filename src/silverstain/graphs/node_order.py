"""Where each node of a traced graph stands, and the columns of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.graphs.nodes import NodeTable

Index = TypeVar("Index", int, Tensor)


@dataclass(frozen=True, kw_only=True)
class NodeLayout:
    """Where each node stands in the one order of nodes: features, attention, errors, tokens, biases, logits.

    `n_real` leading positions keep their real MLP, so they have no error nodes; what their MLPs write comes from bias
    nodes instead. The biases are one constant, then one a layer for the decoder's bias, then one for each layer and
    leading position.
    """

    n_features: int
    n_layers: int
    n_positions: int
    n_logits: int
    n_real: int = 1
    n_attention: int = 0
    """Only graphs of contrasts have nodes of attention."""

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
    def attentions(self) -> slice:
        return slice(self.n_features, self.n_features + self.n_attention)

    @property
    def errors(self) -> slice:
        return slice(self.attentions.stop, self.attentions.stop + self.n_errors)

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
    attention_layer: Int[Tensor, " attention"] | None = None,
    attention_position: Int[Tensor, " attention"] | None = None,
    attention_head: Int[Tensor, " attention"] | None = None,
    attention_key: Int[Tensor, " attention"] | None = None,
    attention_activation: Float[Tensor, " attention"] | None = None,
) -> NodeTable:
    """The columns of a layout's nodes.

    The feature columns must be sorted by (layer, position, feature), those of attention, which are given all or none,
    by (layer, position, head, key): head and key -1 is the rest of attention there, and so stands first.

    `target_ids` are vocabulary ids, -1 for a target that is a direction and not a token; `target_probabilities` are
    what such targets weigh beside the tokens.
    `target_position` is one position for all targets, or one for each.
    """
    kind = torch.empty(layout.size, dtype=torch.int8)
    columns = {
        name: torch.full((layout.size,), -1, dtype=torch.int32) for name in ("layer", "position", "feature", "token")
    }
    dtype = activation.dtype if activation.is_floating_point() else torch.float32
    activations = torch.zeros(layout.size, dtype=dtype)
    spans = (layout.features, layout.attentions, layout.errors, layout.tokens, layout.biases, layout.logits)
    for code, span in enumerate(spans):
        kind[span] = code

    for name, column in (("layer", layer), ("position", position), ("feature", feature)):
        columns[name][layout.features] = column.detach().cpu().to(torch.int32)
    activations[layout.features] = activation.detach().cpu()

    attention = {
        "layer": attention_layer, "position": attention_position, "head": attention_head, "key": attention_key,
        "activation": attention_activation,
    }  # fmt: skip
    given = {name: column for name, column in attention.items() if column is not None}
    if (given and len(given) < len(attention)) or (layout.n_attention and not given):
        raise ValueError(
            f"{layout.n_attention} nodes of attention are given the columns {', '.join(given) or 'none'} alone"
        )
    if layout.n_attention:
        columns["key"] = torch.full((layout.size,), -1, dtype=torch.int32)
        activations[layout.attentions] = given.pop("activation").detach().cpu().to(dtype)
        for name, column in given.items():
            columns["feature" if name == "head" else name][layout.attentions] = column.detach().cpu().to(torch.int32)

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

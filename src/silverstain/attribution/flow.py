"""The model of one recorded run with attention patterns, norm scales and MLPs held fixed: a linear map.

The residual stream is the only state. With layers ℓ, positions p, and everything frozen at the recorded run,

    mid_ℓ[p]    = stream_ℓ[p] + Σ_h Σ_k pattern_ℓ[h, p, k] · W_O[h] W_V[h] (stream_ℓ[k] · scale_ℓ[k] · weight_ℓ)
    stream_ℓ₊₁  = mid_ℓ + write_ℓ + W_skip (mid_ℓ · scale · weight)          (the skip only where there is one)

`write_ℓ` is what the MLP of layer ℓ adds: a constant here, since the MLP is frozen, and the place where features,
errors and biases write. What is read is the output of the norm before an MLP, or of the final norm.

`response` pushes writes up to every read; `sweep` and `adjoint` pull the gradient of a read down to every write. Both
are plain products with W_O, W_V and the pattern: no autograd, nothing per target is kept beyond one gradient.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

EMBEDDING = -1
"""The write layer of the embedding; the layers of the model are 0, 1, …."""


class Crossing(NamedTuple):
    """The gradient of a batch of targets at one place where the stream is written."""

    layer: int
    """Layer whose MLP writes here, or EMBEDDING."""
    first: int
    """The gradient is zero at positions before this one; `gradient` starts with it."""
    gradient: Float[Tensor, "target pos d_model"]
    """A view that is overwritten when the sweep goes on: use it or copy it at once."""
    constant: Float[Tensor, " target"] | None
    """What the biases of the attention block just crossed add to each target; None where it has none."""


class Gradients(NamedTuple):
    """What `adjoint` finds: the gradient of each target at everything that writes."""

    mlp_outputs: Float[Tensor, "layer target pos d_model"]
    embedding: Float[Tensor, "target pos d_model"]


class Reads(NamedTuple):
    """What `response` finds: what every norm output that is read becomes (scales frozen, weights crossed)."""

    mlp_inputs: Float[Tensor, "layer source pos d_model"]
    final: Float[Tensor, "source pos d_model"]


@dataclass(frozen=True, kw_only=True)
class FrozenFlow:
    """The frozen linear map of one run. Each tensor is held once, in the model's own layout."""

    patterns: Float[Tensor, "layer head query key"]
    attention_scale: Float[Tensor, "layer pos"]
    mlp_scale: Float[Tensor, "layer pos"]
    final_scale: Float[Tensor, " pos"]
    attention_norm: Float[Tensor, "layer d_model"]
    mlp_norm: Float[Tensor, "layer d_model"]
    final_norm: Float[Tensor, " d_model"]
    W_V: tuple[Tensor, ...]
    """A layer's value matrices, [n_kv_heads, d_head, d_model]; query head h reads kv head h // (n_heads/n_kv_heads)."""
    W_O: tuple[Tensor, ...]
    """A layer's output matrices, [n_heads, d_model, d_head]."""
    W_skip: tuple[Tensor | None, ...]
    """A layer's linear skip [d_model, d_model], applied as x @ W_skip.T to the MLP's input, or None."""
    attention_bias: tuple[Tensor | None, ...]
    """The constant [d_model] that a layer's attention adds at every position (its value bias, as patterns sum to 1,
    and its output bias), or None. No part of the linear map."""
    n_real: int = 1
    """Leading positions that keep their real MLP: no skip passes there."""

    @property
    def n_layers(self) -> int:
        return self.patterns.shape[0]

    @property
    def n_positions(self) -> int:
        return self.patterns.shape[-1]

    @property
    def d_model(self) -> int:
        return self.final_norm.shape[0]

    def read_gain(self, layer: int) -> Float[Tensor, "pos d_model"]:
        """What the norm before the MLP of `layer` (or the final norm, for `layer == n_layers`) multiplies with."""
        if layer == self.n_layers:
            return self.final_scale[:, None] * self.final_norm
        return self.mlp_scale[layer, :, None] * self.mlp_norm[layer]

    def attention_gain(self, layer: int) -> Float[Tensor, "pos d_model"]:
        """What the norm before the attention of `layer` multiplies with."""
        return self.attention_scale[layer, :, None] * self.attention_norm[layer]

    def sweep(
        self, vectors: Float[Tensor, "target d_model"], layers: Sequence[int], position: int
    ) -> Iterator[Crossing]:
        """Pull the gradients of targets read at one position down through the model, top layer first.

        Args:
            vectors: what each target multiplies the norm's output with (an encoder row, a logit vector).
            layers: where each target reads, never rising: `n_layers` for the final norm, ℓ for the MLP input of ℓ.
            position: where all of them read.

        Yields the gradient at every MLP output, and at last at the embedding, of the targets that have been reached:
        a prefix of `vectors`. A target costs nothing above its layer and nothing right of its position.
        """
        assert list(layers) == sorted(layers, reverse=True)  # so that the reached targets are a prefix
        stream = vectors.new_zeros(len(vectors), position + 1, self.d_model)
        reached = 0
        for layer in range(max(layers, default=-1), -1, -1):
            entering = slice(reached, reached + sum(1 for read in layers if read == layer))
            stream[entering, position] = vectors[entering] * self.read_gain(layer)[position]
            constant = None
            if layer == self.n_layers:
                first = position
            else:
                bias = self.attention_bias[layer]
                if bias is not None:
                    constant = stream[: entering.stop].sum(dim=1) @ bias
                # A gradient is at the reading position alone until it has passed its first attention block.
                spread = 0 if layer == self.n_layers - 1 else reached
                self._attention_adjoint_(layer, stream[:spread], first=0)
                self._attention_adjoint_(layer, stream[spread : entering.stop], first=position)
                first = 0
            reached = entering.stop
            yield Crossing(layer - 1, first, stream[:reached, first:], constant)
            if layer > 0:
                self._skip_adjoint_(layer - 1, stream[:reached], first)

    def adjoint(self, vectors: Float[Tensor, "target d_model"], layer: int, position: int) -> Gradients:
        """The gradient of each target, read at (layer, position), at every MLP output and at the embedding.

        The transpose of `response`. `layer == n_layers` reads the final norm. Places that cannot reach the read
        (MLPs at or above `layer`, later positions) have zeros.
        """
        shape = (len(vectors), self.n_positions, self.d_model)
        writes = vectors.new_zeros(self.n_layers, *shape)
        embedding = vectors.new_zeros(shape)
        for crossing in self.sweep(vectors, [layer] * len(vectors), position):
            into = embedding if crossing.layer == EMBEDDING else writes[crossing.layer]
            into[:, crossing.first : position + 1] = crossing.gradient
        return Gradients(writes, embedding)

    def forward(self, vectors: Float[Tensor, "source d_model"], layer: int, position: int) -> Reads:
        """What every read becomes when each vector alone is written at (layer, position); EMBEDDING is a layer."""
        shape = (len(vectors), self.n_positions, self.d_model)
        embedding = vectors.new_zeros(shape)
        writes = vectors.new_zeros(self.n_layers, *shape)
        (embedding if layer == EMBEDDING else writes[layer])[:, position] = vectors
        return self.response(embedding, writes)

    def response(
        self,
        embedding: Float[Tensor, "source pos d_model"],
        writes: Float[Tensor, "layer source pos d_model"],
        *,
        with_biases: bool = False,
    ) -> Reads:
        """Push whole runs of writes up: what every read becomes; `with_biases` adds those of attention."""
        stream = embedding
        mlp_inputs = []
        for layer in range(self.n_layers):
            mid = stream + self.attention(layer, stream)
            bias = self.attention_bias[layer]
            if with_biases and bias is not None:
                mid = mid + bias
            mlp_inputs.append(mid * self.read_gain(layer))
            stream = mid + writes[layer] + self.skip(layer, mlp_inputs[-1])
        return Reads(torch.stack(mlp_inputs), stream * self.read_gain(self.n_layers))

    def attention(self, layer: int, stream: Float[Tensor, "source pos d_model"]) -> Float[Tensor, "source pos d_model"]:
        """What the frozen attention of `layer` adds to the stream."""
        W_V, W_O, pattern = self.W_V[layer], self.W_O[layer], self.patterns[layer]
        normed = stream * self.attention_gain(layer)
        values = torch.einsum("skd,ved->svke", normed, W_V).repeat_interleave(len(W_O) // len(W_V), dim=1)
        return torch.einsum("shke,hqk,hde->sqd", values, pattern, W_O)

    def skip(self, layer: int, mlp_input: Float[Tensor, "source pos d_model"]) -> Float[Tensor, "source pos d_model"]:
        """What the dictionary's linear skip of `layer` adds; nothing at positions that keep their real MLP."""
        W_skip = self.W_skip[layer]
        written = torch.zeros_like(mlp_input)
        if W_skip is not None:
            written[:, self.n_real :] = mlp_input[:, self.n_real :] @ W_skip.T
        return written

    def _attention_adjoint_(self, layer: int, stream: Float[Tensor, "target pos d_model"], *, first: int) -> None:
        """Add to each gradient, in place, what comes through attention; `first`: zero before this position."""
        n_targets, n_keys, _ = stream.shape
        if n_targets == 0:
            return
        pattern = self.patterns[layer, :, first:n_keys, :n_keys]
        through = attention_adjoint(stream[:, first:], pattern, self.W_V[layer], self.W_O[layer])
        stream.addcmul_(through, self.attention_gain(layer)[:n_keys])

    def _skip_adjoint_(self, layer: int, stream: Float[Tensor, "target pos d_model"], first: int) -> None:
        W_skip = self.W_skip[layer]
        first = max(first, self.n_real)
        if W_skip is not None and first < stream.shape[1]:
            gain = self.read_gain(layer)[first : stream.shape[1]]
            stream[:, first:] += (stream[:, first:] @ W_skip) * gain


def attention_adjoint(
    gradient: Float[Tensor, "target query d_model"],
    pattern: Float[Tensor, "head query key"],
    W_V: Float[Tensor, "kv_head d_head d_model"],
    W_O: Float[Tensor, "head d_model d_head"],
) -> Float[Tensor, "target key d_model"]:
    """Σ_h Σ_q pattern[h, q, k] · W_V[h]ᵀ W_O[h]ᵀ gradient[q], the heads that share values summed before W_V."""
    n_targets, n_queries, d_model = gradient.shape
    n_kv, d_head, _ = W_V.shape
    n_heads, n_keys = len(W_O), pattern.shape[-1]
    group = n_heads // n_kv

    # One product for all heads; o_proj.weight itself has this layout, so that no weight is copied.
    at_heads = gradient.reshape(-1, d_model) @ W_O.permute(1, 0, 2).reshape(d_model, n_heads * d_head)
    at_heads = at_heads.view(n_targets, n_queries, n_kv, group, d_head)
    at_heads = at_heads.permute(2, 3, 1, 0, 4).reshape(n_kv, group * n_queries, n_targets * d_head)
    mixing = pattern.view(n_kv, group, n_queries, n_keys).permute(0, 3, 1, 2).reshape(n_kv, n_keys, group * n_queries)
    at_values = torch.bmm(mixing, at_heads).view(n_kv, n_keys, n_targets, d_head)
    at_values = at_values.permute(2, 1, 0, 3).reshape(n_targets * n_keys, n_kv * d_head)
    return (at_values @ W_V.reshape(n_kv * d_head, d_model)).view(n_targets, n_keys, d_model)

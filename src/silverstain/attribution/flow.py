"""The model of one recorded run with attention patterns, norm scales and MLPs held fixed: an affine map.

The residual stream is the only state. With layers ℓ, positions p, norms N (affine maps, now that their denominators
are fixed; see frozen_norm) and everything frozen at the recorded run,

    mid_ℓ[p]    = stream_ℓ[p] + N'_ℓ(Σ_h Σ_k pattern_ℓ[h, p, k] · W_O[h] W_V[h] N_ℓ(stream_ℓ)[k])      (+ its biases)
    stream_ℓ₊₁  = mid_ℓ + write_ℓ + W_skip M_ℓ(mid_ℓ)                           (the skip only where there is one)

`write_ℓ` is what the MLP of layer ℓ adds: a constant here, since the MLP is frozen, and the place where features,
errors and biases write. What is read is M_ℓ(mid_ℓ), the output of the norm before an MLP, or of the final norm; in a
parallel block it is M_ℓ(stream_ℓ). Norms that an architecture does not have are the identity.

`response` pushes writes up to every read; `sweep` and `adjoint` pull the gradient of a read down to every write. Both
are plain products with W_O, W_V and the pattern: no autograd, nothing per target is kept beyond one gradient. Sources
travel through the linear part; what biases of norms and attention add to a target is its constant.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.frozen_norm import FlowNorms, FrozenNorm
from silverstain.brief import brief

EMBEDDING = -1
"""The write layer of the embedding; the layers of the model are 0, 1, …."""
ATTENTION_VALUES = -2
"""A place where the stream is read, not a layer: the values of the attention of a sweep's `values_layer`."""


KEYS_AT_ONCE = 256
"""Keys that share a product with the pattern: fewer leave more of the zeros above its diagonal out."""


class Crossing(NamedTuple):
    """The gradient of a batch of targets at one place where the stream is written."""

    layer: int
    """Layer whose MLP writes here, EMBEDDING or ATTENTION_VALUES."""
    first: int
    """The gradient is zero at positions before this one; `gradient` starts with it."""
    gradient: Float[Tensor, "target pos width"]
    """A view that is overwritten when the sweep goes on: use it or copy it at once."""
    constant: Float[Tensor, " target"]
    """What the biases crossed since the last yield (of norms, attention and skips) add to each target."""
    is_attention: bool = False
    """Where the attention of `layer` adds to the stream, and not its MLP."""


@brief
class Gradients(NamedTuple):
    """What `adjoint` finds: the gradient of each target at everything that writes."""

    mlp_outputs: Float[Tensor, "layer target pos d_model"]
    embedding: Float[Tensor, "target pos d_model"]


@brief
class Reads(NamedTuple):
    """What `response` finds: what every norm output that is read becomes (scales frozen, weights crossed)."""

    mlp_inputs: Float[Tensor, "layer source pos d_model"]
    final: Float[Tensor, "source pos d_model"]


@brief
@dataclass(frozen=True, kw_only=True)
class FrozenFlow:
    """The frozen affine map of one run. Each tensor is held once, in the model's own layout."""

    patterns: Float[Tensor, "layer head query key"]
    attention_norms: tuple[FrozenNorm, ...]
    """Before the attention of each layer."""
    attention_output_norms: tuple[FrozenNorm | None, ...]
    """Between the attention of each layer and the stream, where there is one."""
    read_norms: tuple[FrozenNorm, ...]
    """Before the MLP of each layer, and the final norm at last."""
    W_V: tuple[Tensor, ...]
    """A layer's value matrices, [n_kv_heads, d_head, d_model]; query head h reads kv head h // (n_heads/n_kv_heads)."""
    W_O: tuple[Tensor, ...]
    """A layer's output matrices, [n_heads, d_model, d_head]."""
    W_skip: tuple[Tensor | None, ...]
    """A layer's linear skip [d_model, d_model], applied as x @ W_skip.T to the MLP's input, or None."""
    attention_bias: tuple[Tensor | None, ...]
    """What a layer's attention adds whatever the stream holds, [pos, d_model] or [1, d_model]; None for nothing."""
    write_norms: tuple[FrozenNorm | None, ...] = ()
    """Behind the MLP of each layer, where there is one and what writes does so before it; empty for none."""
    is_parallel: bool = False
    """Attention and MLP of a block read the same stream."""
    n_real: int = 1
    """Leading positions that keep their real MLP: no skip passes there."""

    @property
    def n_layers(self) -> int:
        return self.patterns.shape[0]

    @property
    def n_positions(self) -> int:
        return self.patterns.shape[-1]

    def write_norm(self, layer: int) -> FrozenNorm | None:
        """What is written at a layer's MLP passes this norm first; None for nothing."""
        return self.write_norms[layer] if self.write_norms else None

    @property
    def norms(self) -> FlowNorms:
        return FlowNorms(self.attention_norms, self.attention_output_norms, self.read_norms)

    @property
    def d_model(self) -> int:
        return self.read_norms[-1].weight.shape[0]

    def sweep(
        self,
        vectors: Float[Tensor, "target d_model"],
        layers: Sequence[int],
        positions: Int[Tensor, " target"],
        *,
        values_layer: int | None = None,
        attends: bool = False,
    ) -> Iterator[Crossing]:
        """Pull the gradients of targets down through the model, top layer first.

        Args:
            vectors: what each target multiplies the norm's output with (an encoder row, a logit vector).
            layers: where each target reads, never rising: `n_layers` for the final norm, ℓ for the MLP input of ℓ.
            positions: where each reads. Nothing right of the last one is computed, so targets that read close to
                each other belong together.
            values_layer: the attention of this layer is not crossed: once its values are reached their gradient is
                given, as ATTENTION_VALUES, and what comes from below is missing what passes it (see `at_values`).
                Attention below it is never computed.
            attends: also stop where attention adds to the stream.

        Yields the gradient at every MLP output, and at last at the embedding, of the targets that have been reached:
        a prefix of `vectors`. A target costs nothing above its layer.
        """
        assert list(layers) == sorted(layers, reverse=True)  # so that the reached targets are a prefix
        if not len(vectors):
            return
        first, last = int(positions.min()), int(positions.max())
        stream = vectors.new_zeros(len(vectors), last + 1, self.d_model)
        # the first attention block that each target crosses on its way down
        blocks = [read - 1 if self.is_parallel else min(read, self.n_layers - 1) for read in layers]
        for layer in range(layers[0], -1, -1):
            before = sum(read > layer for read in layers)
            reached = sum(read >= layer for read in layers)
            constant = vectors.new_zeros(reached)
            entering = slice(before, reached)
            entered = self._entered(layer, vectors[entering], positions[entering], constant[entering])
            if layer == self.n_layers:
                _enter_(stream, entered, entering, positions)
                yield Crossing(layer - 1, first, stream[:reached, first:], constant)
                continue
            skipped = self._skip_adjoint(layer, stream[:before], first, constant[:before])
            if not self.is_parallel:
                _add_skipped_(stream, skipped)
                _enter_(stream, entered, entering, positions)
            if attends and (before if self.is_parallel else reached):
                entered_yet = before if self.is_parallel else reached
                yield Crossing(layer, first, stream[:entered_yet, first:], constant[:0], is_attention=True)
            spread, crossing = sum(block > layer for block in blocks), sum(block >= layer for block in blocks)
            old, new = slice(0, spread), slice(spread, crossing)
            if values_layer is None or layer > values_layer:
                self._attention_adjoint_(layer, stream[old], constant[old])
                self._first_attention_adjoint_(layer, stream[new], positions[new], constant[new])
            elif layer == values_layer:
                at_values = torch.cat(
                    [
                        self._values_adjoint(layer, stream[old], constant[old]),
                        self._first_values_adjoint(layer, stream[new], positions[new], constant[new]),
                    ]
                )
                yield Crossing(ATTENTION_VALUES, 0, at_values, constant[:0])
            if self.is_parallel:
                _add_skipped_(stream, skipped)
                _enter_(stream, entered, entering, positions)
            first = 0 if crossing else first
            yield Crossing(layer - 1, first, stream[:reached, first:], constant)

    def sweep_from(self, gradients: Float[Tensor, "target pos d_model"], layers: Sequence[int]) -> Iterator[Crossing]:
        """The same for targets whose gradient is known at the stream that the block of a layer reads: patterns, which
        read it at many positions.

        `layers` never rise. Yields the gradient where attention and MLPs below add to the stream, and at the embedding.
        """
        assert list(layers) == sorted(layers, reverse=True)
        if not len(gradients):
            return
        stream = torch.zeros_like(gradients)
        for layer in range(layers[0], -1, -1):
            before = sum(read > layer for read in layers)
            reached = sum(read >= layer for read in layers)
            constant = gradients.new_zeros(reached)
            if before:
                skipped = self._skip_adjoint(layer, stream[:before], 0, constant[:before])
                if not self.is_parallel:
                    _add_skipped_(stream, skipped)
                yield Crossing(layer, 0, stream[:before], constant[:0], is_attention=True)
                self._attention_adjoint_(layer, stream[:before], constant[:before])
                if self.is_parallel:
                    _add_skipped_(stream, skipped)
            stream[before:reached] = gradients[before:reached]
            yield Crossing(layer - 1, 0, stream[:reached], constant)

    def at_values(
        self, layer: int, rows: Float[Tensor, "write d_model"], positions: Int[Tensor, " write"]
    ) -> Float[Tensor, "write values"]:
        """What each row, written into the stream below a layer, makes of the values of that layer's attention."""
        W_V = self.W_V[layer]
        normed = self.attention_norms[layer].linear_at(rows, positions)
        return normed @ W_V.reshape(-1, self.d_model).T.to(normed)

    def carried(self, embedding: Float[Tensor, "pos d_model"]) -> Float[Tensor, "query key d_model"]:
        """What the embedding of each key position puts into the stream at each query position behind layer 0's
        attention, its biases left out: zero for keys after the query.

        Targets read all of it there, so that no gradient has to cross that attention (`sweep`).
        """
        W_V, W_O, pattern = self.W_V[0].to(embedding), self.W_O[0].to(embedding), self.patterns[0]
        normed = self.attention_norms[0].linear(embedding)
        values = torch.einsum("kd,ved->vke", normed, W_V).repeat_interleave(len(W_O) // len(W_V), dim=0)
        by_head = torch.einsum("hke,hde->hkd", values, W_O)
        carried = torch.einsum("hqk,hkd->qkd", pattern, by_head)
        output_norm = self.attention_output_norms[0]
        if output_norm is not None:
            carried = output_norm.linear(carried.transpose(0, 1)).transpose(0, 1)
        carried.diagonal(dim1=0, dim2=1).add_(embedding.T)
        return carried

    def adjoint(self, vectors: Float[Tensor, "target d_model"], layer: int, position: int) -> Gradients:
        """The gradient of each target, read at (layer, position), at every MLP output and at the embedding.

        The transpose of `response`. `layer == n_layers` reads the final norm. Places that cannot reach the read
        (MLPs at or above `layer`, later positions) have zeros.
        """
        shape = (len(vectors), self.n_positions, self.d_model)
        writes = vectors.new_zeros(self.n_layers, *shape)
        embedding = vectors.new_zeros(shape)
        positions = torch.full((len(vectors),), position, device=vectors.device)
        for crossing in self.sweep(vectors, [layer] * len(vectors), positions):
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
        """Push whole runs of writes up: what every read becomes; `with_biases` adds those of norms and attention."""
        stream = embedding
        mlp_inputs = []
        for layer in range(self.n_layers):
            mid = stream + self.attention(layer, stream)
            bias = self.attention_bias[layer]
            if with_biases and bias is not None:
                mid = mid + bias
            mlp_inputs.append(self.read(layer, stream if self.is_parallel else mid, with_bias=with_biases))
            stream = mid + writes[layer] + self.skip(layer, mlp_inputs[-1])
        return Reads(torch.stack(mlp_inputs), self.read(self.n_layers, stream, with_bias=with_biases))

    def read(
        self, layer: int, stream: Float[Tensor, "source pos d_model"], *, with_bias: bool = False
    ) -> Float[Tensor, "source pos d_model"]:
        """What the norm before the MLP of `layer` (or the final norm, for `layer == n_layers`) makes of the stream."""
        norm = self.read_norms[layer]
        out = norm.linear(stream)
        return out + norm.bias if with_bias and norm.bias is not None else out

    def attention(self, layer: int, stream: Float[Tensor, "source pos d_model"]) -> Float[Tensor, "source pos d_model"]:
        """What the frozen attention of `layer` adds to the stream, its biases left out."""
        added = self.mixed(layer, self.attention_norms[layer].linear(stream))
        output_norm = self.attention_output_norms[layer]
        return added if output_norm is None else output_norm.linear(added)

    def mixed(self, layer: int, normed: Float[Tensor, "source pos d_model"]) -> Float[Tensor, "source pos d_model"]:
        """What the patterns of `layer` make of normed inputs, before a norm behind attention and without biases."""
        return mixed(self.patterns[layer], self.W_V[layer], self.W_O[layer], normed)

    def skip(self, layer: int, mlp_input: Float[Tensor, "source pos d_model"]) -> Float[Tensor, "source pos d_model"]:
        """What the dictionary's linear skip of `layer` adds; nothing at positions that keep their real MLP."""
        W_skip = self.W_skip[layer]
        written = torch.zeros_like(mlp_input)
        if W_skip is not None:
            written[:, self.n_real :] = mlp_input[:, self.n_real :] @ W_skip.T
        return written

    def _entered(
        self,
        layer: int,
        vectors: Float[Tensor, "target d_model"],
        positions: Int[Tensor, " target"],
        constant: Float[Tensor, " target"],
    ) -> Float[Tensor, "target d_model"]:
        """The gradient of targets at the stream where they read it; what the norm's bias adds goes to `constant`."""
        norm = self.read_norms[layer]
        if norm.bias is not None:
            constant += (vectors * (norm.bias[positions] if len(norm.bias) > 1 else norm.bias)).sum(-1)
        return norm.pull_at(vectors, positions)

    def _attention_adjoint_(
        self, layer: int, stream: Float[Tensor, "target pos d_model"], constant: Float[Tensor, " target"]
    ) -> None:
        """Add to each gradient, in place, what comes through attention."""
        if not len(stream):
            return
        at_values = self._values_adjoint(layer, stream, constant)
        through = at_values.to(self.W_V[layer].dtype) @ self.W_V[layer].reshape(-1, self.d_model)
        self.attention_norms[layer].pull_into_(stream, through.to(stream.dtype), 0)

    def _first_attention_adjoint_(
        self,
        layer: int,
        stream: Float[Tensor, "target pos d_model"],
        positions: Int[Tensor, " target"],
        constant: Float[Tensor, " target"],
    ) -> None:
        """The same for targets whose gradient is at one position yet: W_O and W_V are crossed once, not at every key.

        What a head passes down is the same vector at every key, times its pattern there.
        """
        n_targets, n_keys, _ = stream.shape
        if n_targets == 0:
            return
        W_V, norm = self.W_V[layer], self.attention_norms[layer]
        at_heads = self._at_heads(layer, stream, positions, constant)
        by_head = torch.einsum("tvge,ved->tvgd", at_heads.to(W_V.dtype), W_V).to(stream.dtype)
        by_head = norm.pull_weight(by_head.flatten(1, 2))
        norm.add_mixed_(stream, self.patterns[layer, :, positions, :n_keys].permute(1, 2, 0), by_head)

    def _values_adjoint(
        self, layer: int, stream: Float[Tensor, "target pos d_model"], constant: Float[Tensor, " target"]
    ) -> Float[Tensor, "target pos values"]:
        """The gradient at the values of a layer's attention; what its biases add goes to `constant`."""
        bias, output_norm = self.attention_bias[layer], self.attention_output_norms[layer]
        n_keys = stream.shape[1]
        if bias is not None:
            constant += _summed_products(stream, bias[:n_keys] if len(bias) > 1 else bias)
        gradient = stream if output_norm is None else output_norm.pull(stream, 0)
        pattern = self.patterns[layer, :, :n_keys, :n_keys]
        return values_adjoint(gradient, pattern, self.W_O[layer], len(self.W_V[layer]))

    def _first_values_adjoint(
        self,
        layer: int,
        stream: Float[Tensor, "target pos d_model"],
        positions: Int[Tensor, " target"],
        constant: Float[Tensor, " target"],
    ) -> Float[Tensor, "target pos values"]:
        """The same for targets whose gradient is at one position yet."""
        at_heads = self._at_heads(layer, stream, positions, constant)
        pattern = self.patterns[layer, :, positions, : stream.shape[1]].unflatten(0, at_heads.shape[1:3])
        return torch.einsum("tvge,vgtk->tkve", at_heads, pattern).flatten(2)

    def _at_heads(
        self,
        layer: int,
        stream: Float[Tensor, "target pos d_model"],
        positions: Int[Tensor, " target"],
        constant: Float[Tensor, " target"],
    ) -> Float[Tensor, "target kv_head group d_head"]:
        """The gradient at the heads of a layer's attention, each target's at its own position."""
        gradient = stream[torch.arange(len(stream), device=stream.device), positions]
        bias, output_norm = self.attention_bias[layer], self.attention_output_norms[layer]
        if bias is not None:
            constant += (gradient * (bias[positions] if len(bias) > 1 else bias)).sum(-1)
        if output_norm is not None:
            gradient = output_norm.pull_at(gradient, positions)
        W_O = self.W_O[layer]
        at_heads = gradient.to(W_O.dtype) @ flat_heads(W_O)
        n_kv = len(self.W_V[layer])
        return at_heads.to(gradient.dtype).view(len(stream), n_kv, len(W_O) // n_kv, W_O.shape[-1])

    def _skip_adjoint(
        self, layer: int, stream: Float[Tensor, "target pos d_model"], first: int, constant: Float[Tensor, " target"]
    ) -> Float[Tensor, "target late d_model"] | None:
        """The gradient of each target through the skip, at the last positions; None where nothing passes."""
        W_skip, norm = self.W_skip[layer], self.read_norms[layer]
        first = max(first, self.n_real)
        if W_skip is None or first >= stream.shape[1]:
            return None
        at_input = stream[:, first:] @ W_skip
        if norm.bias is not None:
            bias = norm.bias[first : stream.shape[1]] if len(norm.bias) > 1 else norm.bias
            constant += _summed_products(at_input, bias)
        return norm.pull(at_input, first)


def _enter_(
    stream: Float[Tensor, "target pos d_model"],
    entered: Float[Tensor, "entering d_model"],
    entering: slice,
    positions: Int[Tensor, " target"],
) -> None:
    """Add, in place, the gradients of new targets at the positions where they read."""
    at = torch.arange(entering.start, entering.stop, device=stream.device)
    stream[at, positions[entering]] += entered


def _add_skipped_(stream: Float[Tensor, "target pos d_model"], skipped: Tensor | None) -> None:
    """Add, in place, what comes through the skip at the last positions."""
    if skipped is not None:
        stream[: len(skipped), stream.shape[1] - skipped.shape[1] :] += skipped


def _summed_products(
    gradient: Float[Tensor, "target some d_model"], bias: Float[Tensor, "#some d_model"]
) -> Float[Tensor, " target"]:
    """Σ over positions of gradient · bias."""
    if len(bias) == 1:
        return gradient.sum(dim=1) @ bias[0]
    return torch.einsum("tpd,pd->t", gradient, bias)


def mixed(
    pattern: Float[Tensor, "head query key"],
    W_V: Float[Tensor, "kv_head d_head d_model"],
    W_O: Float[Tensor, "head d_model d_head"],
    normed: Float[Tensor, "source key d_model"],
) -> Float[Tensor, "source query d_model"]:
    """Σ_h Σ_k pattern[h, q, k] · W_O[h] W_V[h] normed[k]: what attention writes, its biases left out."""
    values = torch.einsum("skd,ved->svke", normed.to(W_V), W_V).repeat_interleave(len(W_O) // len(W_V), dim=1)
    return torch.einsum("shke,hqk,hde->sqd", values, pattern.to(W_O), W_O).to(normed)


def flat_heads(W_O: Float[Tensor, "head d_model d_head"]) -> Float[Tensor, "d_model heads"]:
    """All heads in one matrix; o_proj.weight itself has this layout, so that no weight is copied."""
    return W_O.permute(1, 0, 2).reshape(W_O.shape[1], -1)


def values_adjoint(
    gradient: Float[Tensor, "target query d_model"],
    pattern: Float[Tensor, "head query key"],
    W_O: Float[Tensor, "head d_model d_head"],
    n_kv: int,
) -> Float[Tensor, "target key values"]:
    """Σ_q pattern[h, q, k] · W_O[h]ᵀ gradient[q] for each head h, those that share values summed.

    Products run in the dtype of the weights. Queries before a key are never looked at.
    """
    return heads_adjoint(heads_of(gradient, W_O), pattern, n_kv).to(gradient.dtype)


def heads_of(
    gradient: Float[Tensor, "target query d_model"], W_O: Float[Tensor, "head d_model d_head"]
) -> Float[Tensor, "target query head d_head"]:
    """W_O[h]ᵀ gradient[q] for each head h: the gradient at what the heads have mixed, in the dtype of the weights."""
    n_heads, d_model, d_head = W_O.shape
    at_heads = gradient.reshape(-1, d_model).to(W_O.dtype) @ flat_heads(W_O)
    return at_heads.view(*gradient.shape[:2], n_heads, d_head)


def heads_adjoint(
    at_heads: Float[Tensor, "target query head d_head"], pattern: Float[Tensor, "head query key"], n_kv: int
) -> Float[Tensor, "target key values"]:
    """The rest of `values_adjoint`: Σ_q pattern[h, q, k] · at_heads[q, h], heads that share values summed."""
    n_targets, n_queries, n_heads, d_head = at_heads.shape
    n_keys, group = pattern.shape[-1], n_heads // n_kv
    at_heads = at_heads.view(n_targets, n_queries, n_kv, group, d_head).permute(3, 2, 1, 0, 4)
    at_heads = at_heads.reshape(group, n_kv, n_queries, n_targets * d_head)
    mixing = pattern.to(at_heads.dtype).view(n_kv, group, n_queries, n_keys).permute(1, 0, 3, 2)
    at_values = at_heads.new_zeros(n_kv, n_keys, n_targets * d_head)
    for start in range(0, n_keys, KEYS_AT_ONCE):
        keys = slice(start, start + KEYS_AT_ONCE)
        for mix, heads in zip(mixing, at_heads, strict=True):
            at_values[:, keys].baddbmm_(mix[:, keys, start:], heads[:, start:])
    at_values = at_values.view(n_kv, n_keys, n_targets, d_head).permute(2, 1, 0, 3)
    return at_values.reshape(n_targets, n_keys, n_kv * d_head)

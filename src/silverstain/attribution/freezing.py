"""From a recorded run to the affine map that it is when attention, norms and MLPs are held fixed."""

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution.flow import FrozenFlow
from silverstain.attribution.frozen_norm import FrozenNorm, no_norm
from silverstain.dictionaries import Dictionary
from silverstain.models import LanguageModel, Norm, Recording
from silverstain.models.recording import MLP_INPUT


def freeze(
    model: LanguageModel,
    recording: Recording,
    dictionary: Dictionary | None = None,
    *,
    products: torch.dtype | None = None,
) -> FrozenFlow:
    """The frozen flow of a recorded run; with a dictionary, its linear skips are part of the map.

    `products` is the dtype of products with attention's weights, by default the model's own: bfloat16 is faster where
    the hardware has it, and less exact.
    """
    layers = range(model.n_layers)
    like = recording.embedding
    skips = [None if dictionary is None else dictionary.W_skip(layer) for layer in layers]
    read_norms = [model.norm("mlp", layer) if recording.reads_at == MLP_INPUT else None for layer in layers]
    attention_norms = [
        _frozen(model.norm("attention", layer), recording.attention_norm_scale[layer], like) for layer in layers
    ]
    output_norms = [
        _frozen(norm, recording.attention_output_norm_scale[layer], like) if norm is not None else None
        for layer in layers
        for norm in [model.norm("attention_output", layer)]
    ]
    return FrozenFlow(
        patterns=recording.patterns,
        attention_norms=tuple(attention_norms),
        attention_output_norms=tuple(output_norms),
        read_norms=(
            *(_frozen(read_norms[layer], recording.mlp_norm_scale[layer], like) for layer in layers),
            _frozen(model.final_norm, recording.final_norm_scale, like),
        ),
        W_V=tuple(model.W_V(layer).to(products or like.dtype) for layer in layers),
        W_O=tuple(model.W_O(layer).to(products or like.dtype) for layer in layers),
        W_skip=tuple(None if skip is None else skip.to(like) for skip in skips),
        attention_bias=tuple(
            _attention_bias(model, recording, layer, attention_norms[layer].bias, output_norms[layer])
            for layer in layers
        ),
        is_parallel=model.is_parallel,
        n_real=min(model.n_real, recording.n_positions),
    )


def _frozen(norm: Norm | None, scale: Float[Tensor, " pos"], like: Float[Tensor, "pos d_model"]) -> FrozenNorm:
    if norm is None:
        return no_norm(like)
    return FrozenNorm(scale=scale, weight=norm.weight, bias=norm.bias, is_centred=norm.kind.is_centred)


def _attention_bias(
    model: LanguageModel,
    recording: Recording,
    layer: int,
    read_bias: Float[Tensor, " d_model"] | None,
    output_norm: FrozenNorm | None,
) -> Float[Tensor, "#pos d_model"] | None:
    """What attention adds whatever the stream holds: its biases and that of the norm before it, [1, d_model] where it
    is the same at every position.

    b_O + Σ_h (Σ_k pattern[h, q, k]) W_O[h] (b_V[h] + W_V[h] b_norm), through the norm behind attention.
    """
    b_V, b_O = model.b_V(layer), model.b_O(layer)
    values = b_V
    if read_bias is not None:
        values = (0 if b_V is None else b_V) + model.W_V(layer) @ read_bias
    added = None if b_O is None else b_O[None]
    if values is not None:
        W_O, pattern = model.W_O(layer), recording.patterns[layer]
        by_head = torch.einsum("hde,he->hd", W_O, values.repeat_interleave(len(W_O) // len(values), dim=0))
        if model.architecture.has_sinks:
            written = torch.einsum("hq,hd->qd", pattern.sum(dim=-1), by_head)
        else:
            written = by_head.sum(dim=0, keepdim=True)  # each row of a pattern sums to 1
        added = written if added is None else added + written
    if output_norm is None:
        return added
    if added is not None:
        added = output_norm.linear(added.expand(recording.n_positions, -1))
    if output_norm.bias is None:
        return added
    return output_norm.bias[None] if added is None else added + output_norm.bias

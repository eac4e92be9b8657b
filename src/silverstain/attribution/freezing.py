"""From a recorded run to the affine map that it is when attention, norms and MLPs are held fixed."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution.flow import FrozenFlow, mixed
from silverstain.attribution.frozen_norm import FlowNorms, FrozenNorm, linearised, no_norm
from silverstain.bases import Basis, NeuronBasis
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, Norm, Recording
from silverstain.models.recording import MLP_INPUT

Norms = Literal["frozen", "linearised"]
"""Whether a norm's denominators stay as recorded (the papers'), or follow the stream to first order."""
NORMS: tuple[Norms, ...] = ("frozen", "linearised")


def norms_named(word: str) -> Norms:
    """The word itself; UsageError if it names no way of freezing norms."""
    for norms in NORMS:
        if word == norms:
            return norms
    raise UsageError(f"norms are {word!r}; give {' or '.join(NORMS)}")


def freeze(
    model: LanguageModel,
    recording: Recording,
    basis: Basis | None = None,
    *,
    norms: Norms = "frozen",
    products: torch.dtype | None = None,
) -> FrozenFlow:
    """The frozen flow of a recorded run; with a dictionary, its linear skips are part of the map, and with neurons the
    norms behind MLPs are a part of what they write.

    `products` is the dtype of products with attention's weights, by default the model's own: bfloat16 is faster where
    the hardware has it, and less exact.
    """
    norms_named(norms)
    layers, like = range(model.n_layers), recording.embedding
    skips = [None if basis is None else basis.W_skip(layer) for layer in layers]
    frozen = _frozen_norms(model, recording)
    chosen = frozen if norms == "frozen" else _linearised_norms(model, recording, frozen)
    return FrozenFlow(
        patterns=recording.patterns,
        attention_norms=chosen.attention,
        attention_output_norms=chosen.attention_output,
        read_norms=chosen.read,
        W_V=tuple(model.W_V(layer).to(products or like.dtype) for layer in layers),
        W_O=tuple(model.W_O(layer).to(products or like.dtype) for layer in layers),
        W_skip=tuple(None if skip is None else skip.to(like) for skip in skips),
        attention_bias=tuple(
            _attention_bias(model, recording, layer, chosen.attention[layer].bias, chosen.attention_output[layer])
            for layer in layers
        ),
        write_norms=_write_norms(model, recording, basis, norms),
        is_parallel=model.is_parallel,
        n_real=min(model.n_real if basis is None else basis.n_real(model), recording.n_positions),
    )


def _frozen_norms(model: LanguageModel, recording: Recording) -> FlowNorms:
    """With the denominators of the run."""
    layers, like = range(model.n_layers), recording.embedding
    scales = [*recording.mlp_norm_scale, recording.final_norm_scale]
    outputs = [model.norm("attention_output", layer) for layer in layers]
    return FlowNorms(
        attention=tuple(_frozen(model.norm("attention", i), recording.attention_norm_scale[i], like) for i in layers),
        attention_output=tuple(
            None if norm is None else _frozen(norm, recording.attention_output_norm_scale[i], like)
            for i, norm in enumerate(outputs)
        ),
        read=tuple(_frozen(n, scale, like) for n, scale in zip(norms_read(model, recording), scales, strict=True)),
    )


def _write_norms(
    model: LanguageModel, recording: Recording, basis: Basis | None, norms: Norms
) -> tuple[FrozenNorm | None, ...]:
    """The norm behind each MLP as it was in the run, where units write before it; empty where there is none."""
    if not isinstance(basis, NeuronBasis) or model.norm("mlp_output", 0) is None:
        return ()
    found: list[FrozenNorm | None] = []
    for layer, x in enumerate(recording.mlp_inputs):
        norm, neurons = model.norm("mlp_output", layer), basis.layer(layer)
        if norm is None:
            found.append(None)
            continue
        output = neurons.written(neurons.activations(x))
        frozen = _frozen(norm, norm.scale(output), recording.embedding)
        found.append(frozen if norms == "frozen" else linearised(frozen, output))
    return tuple(found)


def _linearised_norms(model: LanguageModel, recording: Recording, frozen: FlowNorms) -> FlowNorms:
    """The derivatives of the norms at what they read in the run; places without a norm stay as they are."""
    inputs = norm_inputs(model, recording, frozen)

    def of(norm: FrozenNorm, real: Norm | None, x: Tensor) -> FrozenNorm:
        return norm if real is None else linearised(norm, x)

    return FlowNorms(
        attention=tuple(
            of(norm, model.norm("attention", i), x)
            for i, (norm, x) in enumerate(zip(frozen.attention, inputs.attention, strict=True))
        ),
        attention_output=tuple(
            None if norm is None else linearised(norm, x)
            for norm, x in zip(frozen.attention_output, inputs.attention_output, strict=True)
        ),
        read=tuple(map(of, frozen.read, norms_read(model, recording), inputs.read)),
    )


def norms_read(model: LanguageModel, recording: Recording) -> list[Norm | None]:
    """The norm before each MLP, None where dictionaries read before it or there is none; and the final norm."""
    is_behind = recording.reads_at == MLP_INPUT
    return [*(model.norm("mlp", i) if is_behind else None for i in range(model.n_layers)), model.final_norm]


class NormInputs(NamedTuple):
    """What every norm read in the run, [pos, d_model] each, in the order of `FlowNorms`."""

    attention: list[Tensor]
    attention_output: list[Tensor]
    """What attention adds, before the norm behind it where there is one."""
    read: list[Tensor]


def norm_inputs(model: LanguageModel, recording: Recording, norms: FlowNorms) -> NormInputs:
    """The recorded stream before every norm, built up again: a recording keeps scales, not streams."""
    found, stream = NormInputs([], [], []), recording.embedding
    for layer in range(model.n_layers):
        norm, output_norm = norms.attention[layer], norms.attention_output[layer]
        added = mixed(recording.patterns[layer], model.W_V(layer), model.W_O(layer), norm.linear(stream)[None])[0]
        bias = _written_bias(model, recording, layer, norm.bias)
        added = added if bias is None else added + bias
        found.attention.append(stream)
        found.attention_output.append(added)
        if output_norm is not None:
            added = output_norm.linear(added) + (0 if output_norm.bias is None else output_norm.bias)
        mid = stream + added
        found.read.append(stream if model.is_parallel else mid)
        stream = mid + recording.mlp_outputs[layer]
    found.read.append(stream)
    return found


def _frozen(norm: Norm | None, scale: Float[Tensor, " pos"], like: Float[Tensor, "pos d_model"]) -> FrozenNorm:
    if norm is None:
        return no_norm(like)
    bias = None if norm.bias is None else norm.bias[None]
    return FrozenNorm(scale=scale, weight=norm.weight, bias=bias, is_centred=norm.kind.is_centred)


def _attention_bias(
    model: LanguageModel,
    recording: Recording,
    layer: int,
    read_bias: Float[Tensor, "#pos d_model"] | None,
    output_norm: FrozenNorm | None,
) -> Float[Tensor, "#pos d_model"] | None:
    """What attention adds whatever the stream holds, through the norm behind it: [1, d_model] where it is the same at
    every position."""
    added = _written_bias(model, recording, layer, read_bias)
    if output_norm is None:
        return added
    if added is not None:
        added = output_norm.linear(added.expand(recording.n_positions, -1))
    if output_norm.bias is None:
        return added
    return output_norm.bias if added is None else added + output_norm.bias


def _written_bias(
    model: LanguageModel, recording: Recording, layer: int, read_bias: Float[Tensor, "#pos d_model"] | None
) -> Float[Tensor, "#pos d_model"] | None:
    """What attention writes by its own biases and that of the norm before it.

    b_O + Σ_h Σ_k pattern[h, q, k] W_O[h] (b_V[h] + W_V[h] b_norm[k])
    """
    b_V, b_O = model.b_V(layer), model.b_O(layer)
    values = None if b_V is None else b_V[:, None]  # [kv_head, #key, d_head]
    if read_bias is not None:
        values = (0 if values is None else values) + torch.einsum("kd,ved->vke", read_bias, model.W_V(layer))
    added = None if b_O is None else b_O[None]
    if values is not None:
        W_O, pattern = model.W_O(layer), recording.patterns[layer]
        by_head = torch.einsum("hde,hke->hkd", W_O, values.repeat_interleave(len(W_O) // len(values), dim=0))
        if by_head.shape[1] > 1:
            written = torch.einsum("hqk,hkd->qd", pattern, by_head)
        elif model.architecture.has_sinks:
            written = torch.einsum("hq,hd->qd", pattern.sum(dim=-1), by_head[:, 0])
        else:
            written = by_head.sum(dim=0)  # each row of a pattern sums to 1
        added = written if added is None else added + written
    return added

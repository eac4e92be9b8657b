"""All that one forward pass leaves behind, and nothing twice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.models.attention import attention_through
from silverstain.models.language_model import LanguageModel, NormPlace

ReadsAt = Literal["mlp.hook_in", "hook_resid_mid"]
"""Where a dictionary reads: what the MLP reads, or the stream that the norm before the MLP reads."""
MLP_INPUT: ReadsAt = "mlp.hook_in"
BEFORE_NORM: ReadsAt = "hook_resid_mid"


@brief
@dataclass(frozen=True, kw_only=True)
class Recording:
    """One forward pass of one prompt through the unmodified model."""

    token_ids: Int[Tensor, " pos"]
    embedding: Float[Tensor, "pos d_model"]
    """As it enters the residual stream."""
    attention_norm_scale: Float[Tensor, "layer pos"]
    """1/sqrt(mean(x²) + eps) of the norm's input (centred, if the norm centres): a multiplier, and 1 where there is no
    norm. The same for the others."""
    attention_output_norm_scale: Float[Tensor, "layer pos"]
    """Of the norm between attention and the stream."""
    mlp_norm_scale: Float[Tensor, "layer pos"]
    final_norm_scale: Float[Tensor, " pos"]
    patterns: Float[Tensor, "layer head query key"]
    """Attention after the softmax; rows sum to 1, or to less where sinks take their share."""
    mlp_inputs: Float[Tensor, "layer pos d_model"]
    """What the MLP and a dictionary read: the output of the norm before it, its weight and bias applied. For a
    dictionary that reads before that norm: the norm's input (see `reads_at`)."""
    mlp_outputs: Float[Tensor, "layer pos d_model"]
    """What is added to the stream: the MLP's output, after the norm behind it where there is one."""
    final: Float[Tensor, "pos d_model"]
    """Output of the final norm: what the unembedding reads."""
    logits: Float[Tensor, "pos d_vocab"]
    """As the model gives them: soft-capped where it does so."""
    reads_at: str = MLP_INPUT
    """Where `mlp_inputs` were read."""

    @property
    def n_layers(self) -> int:
        return self.mlp_inputs.shape[0]

    @property
    def n_positions(self) -> int:
        return self.mlp_inputs.shape[1]


@brief
class MlpHarvest(NamedTuple):
    """What a dictionary reads and imitates: a batch of sequences seen by every MLP."""

    mlp_inputs: Float[Tensor, "layer batch pos d_model"]
    mlp_outputs: Float[Tensor, "layer batch pos d_model"]


@brief
class Harvest(NamedTuple):
    """The same, and what the model says."""

    mlp_inputs: Float[Tensor, "layer batch pos d_model"]
    mlp_outputs: Float[Tensor, "layer batch pos d_model"]
    logits: Float[Tensor, "batch pos d_vocab"]


def record(model: LanguageModel, token_ids: Sequence[int] | Tensor, *, reads_at: str = MLP_INPUT) -> Recording:
    """Run one prompt and keep what attribution needs, the inputs where a dictionary `reads_at`; UsageError for no
    tokens, too many, or ids out of range."""
    try:
        ids = torch.as_tensor(token_ids, dtype=torch.long, device=model.device)
    except (ValueError, OverflowError) as error:  # a number of more than 64 bits
        raise UsageError(f"token ids are whole numbers from 0 to {model.d_vocab - 1}; one of these is not") from error
    if ids.ndim != 1:
        raise UsageError(
            f"record takes the tokens of one prompt [pos], got shape {list(ids.shape)}; record one at a time"
        )
    check_ids(model, ids)
    layers = range(model.n_layers)
    patterns: dict[int, Tensor] = {}

    def keep_pattern(layer: int, pattern: Tensor) -> Tensor:
        patterns[layer] = pattern
        return pattern

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(attention_through(model.hf, keep_pattern))
        embedding = stack.enter_context(kept({0: model.block(0)}, inputs=True))
        norm_inputs = stack.enter_context(kept(dict(enumerate(norm.module for norm in model.norms())), inputs=True))
        mlp_inputs = stack.enter_context(kept(dict(enumerate(readers(model, reads_at))), inputs=True))
        mlp_outputs = stack.enter_context(kept({i: model.mlp_writer(i) for i in layers}, inputs=False))
        final = stack.enter_context(kept({0: model.final_norm.module}, inputs=False))
        logits = model.hf(input_ids=ids[None], use_cache=False).logits
        reads = {norm.module: norm_inputs[i][0] for i, norm in enumerate(model.norms())}
        ones = torch.ones_like(embedding[0][0, :, 0])

        def scales_of(where: NormPlace) -> Tensor:
            norms = [model.norm(where, i) for i in layers]
            return torch.stack([ones if norm is None else norm.scale(reads[norm.module]) for norm in norms])

        _check_finite(model, final[0][0], logits[0])
        return Recording(
            token_ids=ids,
            embedding=embedding[0][0],
            attention_norm_scale=scales_of("attention"),
            attention_output_norm_scale=scales_of("attention_output"),
            mlp_norm_scale=scales_of("mlp"),
            final_norm_scale=model.final_norm.scale(reads[model.final_norm.module]),
            patterns=torch.stack([patterns[i][0] for i in layers]),
            mlp_inputs=torch.stack([mlp_inputs[i][0] for i in layers]),
            mlp_outputs=torch.stack([mlp_outputs[i][0] for i in layers]),
            final=final[0][0],
            logits=logits[0],
            reads_at=reads_at,
        )


def _check_finite(model: LanguageModel, final: Tensor, logits: Tensor) -> None:
    """UsageError if the model's own numbers are broken: every sum over them would be."""
    if not (bool(final.isfinite().all()) and bool(logits.amax().isfinite())):  # a largest of NaN is NaN
        raise UsageError(
            f"{model.name} computes numbers on this prompt that are NaN or infinite; its weights may be damaged, or "
            "too large for its dtype: fetch the model again, or give a wider dtype"
        )


def harvest(
    model: LanguageModel,
    token_ids: Tensor,
    *,
    reads_at: str = MLP_INPUT,
    added: Mapping[int, Float[Tensor, "batch pos d_model"]] | None = None,
) -> Harvest:
    """MLP inputs, outputs and logits of a batch [batch, pos]; attention is causal, so padding on the right is harmless.

    `added` (by layer) joins what an MLP adds to the stream, and is no part of the outputs. Values at padded positions
    are what the model computes on the padding; leave them out of what you train on.
    """
    mlps, logits = _harvested(model, token_ids, reads_at, added or {}, logits_of=0)
    return Harvest(*mlps, logits)


def harvest_mlps(model: LanguageModel, token_ids: Tensor, *, reads_at: str = MLP_INPUT) -> MlpHarvest:
    """`harvest` without the logits: the unembedding, a fifth of a small model's work, is run at the last position
    alone."""
    mlps, _ = _harvested(model, token_ids, reads_at, {}, logits_of=1)
    return mlps


def _harvested(
    model: LanguageModel, token_ids: Tensor, reads_at: str, added: Mapping[int, Tensor], *, logits_of: int
) -> tuple[MlpHarvest, Tensor]:
    """What every MLP sees, and the logits at so many last positions; 0: at all, as transformers counts."""
    ids = token_ids.to(device=model.device, dtype=torch.long)
    if ids.ndim != 2:
        raise UsageError(
            f"harvest takes a batch of tokens [batch, pos], got shape {list(ids.shape)}; pad to one length"
        )
    check_ids(model, ids)
    writers = [model.mlp_writer(layer) for layer in range(model.n_layers)]
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        inputs = stack.enter_context(kept(dict(enumerate(readers(model, reads_at))), inputs=True))
        outputs = stack.enter_context(kept(dict(enumerate(writers)), inputs=False))  # before what is added
        for layer, delta in added.items():
            stack.callback(writers[layer].register_forward_hook(_adding(delta)).remove)
        logits = model.hf(input_ids=ids, use_cache=False, logits_to_keep=logits_of).logits
        read, written = (torch.stack([one[i] for i in range(model.n_layers)]) for one in (inputs, outputs))
        return MlpHarvest(read, written), logits


def _adding(delta: Tensor) -> Callable[..., Any]:
    def add(_: nn.Module, _arguments: tuple, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        return (output[0] + delta, *output[1:]) if isinstance(output, tuple) else output + delta

    return add


def check_ids(model: LanguageModel, token_ids: Tensor) -> None:
    """UsageError unless the last axis of `token_ids` is a prompt the model can read."""
    if token_ids.numel() == 0:
        raise UsageError("there are no tokens to run; give at least one token id")
    model.check_length(token_ids.shape[-1])
    low, high = int(token_ids.min()), int(token_ids.max())
    if low < 0 or high >= model.d_vocab:
        seen = low if low < 0 else high
        raise UsageError(
            f"token id {seen} is not in the vocabulary of {model.name}; give ids from 0 to {model.d_vocab - 1}"
        )


def readers(model: LanguageModel, reads_at: str) -> list[nn.Module]:
    """The module of each layer whose input is what a dictionary reads; UsageError for another place."""
    if reads_at not in (MLP_INPUT, BEFORE_NORM):
        raise UsageError(f"a dictionary cannot be read at {reads_at}; the places are {MLP_INPUT} and {BEFORE_NORM}")
    norms = [model.norm("mlp", layer) if reads_at == BEFORE_NORM else None for layer in range(model.n_layers)]
    return [model.mlp(layer) if norm is None else norm.module for layer, norm in enumerate(norms)]


@contextmanager
def kept(
    modules: Mapping[int, nn.Module], *, inputs: bool, found: dict[int, Tensor] | None = None
) -> Iterator[dict[int, Tensor]]:
    """Keep, by the modules' numbers, the first input or the output of each module's last call inside the `with`; in
    `found`, where that is given."""
    found = {} if found is None else found
    handles = [
        module.register_forward_hook(_keeper(found, i, inputs), with_kwargs=True) for i, module in modules.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keeper(found: dict[int, Tensor], index: int, inputs: bool) -> Callable[..., None]:
    def keep(_: nn.Module, arguments: tuple, named: dict, output: Tensor | tuple[Tensor | None, ...]) -> None:
        if inputs:
            # blocks are called with the stream first, by position in some versions of transformers, by name in others
            found[index] = arguments[0] if arguments else named["hidden_states"]
        else:
            first = output[0] if isinstance(output, tuple) else output
            assert first is not None
            found[index] = first

    return keep

"""Two prompts of equal length run beside each other: all that the exact account of their difference needs."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.models.attention import AttentionCall, attention_calls, causal_pattern
from silverstain.models.language_model import LanguageModel
from silverstain.models.mlps import forwards_of
from silverstain.models.neurons import projection_names
from silverstain.models.norms import Norm
from silverstain.models.recording import MLP_INPUT, Recording, check_ids, kept, readers


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class PairedLayer:
    """One layer in both runs; the first row of every tensor is the base, the second the contrast."""

    stream: Float[Tensor, "run pos d_model"]
    """What the block reads."""
    attention_read: Float[Tensor, "run pos d_model"]
    """What queries, keys and values are made of; `query` and `key` have their history back to it."""
    attention: AttentionCall
    attention_output: Float[Tensor, "run pos d_model"]
    """Before the norm behind attention, where there is one."""
    middle: Float[Tensor, "run pos d_model"]
    """What the norm before the MLP reads, or the MLP itself where there is none."""
    mlp_read: Float[Tensor, "run pos d_model"]
    mlp_output: Float[Tensor, "run pos d_model"]
    """Before the norm behind the MLP, where there is one."""
    mlp_written: Float[Tensor, "run pos d_model"]
    """What the MLP adds to the stream."""
    projections: tuple[Tensor, ...]
    """What the MLP's first projections gave, in the order of its entry in the architecture table; empty for experts."""

    def scores(self, first: int = 0) -> Float[Tensor, "run head late key"]:
        """Attention scores of queries from `first` on, before any soft-cap and mask."""
        call = self.attention
        group = call.query.shape[1] // call.key.shape[1]
        key = call.key.detach().repeat_interleave(group, dim=1)
        return torch.matmul(call.query.detach()[:, :, first:], key.transpose(-1, -2)) * call.scaling

    def patterns(self) -> Float[Tensor, "run head query key"]:
        """Both attention patterns."""
        call = self.attention
        group = call.query.shape[1] // call.key.shape[1]
        key = call.key.detach().repeat_interleave(group, dim=1)
        return causal_pattern(call.query.detach(), key, call.mask, call.scaling, softcap=call.softcap, sinks=call.sinks)


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Both runs, layer by layer."""

    token_ids: Tensor
    """[run, pos]."""
    layers: tuple[PairedLayer, ...]
    end: Float[Tensor, "run pos d_model"]
    """What the final norm reads."""
    final: Float[Tensor, "run pos d_model"]
    logits: Float[Tensor, "run place d_vocab"]
    """After the tokens at `places` alone: a vocabulary is large."""
    places: tuple[int, ...]
    reached: Bool[Tensor, "layer_and_end pos"]
    """Where the change of tokens can have come when a layer's block reads the stream (at last, the final norm).
    Elsewhere both runs are the same computation, and every tensor here has the same numbers in both: products of
    matrices round each row in their own way, and what looks like a change there is none."""
    reads_at: str = MLP_INPUT

    @property
    def n_positions(self) -> int:
        return self.token_ids.shape[-1]

    @property
    def changed(self) -> list[int]:
        """The positions whose tokens differ."""
        return (self.token_ids[0] != self.token_ids[1]).nonzero().flatten().tolist()

    @property
    def first(self) -> int:
        """The first position whose tokens differ: before it both runs are one computation, and nothing changes."""
        return self.changed[0] if self.changed else 0

    def logits_at(self, position: int) -> Float[Tensor, "run d_vocab"]:
        """The logits after a token that is one of `places`."""
        return self.logits[:, self.places.index(position)]

    def read(self, layer: int) -> Float[Tensor, "run pos d_model"]:
        """What a basis reads in a layer."""
        return self.layers[layer].mlp_read if self.reads_at == MLP_INPUT else self.layers[layer].middle

    def recording(self, model: LanguageModel, run: int) -> Recording:
        """One of the runs as a recording of its own."""
        ones = torch.ones_like(self.final[run, :, 0])

        def scales(where: Any, reads: list[Tensor]) -> Tensor:
            norms = [model.norm(where, layer) for layer in range(model.n_layers)]
            return torch.stack([ones if n is None else n.scale(x[run]) for n, x in zip(norms, reads, strict=True)])

        layers = self.layers
        return Recording(
            token_ids=self.token_ids[run],
            embedding=layers[0].stream[run],
            attention_norm_scale=scales("attention", [layer.stream for layer in layers]),
            attention_output_norm_scale=scales("attention_output", [layer.attention_output for layer in layers]),
            mlp_norm_scale=scales("mlp", [layer.middle for layer in layers]),
            final_norm_scale=model.final_norm.scale(self.end[run]),
            patterns=torch.stack([layer.patterns()[run] for layer in layers]),
            mlp_inputs=torch.stack([self.read(layer)[run] for layer in range(len(layers))]),
            mlp_outputs=torch.stack([layer.mlp_written[run] for layer in layers]),
            final=self.final[run],
            logits=model.logits_of(self.final[run]),
            reads_at=self.reads_at,
        )


def record_pair(
    model: LanguageModel,
    base: Sequence[int] | Tensor,
    contrast: Sequence[int] | Tensor,
    *,
    reads_at: str = MLP_INPUT,
    places: Sequence[int] | None = None,
) -> Pair:
    """Run two prompts of equal length in one batch. UsageError for other lengths and what the model cannot read.

    `places` are the positions after which logits are asked for, from 0 on; None for all.
    """
    ids = [torch.as_tensor(tokens, dtype=torch.long, device=model.device) for tokens in (base, contrast)]
    for each in ids:
        check_ids(model, each)
    if len(ids[0]) != len(ids[1]):
        raise UsageError(f"the prompts have {len(ids[0])} and {len(ids[1])} tokens; give two of one length")
    layers, calls, reads = range(model.n_layers), {}, {}

    def seen(call: AttentionCall) -> None:
        torch.set_grad_enabled(False)  # as `_leaf` has switched it on
        calls[call.layer] = call

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(attention_calls(model.hf, seen))
        stack.enter_context(_secant_inner_norms(model))
        for layer in layers:
            hook = _leaf(reads, layer)
            stack.callback(model.attention(layer).register_forward_pre_hook(hook, with_kwargs=True).remove)
        blocks = {i: model.block(i) for i in layers}
        streams = stack.enter_context(kept(blocks, inputs=True))
        attention_outputs = stack.enter_context(kept({i: model.attention(i) for i in layers}, inputs=False))
        middles = stack.enter_context(kept(dict(enumerate(readers(model, "hook_resid_mid"))), inputs=True))
        mlps = {i: model.mlp(i) for i in layers}
        mlp_reads = stack.enter_context(kept(mlps, inputs=True))
        mlp_outputs = stack.enter_context(kept(mlps, inputs=False))
        written = stack.enter_context(kept({i: model.mlp_writer(i) for i in layers}, inputs=False))
        projected = [
            stack.enter_context(kept({i: model.mlp(i).get_submodule(name) for i in layers}, inputs=False))
            for name in projection_names(model)
        ]
        end = stack.enter_context(kept({0: model.final_norm.module}, inputs=True))
        final = stack.enter_context(kept({0: model.final_norm.module}, inputs=False))
        batch = torch.stack(ids)
        places = range(batch.shape[1]) if places is None else sorted(set(places))
        at = torch.tensor(list(places), dtype=torch.long, device=batch.device)
        logits = model.hf(input_ids=batch, use_cache=False, logits_to_keep=at).logits
    if not bool(final[0].isfinite().all()) or not bool(logits.amax(dim=-1).isfinite().all()):
        raise UsageError(
            f"{model.name} computes numbers on these prompts that are NaN or infinite; its weights may be damaged, or "
            "too large for its dtype: fetch the model again, or give a wider dtype"
        )
    if len(calls) != model.n_layers:
        raise UsageError(
            f"{model.name} computes its attention in a way that gives no patterns; load it with transformers' own "
            "attention (attn_implementation='eager')"
        )
    reached = _reached(batch, [calls[i] for i in layers])

    everywhere = reached.all(dim=-1).tolist()

    def same(found: Tensor, layer: int) -> Tensor:
        found = found.detach().reshape(*batch.shape, -1)
        return found if everywhere[layer] else torch.where(reached[layer, :, None], found, found[:1])

    def paired(i: int) -> PairedLayer:
        """A layer, whose tensors are let go as they were found: all layers twice would be much memory."""
        at_mlp = i if model.is_parallel else i + 1
        output, added = mlp_outputs.pop(i), written.pop(i)
        mlp_output = same(output, at_mlp)
        return PairedLayer(
            stream=same(streams.pop(i), i),
            attention_read=reads[i],
            attention=calls[i],
            attention_output=same(attention_outputs.pop(i), i + 1),
            middle=same(middles.pop(i), at_mlp),
            mlp_read=same(mlp_reads.pop(i), at_mlp),
            mlp_output=mlp_output,
            mlp_written=mlp_output if added is output else same(added, at_mlp),
            projections=tuple(same(each.pop(i), at_mlp) for each in projected),
        )

    return Pair(
        token_ids=batch,
        layers=tuple(paired(i) for i in layers),
        end=same(end[0], -1),
        final=same(final[0], -1),
        logits=logits,
        places=tuple(places),
        reached=reached,
        reads_at=reads_at,
    )


def _reached(token_ids: Tensor, calls: Sequence[AttentionCall]) -> Bool[Tensor, "layer_and_end pos"]:
    """Where the change of tokens can have come, layer by layer: from every key to the queries that see it."""
    reached = [token_ids[0] != token_ids[1]]
    for call in calls:
        now = reached[-1]
        if call.mask is None:
            sees = torch.ones(len(now), len(now), dtype=torch.bool, device=now.device)
        else:
            sees = call.mask[0, 0, :, : len(now)] == 0
        reached.append(now | (sees & now).any(dim=-1))
    return torch.stack(reached)


def _leaf(reads: dict[int, Tensor], layer: int) -> Any:
    """A hook before an attention module: what it reads begins a history of its own, which ends with queries and
    keys."""

    def enter(_: nn.Module, arguments: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        read = (arguments[0] if arguments else named["hidden_states"]).detach().requires_grad_()
        reads[layer] = read
        torch.set_grad_enabled(True)
        return ((read, *arguments[1:]), named) if arguments else ((), {**named, "hidden_states": read})

    return enter


@contextmanager
def _secant_inner_norms(model: LanguageModel) -> Iterator[None]:
    """Let norms of queries and keys pull gradients as the difference of two runs does: see `_SecantNorm`."""
    norms = [norm for layer in range(model.n_layers) for norm in model.inner_norms(layer)]
    forwards = [_secant_forward(norm) for norm in norms]
    with forwards_of([norm.module for norm in norms], forwards):
        yield


def _secant_forward(norm: Norm) -> Any:
    return lambda x: _SecantNorm.apply(x, norm)


class _SecantNorm(torch.autograd.Function):
    """A norm on two rows, whose gradient is that of the exact difference of the two; the gradient of a difference is
    kept in the second row.

    Δ(γ x s) = γ (s̄ Δx + x̄ κ 2 mean(x̄ Δx)),  κ = −s_b² s_c² / (s_b + s_c)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Norm) -> Tensor:
        ctx.save_for_backward(x)
        ctx.norm = norm
        return norm(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        norm: Norm = ctx.norm
        b, c = norm.scale(x).unsqueeze(-1).unbind(0)
        mean = norm.centred(x).mean(dim=0)
        into = gradients[0][1] * norm.weight
        shared = (into * mean).mean(dim=-1, keepdim=True)
        pulled = (b + c) / 2 * into - 2 * b.square() * c.square() / (b + c) * mean * shared
        pulled = norm.centred(pulled)
        return torch.stack([torch.zeros_like(pulled), pulled]), None

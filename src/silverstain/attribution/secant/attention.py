"""The attention of one layer between two runs: what mixes, what scores, and how both pull gradients."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.flow import flat_heads, heads_adjoint, heads_of
from silverstain.attribution.secant.rules import logarithmic_mean, slope, softmax_pull
from silverstain.brief import brief
from silverstain.models import LanguageModel
from silverstain.models.pairs import Pair, PairedLayer

TARGETS_AT_ONCE = 16
"""Gradients that go back through queries and keys together."""


class Pulled(NamedTuple):
    """Gradients of some targets behind one layer's attention, pulled to what the attention reads."""

    at_heads: Float[Tensor, "target late head d_head"]
    """At what each head has mixed."""
    at_read: Float[Tensor, "target late d_model"]
    """At what queries, keys and values are made of."""


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class SecantAttention:
    """The coefficients of one layer. Δ(P v) = P̄ Δv + v̄ ΔP, and ΔP by the rows of `rules` through q and k.

    `late` positions are those from `first` on. Nothing changes before it, so that no gradient is needed there.
    """

    layer: PairedLayer
    first: int
    W_V: Float[Tensor, "kv_head d_head d_model"]
    W_O: Float[Tensor, "head d_model d_head"]
    mean_pattern: Float[Tensor, "head late late"]
    """P̄ between late positions."""
    change: Float[Tensor, "head query key"]
    """ΔP."""
    weights: Float[Tensor, "head late key_and_sink"]
    """P̃, with a column for a sink where there is one."""

    @property
    def mean_values(self) -> Float[Tensor, "kv_head key d_head"]:
        return self.layer.attention.value.detach().mean(dim=0)

    @property
    def group(self) -> int:
        """Query heads that share a key-value head."""
        return len(self.W_O) // len(self.W_V)

    def pull(self, gradient: Float[Tensor, "target late d_model"]) -> Pulled:
        """From what the attention adds (before the norm behind it) to what it reads, through values and scores."""
        d_model = self.W_V.shape[-1]
        at_heads = heads_of(gradient, self.W_O).to(gradient)
        at_values = heads_adjoint(at_heads, self.mean_pattern, len(self.W_V))
        at_read = at_values @ self.W_V.reshape(-1, d_model).to(at_values)
        pieces = [self._pull_some(self.at_patterns(some)) for some in at_heads.split(TARGETS_AT_ONCE)]
        return Pulled(at_heads, at_read + torch.cat(pieces) if pieces else at_read)

    def at_patterns(self, at_heads: Float[Tensor, "target late head d_head"]) -> Float[Tensor, "target head late key"]:
        """The gradient at ΔP: what one unit more of attention writes."""
        values = self.mean_values.repeat_interleave(self.group, dim=0)
        return at_heads.transpose(1, 2) @ values.transpose(1, 2)

    def through_pairs(self, at_heads: Float[Tensor, "late head d_head"]) -> Float[Tensor, "head query key"]:
        """How much comes through each ΔP."""
        through = torch.zeros_like(self.change)
        through[:, self.first :] = self.at_patterns(at_heads[None])[0] * self.change[:, self.first :]
        return through

    def pull_pairs(
        self, heads: Int[Tensor, " pair"], queries: Int[Tensor, " pair"], keys: Int[Tensor, " pair"]
    ) -> Float[Tensor, "pair late d_model"]:
        """From changes of single patterns to what the attention reads, through scores, queries and keys."""
        some = [
            self._pull_few(*few)
            for few in zip(*(part.split(TARGETS_AT_ONCE) for part in (heads, queries, keys)), strict=True)
        ]
        return torch.cat(some) if some else self.layer.attention_read.new_zeros(0, *self._read_shape)

    @property
    def _read_shape(self) -> tuple[int, int]:
        """Of what the attention reads at late positions."""
        _, n_positions, d_model = self.layer.attention_read.shape
        return n_positions - self.first, d_model

    def written(
        self, heads: Int[Tensor, " node"], keys: Int[Tensor, " node"], change: Float[Tensor, " node"]
    ) -> Float[Tensor, "node d_model"]:
        """What changes of single patterns write at their queries, before a norm behind attention."""
        values = self.mean_values[heads // self.group, keys]
        by_head = torch.zeros(len(heads), len(self.W_O), values.shape[-1], dtype=values.dtype, device=values.device)
        by_head[torch.arange(len(heads), device=heads.device), heads] = values * change[:, None]
        return by_head.flatten(1) @ flat_heads(self.W_O).T.to(values)

    def written_in_all(self) -> Float[Tensor, "query d_model"]:
        """What all changes of patterns write together."""
        values = self.mean_values.repeat_interleave(self.group, dim=0)
        mixed = torch.einsum("hqk,hke->qhe", self.change, values)
        return mixed.flatten(1) @ flat_heads(self.W_O).T.to(mixed)

    def _pull_some(self, at_patterns: Float[Tensor, "some head late key"]) -> Float[Tensor, "some late d_model"]:
        call, n_keys, first = self.layer.attention, at_patterns.shape[-1], self.first
        if self.weights.shape[-1] > n_keys:
            at_patterns = torch.nn.functional.pad(at_patterns, (0, self.weights.shape[-1] - n_keys))
        at_scores = softmax_pull(at_patterns, self.weights)[..., :n_keys] * self._score_slope_everywhere()
        query, key = call.query.detach()[:, :, first:].mean(dim=0), call.key.detach().mean(dim=0)
        at_query = at_scores @ key.repeat_interleave(self.group, dim=0)
        at_key = at_scores[..., first:].transpose(-1, -2) @ query
        at_key = at_key.unflatten(1, (len(key), self.group)).sum(dim=2)
        before = (0, 0, first, 0)
        at_query, at_key = (torch.nn.functional.pad(part, before) for part in (at_query, at_key))
        return _through_history(self.layer, at_query, at_key)[:, first:]

    def _pull_few(self, heads: Tensor, queries: Tensor, keys: Tensor) -> Float[Tensor, "few late d_model"]:
        call, n_keys = self.layer.attention, self.change.shape[-1]
        kv, few = heads // self.group, torch.arange(len(heads), device=heads.device)
        weights = self.weights[heads, queries - self.first]
        one = torch.zeros_like(weights)
        one[few, keys] = 1.0
        query, key = call.query.detach()[:, heads, queries], call.key.detach()[:, kv]
        scores = torch.einsum("rne,rnke->rnk", query, key) * call.scaling
        at_scores = softmax_pull(one, weights)[:, :n_keys] * self._score_slope(scores)
        at_query = query.new_zeros(len(heads), *call.query.shape[1:])
        at_query[few, heads, queries] = torch.einsum("nk,nke->ne", at_scores, key.mean(dim=0))
        at_key = key.new_zeros(len(heads), *call.key.shape[1:])
        at_key[few, kv] = torch.einsum("nk,ne->nke", at_scores, query.mean(dim=0))
        return _through_history(self.layer, at_query, at_key)[:, self.first :]

    def _score_slope_everywhere(self) -> Tensor | float:
        call = self.layer.attention
        return self._score_slope(self.layer.scores(self.first)) if call.softcap else call.scaling

    def _score_slope(self, scores: Float[Tensor, "run *batch key"]) -> Tensor | float:
        """Δ of the capped score over Δ of q · k."""
        cap, scaling = self.layer.attention.softcap, self.layer.attention.scaling
        if cap is None:
            return scaling
        return scaling * slope(lambda s: cap * torch.tanh(s / cap), scores[0], scores[1])


def secant_attention(
    model: LanguageModel, layer: int, pair: Pair, mean_pattern: Float[Tensor, "head late late"]
) -> SecantAttention:
    """The coefficients of a layer's attention; the mean of both patterns is written into `mean_pattern`, as those of
    all layers are held together."""
    paired, first = pair.layers[layer], pair.first
    base, contrast = _with_sink(paired, first)
    (p_b, p_c), n_keys = (base.exp(), contrast.exp()), paired.stream.shape[1]
    change = p_b.new_zeros(len(p_b), n_keys, n_keys)
    torch.sub(p_c[..., :n_keys], p_b[..., :n_keys], out=change[:, first:])
    change.masked_fill_(~pair.reached[layer + 1, :, None], 0.0)
    torch.add(p_b[..., first:n_keys], p_c[..., first:n_keys], out=mean_pattern).mul_(0.5)
    return SecantAttention(
        layer=paired,
        first=first,
        W_V=model.W_V(layer),
        W_O=model.W_O(layer),
        mean_pattern=mean_pattern,
        change=change,
        weights=logarithmic_mean(p_b, p_c, base, contrast),
    )


def _with_sink(paired: PairedLayer, first: int) -> Float[Tensor, "run head late key_and_sink"]:
    """Logarithms of both patterns, with a column for a sink where there is one."""
    call, scores = paired.attention, paired.scores(first)
    if call.softcap is not None:
        scores = call.softcap * torch.tanh(scores / call.softcap)
    if call.mask is not None:
        scores = scores + call.mask[..., first:, : scores.shape[-1]]
    if call.sinks is not None:
        sinks = call.sinks[:, None, None].to(scores).expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    return scores.log_softmax(dim=-1)


def _through_history(
    layer: PairedLayer, at_query: Float[Tensor, "some head pos d_head"], at_key: Float[Tensor, "some kv pos d_head"]
) -> Float[Tensor, "some pos d_model"]:
    """Pull gradients from rotated, normed queries and keys to what they are made of. The map is linear position by
    position, and transformers' own code is its definition: projections, norms of heads, rotations."""
    call, read = layer.attention, layer.attention_read
    at_both = _in_second_row(at_query), _in_second_row(at_key)
    is_one = len(at_query) == 1  # which costs less without vmap
    (gradients,) = torch.autograd.grad(
        (call.query, call.key),
        read,
        tuple(part[0] for part in at_both) if is_one else at_both,
        retain_graph=True,
        is_grads_batched=not is_one,
    )
    return gradients[None, 1] if is_one else gradients[:, 1]


def _in_second_row(gradient: Float[Tensor, "some ..."]) -> Float[Tensor, "some run ..."]:
    """The gradient of a difference is kept in the row of the contrast."""
    return torch.stack([torch.zeros_like(gradient), gradient], dim=1)

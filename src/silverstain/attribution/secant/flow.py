"""The secant flow of two runs: norms, attention and units of every layer, and one adjoint pass through all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.flow import FrozenFlow
from silverstain.attribution.frozen_norm import FrozenNorm, no_norm
from silverstain.attribution.secant.attention import SecantAttention, secant_attention
from silverstain.attribution.secant.rules import norm_rank_one
from silverstain.attribution.secant.units import (
    DictionaryUnits,
    LayerUnits,
    NeuronUnits,
    dictionary_units,
    neuron_units,
)
from silverstain.bases import Basis, NeuronBasis
from silverstain.brief import brief
from silverstain.models import LanguageModel, Norm
from silverstain.models.pairs import Pair
from silverstain.models.recording import MLP_INPUT


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class Contributions:
    """How much of each target's change comes through each place, paths of every length counted: h-difference times the
    gradient there. Those of one layer's units and rest, with what goes round them, add up to the whole."""

    units: tuple[Float[Tensor, "target _"], ...]
    """Of a layer, in the order of its `LayerUnits`."""
    rests: Float[Tensor, "layer target pos"]
    at_heads: tuple[Float[Tensor, "target late head d_head"], ...]
    """The gradient at what the heads of each layer have mixed: what comes through each ΔP follows from it (`pairs`),
    and takes a thousand times the room."""
    attentions: tuple[SecantAttention, ...]
    tokens: Float[Tensor, "target pos"]
    real_mlps: Float[Tensor, "layer target pos"]
    """Of MLPs that are kept at leading positions."""
    constants: Float[Tensor, "layer target"]
    """Of what units gain or lose by a choice among them (of features by TopK, of experts by a router)."""
    attention_outputs: Float[Tensor, "layer target pos"]
    """Of all that attention adds to the stream there, by changed patterns and by changed values."""
    mlp_outputs: Float[Tensor, "layer target pos"]
    """Of all that the MLP adds to the stream there."""
    streams: Float[Tensor, "layer target pos"]
    """Of the stream that the block reads there. These three tell where the change is on its way, and are no parts of
    one sum: layers hand it on to each other."""

    def pairs(self, layer: int, weights: Float[Tensor, " target"]) -> Float[Tensor, "head query key"]:
        """Of each ΔP of a layer, to all targets together."""
        at_heads = self.at_heads[layer]
        return self.attentions[layer].through_pairs(torch.einsum("t,tqhe->qhe", weights.to(at_heads), at_heads))

    @property
    def total(self) -> Float[Tensor, " target"]:
        """The change of each target: all that begins somewhere."""
        kept = self.real_mlps.sum(dim=(0, 2)) + self.rests.sum(dim=(0, 2))
        return self.tokens.sum(dim=-1) + kept + self.constants.sum(dim=0)


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class SecantFlow:
    """The linear flow of Δ between two runs."""

    model: LanguageModel
    pair: Pair
    attention_norms: tuple[FrozenNorm, ...]
    attention_output_norms: tuple[FrozenNorm | None, ...]
    read_norms: tuple[FrozenNorm, ...]
    """Before what a basis reads in each layer, and the final norm at last."""
    attentions: tuple[SecantAttention, ...]
    mean_patterns: Float[Tensor, "layer head late late"]
    """Those of `attentions`, which are views of it."""
    units: tuple[LayerUnits, ...]
    W_skip: tuple[Tensor | None, ...]
    n_real: int

    @property
    def n_layers(self) -> int:
        return len(self.units)

    @property
    def n_positions(self) -> int:
        return self.pair.n_positions

    @cached_property
    def embedding_change(self) -> Float[Tensor, "pos d_model"]:
        base, contrast = self.pair.layers[0].stream
        return contrast - base

    @property
    def first(self) -> int:
        """The first position at which anything changes."""
        return self.pair.first

    @cached_property
    def direct(self) -> FrozenFlow:
        """The same flow where it stops at units and patterns: what edges run along. Its positions are counted from
        `first` on, as nothing comes from before it."""
        first = self.first
        return FrozenFlow(
            patterns=self.mean_patterns,
            attention_norms=tuple(norm.behind(first) for norm in self.attention_norms),
            attention_output_norms=tuple(
                None if norm is None else norm.behind(first) for norm in self.attention_output_norms
            ),
            read_norms=tuple(norm.behind(first) for norm in self.read_norms),
            W_V=tuple(attention.W_V for attention in self.attentions),
            W_O=tuple(attention.W_O for attention in self.attentions),
            W_skip=self.W_skip,
            attention_bias=(None,) * self.n_layers,
            is_parallel=self.model.is_parallel,
            n_real=max(self.n_real - first, 0),
        )

    def contributions(
        self, vectors: Float[Tensor, "target d_model"], layers: Sequence[int], positions: Int[Tensor, " target"]
    ) -> Contributions:
        """One pass down for all targets together: each reads behind the norm of its layer (`n_layers`: the final
        one).

        Gradients are those of positions from `first` on. What reads before that reaches no change.
        """
        n, first = self.n_layers, self.first
        like = self.embedding_change
        stream = like.new_zeros(len(vectors), *like[first:].shape)
        self._enter_(stream, n, vectors, layers, positions)
        behind: list[Tensor | None] = [None] * n  # the gradient of the stream behind every MLP
        units: list[Tensor] = [like.new_zeros(0)] * n
        at_heads: list[Tensor] = [like.new_zeros(0)] * n
        rests, kept = (like.new_zeros(n, len(vectors), self.n_positions) for _ in range(2))
        constants = like.new_zeros(n, len(vectors))
        at_attention, at_mlps, at_streams = (torch.zeros_like(rests) for _ in range(3))
        for layer in range(n - 1, -1, -1):
            behind[layer] = stream
            at_units = self.units[layer].at_units(behind, first)
            units[layer] = at_units * self.units[layer].change
            constants[layer] = at_units @ self.units[layer].constants
            rests[layer, :, first:] = (stream * self.units[layer].rest[first:]).sum(-1)
            rests[layer, :, : self.n_real] = 0
            at_mlps[layer, :, first:] = (stream * self.written_change(layer)[first:]).sum(-1)
            kept[layer, :, : self.n_real] = at_mlps[layer, :, : self.n_real]
            at_read = self.units[layer].pull(at_units, first) + self._skipped(layer, stream)
            through_mlp = self.read_norms[layer].pull(at_read, first)
            self._enter_(through_mlp, layer, vectors, layers, positions)
            middle = stream if self.model.is_parallel else stream + through_mlp
            output_norm = self.attention_output_norms[layer]
            gradient = middle if output_norm is None else output_norm.pull(middle, first)
            base, contrast = self.pair.layers[layer].attention_output[:, first:]
            at_attention[layer, :, first:] = (gradient * (contrast - base)).sum(-1)
            pulled = self.attentions[layer].pull(gradient)
            at_heads[layer] = pulled.at_heads
            stream = middle + self.attention_norms[layer].pull(pulled.at_read, first)
            if self.model.is_parallel:
                stream = stream + through_mlp
            base, contrast = self.pair.layers[layer].stream[:, first:]
            at_streams[layer, :, first:] = (stream * (contrast - base)).sum(-1)
        return Contributions(
            units=tuple(units),
            rests=rests,
            at_heads=tuple(at_heads),
            attentions=self.attentions,
            tokens=at_streams[0],
            real_mlps=kept,
            constants=constants,
            attention_outputs=at_attention,
            mlp_outputs=at_mlps,
            streams=at_streams,
        )

    def written_change(self, layer: int) -> Float[Tensor, "pos d_model"]:
        """By how much what an MLP adds to the stream changes."""
        base, contrast = self.pair.layers[layer].mlp_written
        return contrast - base

    def skip_change(self, layer: int) -> Float[Tensor, "pos d_model"]:
        """What a linear skip makes of the change of its layer's input; 0 without one, and where the real MLP is
        kept."""
        base, contrast = self.pair.read(layer)
        W_skip = self.W_skip[layer]
        if W_skip is None:
            return torch.zeros_like(base)
        change = (contrast - base) @ W_skip.T
        change[: self.n_real] = 0
        return change

    def _skipped(self, layer: int, stream: Float[Tensor, "target late d_model"]) -> Tensor | float:
        W_skip = self.W_skip[layer]
        if W_skip is None:
            return 0.0
        pulled = stream @ W_skip.to(stream)
        pulled[:, : max(self.n_real - self.first, 0)] = 0
        return pulled

    def _enter_(
        self,
        stream: Float[Tensor, "target late d_model"],
        layer: int,
        vectors: Float[Tensor, "target d_model"],
        layers: Sequence[int],
        positions: Int[Tensor, " target"],
    ) -> None:
        """Add, in place, the gradients of the targets that read in a layer."""
        some = [i for i, read in enumerate(layers) if read == layer]
        if not some:
            return
        here = torch.tensor(some, device=positions.device)
        here = here[positions[here] >= self.first]
        entered = self.read_norms[layer].pull_at(vectors[here], positions[here])
        stream[here, positions[here] - self.first] += entered


@torch.no_grad()
def secant_flow(model: LanguageModel, basis: Basis, pair: Pair) -> SecantFlow:
    """The flow of a recorded pair, in the model's neurons or in a dictionary."""
    layers, like = range(model.n_layers), pair.layers[0].stream[0]
    n_real, units = min(basis.n_real(model), pair.n_positions), _units(model, basis, pair, like)
    skips = tuple(basis.W_skip(layer) for layer in layers)
    n_heads, n_late = pair.layers[0].attention.query.shape[1], pair.n_positions - pair.first
    mean_patterns = like.new_empty(model.n_layers, n_heads, n_late, n_late)
    return SecantFlow(
        model=model,
        pair=pair,
        attention_norms=tuple(_norm(model.norm("attention", i), pair.layers[i].stream, like) for i in layers),
        attention_output_norms=tuple(
            None
            if model.norm("attention_output", i) is None
            else _norm(model.norm("attention_output", i), pair.layers[i].attention_output, like)
            for i in layers
        ),
        read_norms=(
            *(
                _norm(model.norm("mlp", i) if pair.reads_at == MLP_INPUT else None, pair.layers[i].middle, like)
                for i in layers
            ),
            _norm(model.final_norm, pair.end, like),
        ),
        attentions=tuple(secant_attention(model, i, pair, mean_patterns[i]) for i in layers),
        mean_patterns=mean_patterns,
        units=units,
        W_skip=tuple(None if skip is None else skip.to(like) for skip in skips),
        n_real=n_real,
    )


def _norm(norm: Norm | None, read: Float[Tensor, "run pos d_model"], like: Float[Tensor, "pos d_model"]) -> FrozenNorm:
    """A norm between two runs; the identity where there is none."""
    if norm is None:
        return no_norm(like)
    base, contrast = norm.scale(read)
    mean = norm.centred(read).mean(dim=0)
    return FrozenNorm(
        scale=(base + contrast) / 2,
        weight=norm.weight,
        is_centred=norm.kind.is_centred,
        along=norm_rank_one(base, contrast, mean),
    )


def _units(model: LanguageModel, basis: Basis, pair: Pair, like: Tensor) -> tuple[LayerUnits, ...]:
    if isinstance(basis, NeuronBasis):
        return _neurons(model, basis, pair, like)
    return _features(model, basis, pair, min(basis.n_real(model), pair.n_positions))


def _neurons(model: LanguageModel, basis: NeuronBasis, pair: Pair, like: Tensor) -> tuple[NeuronUnits, ...]:
    found, n_units = [], basis.n_features
    position = torch.arange(pair.n_positions, device=like.device).repeat_interleave(n_units)
    feature = torch.arange(n_units, device=like.device).repeat(pair.n_positions)
    for layer, paired in enumerate(pair.layers):
        norm = model.norm("mlp_output", layer)
        output_norm = None if norm is None else _norm(norm, paired.mlp_output, like)
        found.append(neuron_units(layer, basis.layer(layer), paired, output_norm, position, feature, pair.first))
    return tuple(found)


def _features(model: LanguageModel, basis: Basis, pair: Pair, n_real: int) -> tuple[DictionaryUnits, ...]:
    """Features of every layer, and what they, with a skip, leave of the change of each MLP's output."""
    found = [dictionary_units(layer, basis, pair.read(layer), n_real) for layer in range(model.n_layers)]
    rests = [paired.mlp_written[1] - paired.mlp_written[0] for paired in pair.layers]
    for layer, units in enumerate(found):
        if units.W_skip is not None:
            base, contrast = pair.read(layer)
            rests[layer] = rests[layer] - (contrast - base) @ units.W_skip.to(base).T
        for some in units.pieces(len(basis.targets(layer))):
            for target, rows in units.writes(some):
                rests[target] = rests[target].index_add(0, units.position[some], -rows)
    for units, rest in zip(found, rests, strict=True):
        rest[:n_real] = 0
        units.rest = rest
    return tuple(found)

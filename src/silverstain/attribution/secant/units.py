"""What stands for the MLPs between two runs: units whose activations change, and how each reads its layer.

Neurons are all there is of an MLP. Of a dictionary there are the features that are active in one of the runs, a linear
skip, and what it misses, whose change is a source.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.attribution.frozen_norm import FrozenNorm
from silverstain.attribution.secant.rules import logarithmic_mean, slope
from silverstain.bases.basis import Basis
from silverstain.models.neurons import Neurons
from silverstain.models.pairs import PairedLayer

PIECE_BYTES = 64 * 2**20
"""Room for the vectors of units of a dictionary that are computed together."""
STILL, STILL_IN_FLOAT64 = 1e-4, 1e-7
"""A pre-activation that changes by less than this share of its size does not account for a feature that starts or
stops: the slope would be a jump over almost nothing, and what comes in by it mostly rounding."""


class Read(NamedTuple):
    """How some units read what their layer reads: Δactivation = vector · Δinput + constant."""

    vectors: Float[Tensor, "some d_model"]
    constants: Float[Tensor, " some"]


class LayerUnits(ABC):
    """The units of one layer at every position, in the order of positions."""

    layer: int
    position: Int[Tensor, " unit"]
    feature: Int[Tensor, " unit"]
    values: Float[Tensor, "run unit"]
    """Activations in both runs."""
    change: Float[Tensor, " unit"]
    """Δactivation."""
    constants: Float[Tensor, " unit"]
    """The part of it that does not come from what the unit reads."""
    rest: Float[Tensor, "pos d_model"]
    """Change of what the layer's MLP adds to the stream that neither units (of this layer or below) nor a skip give."""

    def __len__(self) -> int:
        return len(self.position)

    @abstractmethod
    def at_units(
        self, gradients: Sequence[Float[Tensor, "target late d_model"] | None], first: int = 0
    ) -> Float[Tensor, "target unit"]:
        """The gradient at every activation, given the ones at the stream behind every layer's MLP from position `first`
        on; 0 before it."""

    @abstractmethod
    def pull(self, at_units: Float[Tensor, "target unit"], first: int = 0) -> Float[Tensor, "target late d_model"]:
        """From the activations to what the layer reads from position `first` on."""

    @abstractmethod
    def reads(self, some: Int[Tensor, " some"]) -> Read:
        """How some of the units read."""

    @abstractmethod
    def writes(self, some: Int[Tensor, " some"]) -> list[tuple[int, Float[Tensor, "some d_model"]]]:
        """What the changes of some units add to the stream, for every layer whose MLP output they are part of."""


@dataclass(kw_only=True, eq=False)
class NeuronUnits(LayerUnits):
    """All neurons of a layer's MLP.

    Δ(w a b) = w̄ (b̄ σ_f Δg + ā σ_m Δu) + (a b)‾ Δw: each factor gets half of the joint part, twice.
    """

    layer: int
    neurons: Neurons
    paired: PairedLayer
    first: int
    """Before this position nothing changes: coefficients are those of the positions from it on."""
    output_norm: FrozenNorm | None
    """Between the MLP and the stream, between the two runs."""
    at_gate: Float[Tensor, "late neuron"]
    """Coefficients of Δgate, Δup, and of the change of the router's weight."""
    at_up: Float[Tensor, "late neuron"] | None
    at_weight: Float[Tensor, "late each"] | None
    routing: Float[Tensor, "late expert expert"] | None
    """Δw = routing · Δ(router's scores) + `chosen`, the change by the choice of experts."""
    constants: Float[Tensor, " unit"]
    change: Float[Tensor, " unit"]
    position: Int[Tensor, " unit"]
    feature: Int[Tensor, " unit"]
    rest: Float[Tensor, "pos d_model"]

    @cached_property
    def values(self) -> Float[Tensor, "run unit"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Computed where they are asked for: only patches read them."""
        read = self.paired.mlp_read
        activations = self.neurons.activations_of(self.neurons.factors_from(read, self.paired.projections))
        is_same = (read[0] == read[1]).all(dim=-1)
        activations[1, is_same] = activations[0, is_same]
        return activations.flatten(1)

    def at(self, position: int, neuron: int) -> int:
        """The index of a neuron."""
        return position * self.neurons.n_units + neuron

    def at_units(self, gradients: Sequence[Tensor | None], first: int = 0) -> Tensor:
        gradient = gradients[self.layer]
        assert gradient is not None
        if self.output_norm is not None:
            gradient = self.output_norm.pull(gradient, first)
        at_units = (gradient @ self.neurons.W_out.T.to(gradient)).flatten(1)
        return nn.functional.pad(at_units, (first * self.neurons.n_units, 0)) if first else at_units

    def pull(self, at_units: Tensor, first: int = 0) -> Tensor:
        skipped = max(first - self.first, 0)
        pulled = self._pulled(at_units.view(len(at_units), -1, self.neurons.n_units)[:, self.first :])[:, skipped:]
        missing = max(self.first - first, 0)
        return nn.functional.pad(pulled, (0, 0, missing, 0)) if missing else pulled

    def _pulled(self, each: Float[Tensor, "target late unit"]) -> Float[Tensor, "target late d_model"]:
        n = self.neurons.n_neurons
        pulled = (each[..., :n] * self.at_gate) @ self.neurons.W_gate.to(each)
        if self.at_up is not None and self.neurons.W_up is not None:
            pulled = pulled + (each[..., :n] * self.at_up) @ self.neurons.W_up.to(each)
        if self.at_weight is not None and self.routing is not None and self.neurons.W_router is not None:
            units = torch.arange(each.shape[-1], device=each.device)
            by_expert = each.new_zeros(*each.shape[:2], self.neurons.n_experts)
            by_expert.index_add_(2, self.neurons.expert(units), each * self.at_weight)
            at_scores = torch.einsum("tpe,pef->tpf", by_expert, self.routing)
            pulled = pulled + at_scores @ self.neurons.W_router.to(each)
        return pulled

    def reads(self, some: Tensor) -> Read:
        position, unit = self.position[some], self.feature[some]
        n, at, is_late = self.neurons.n_neurons, (position - self.first).clamp(min=0), position >= self.first
        neuron, is_neuron = unit.clamp(max=n - 1), ((unit < n) & is_late)[:, None]
        vectors = self.at_gate[at, neuron][:, None] * self.neurons.W_gate[neuron]
        if self.at_up is not None and self.neurons.W_up is not None:
            vectors = vectors + self.at_up[at, neuron][:, None] * self.neurons.W_up[neuron]
        vectors = vectors * is_neuron
        if self.at_weight is not None and self.routing is not None and self.neurons.W_router is not None:
            row = self.routing[at, self.neurons.expert(unit)] @ self.neurons.W_router
            vectors = vectors + (self.at_weight[at, unit] * is_late)[:, None] * row
        return Read(vectors, self.constants[some])

    def writes(self, some: Tensor) -> list[tuple[int, Tensor]]:
        rows = self.neurons.W_out[self.feature[some]] * self.change[some, None]
        if self.output_norm is not None:
            rows = self.output_norm.linear_at(rows, self.position[some])
        return [(self.layer, rows)]


def neuron_units(
    layer: int,
    neurons: Neurons,
    paired: PairedLayer,
    output_norm: FrozenNorm | None,
    position: Int[Tensor, " unit"],
    feature: Int[Tensor, " unit"],
    first: int,
) -> NeuronUnits:
    """The neurons of a layer between two runs, which differ from position `first` on; `position` and `feature` of all
    are the same in every layer, and held once."""
    read = paired.mlp_read[:, first:]
    both = neurons.factors_from(read, [each[:, first:] for each in paired.projections])
    base, contrast = both.run(0), both.run(1)
    products = a = neurons.f(both.gate)
    at_gate = slope(neurons.f, base.gate, contrast.gate)
    at_up = None
    if both.up is not None and base.up is not None and contrast.up is not None:
        up = neurons.up_of(both.up)
        products = a * up
        at_gate = at_gate * up.mean(dim=0)
        at_up = a.mean(dim=0)
        at_up = at_up if neurons.m is None else at_up * slope(neurons.m, base.up, contrast.up)
    activations = neurons.weighted(products, both.weights)
    is_same = (read[0] == read[1]).all(dim=-1)
    change = (activations[1] - activations[0]).masked_fill_(is_same[:, None], 0.0)
    constants, at_weight, routing = change.new_zeros(()).expand(change.shape), None, None
    if base.weights is not None and contrast.weights is not None:
        product = products.mean(dim=0)
        each = neurons.n_neurons // neurons.n_experts
        mean = ((base.weights + contrast.weights) / 2).repeat_interleave(each, dim=-1)
        at_gate = at_gate * mean
        at_up = None if at_up is None else at_up * mean
        at_weight = torch.cat([product, torch.ones_like(base.weights)], dim=-1)
        routing, chosen = _routing(base.weights, contrast.weights)
        units = torch.arange(change.shape[-1], device=change.device)
        constants = (at_weight * chosen[:, neurons.expert(units)]).masked_fill(is_same[:, None], 0.0)
    n_units = change.shape[-1]
    before = (first * n_units, 0)
    return NeuronUnits(
        layer=layer,
        neurons=neurons,
        paired=paired,
        first=first,
        output_norm=output_norm,
        at_gate=at_gate,
        at_up=at_up,
        at_weight=at_weight,
        routing=routing,
        constants=change.new_zeros(()).expand(len(position))
        if routing is None
        else nn.functional.pad(constants.flatten(), before),
        change=nn.functional.pad(change.flatten(), before),
        position=position,
        feature=feature,
        rest=change.new_zeros(()).expand(paired.mlp_read.shape[1:]),
    )


def _routing(
    base: Float[Tensor, "pos expert"], contrast: Float[Tensor, "pos expert"]
) -> tuple[Float[Tensor, "pos expert expert"], Float[Tensor, "pos expert"]]:
    """Δw of a router's softmax as a matrix of Δscores, and a constant: what an expert gains or loses by being chosen
    in one run only, with what the others then share.

    ΔP_j = P̃_j (Δs_j − (Σ_i P̃_i Δs_i + K) / Σ_i P̃_i) for experts that run in both, K the gain of the others.
    """
    in_both = (base > 0) & (contrast > 0)
    log_b, log_c = base.clamp(min=1e-300).log(), contrast.clamp(min=1e-300).log()
    mean = torch.where(in_both, logarithmic_mean(base, contrast, log_b, log_c), 0.0)
    total = mean.sum(dim=-1, keepdim=True)
    share = torch.where(total > 0, mean / torch.where(total > 0, total, 1.0), 0.0)
    matrix = torch.diag_embed(mean) - share[..., :, None] * mean[..., None, :]
    alone = torch.where(in_both, 0.0, contrast - base)
    gained = alone.sum(dim=-1, keepdim=True)
    return matrix, alone - share * gained


@dataclass(kw_only=True, eq=False)
class DictionaryUnits(LayerUnits):
    """The features of a layer that are active in one of the runs.

    Δa = σ Δz: σ is 1 where a feature is active in both runs, a/Δz where it is in one. Where another feature's strength
    decides (TopK), what z does not explain is a constant.
    """

    layer: int
    basis: Basis
    slopes: Float[Tensor, " unit"]
    constants: Float[Tensor, " unit"]
    values: Float[Tensor, "run unit"]
    change: Float[Tensor, " unit"]
    position: Int[Tensor, " unit"]
    feature: Int[Tensor, " unit"]
    rest: Float[Tensor, "pos d_model"]
    W_skip: Float[Tensor, "d_model d_model"] | None
    n_real: int

    def at_units(self, gradients: Sequence[Tensor | None], first: int = 0) -> Tensor:
        features, which = self.feature.unique(return_inverse=True)
        rows = self.basis.decoder_rows(self.layer, features)
        own = gradients[self.layer]
        assert own is not None
        total = own.new_zeros(len(own), len(self))
        for k, target in enumerate(self.basis.targets(self.layer)):
            gradient = gradients[target]
            assert gradient is not None
            for some in self.pieces(len(own), first):
                at = self.position[some] - first
                total[:, some] += (gradient[:, at] * rows[which[some], k].to(gradient)).sum(-1)
        return total

    def pull(self, at_units: Tensor, first: int = 0) -> Tensor:
        pulled = at_units.new_zeros(len(at_units), *self.rest[first:].shape)
        for some in self.pieces(len(at_units), first):
            vectors = self.reads(some).vectors.to(at_units)
            pulled.index_add_(1, self.position[some] - first, at_units[:, some, None] * vectors)
        return pulled

    def pieces(self, times: int = 1, first: int = 0) -> tuple[Int[Tensor, " _"], ...]:
        """All units from position `first` on, as many together as vectors of `times` each have room."""
        at_once = max(1, PIECE_BYTES // max(1, times * self.rest[:1].nbytes))
        start = int((self.position < first).sum())
        return torch.arange(start, len(self), device=self.position.device).split(at_once)

    def reads(self, some: Tensor) -> Read:
        features = self.feature[some]
        inputs = torch.zeros(len(features), self.rest.shape[-1], dtype=self.rest.dtype, device=self.rest.device)
        found = self.basis.readers(self.layer, features, inputs)
        return Read(found.vectors.to(inputs) * self.slopes[some, None], self.constants[some])

    def writes(self, some: Tensor) -> list[tuple[int, Tensor]]:
        rows = self.basis.decoder_rows(self.layer, self.feature[some]).to(self.rest)
        return [
            (target, rows[:, k] * self.change[some, None]) for k, target in enumerate(self.basis.targets(self.layer))
        ]


def dictionary_units(
    layer: int,
    basis: Basis,
    read: Float[Tensor, "run pos d_model"],
    n_real: int,
) -> DictionaryUnits:
    """The features of a layer between two runs; `rest` is filled in by who knows all layers."""
    z = basis.pre_activations(layer, basis.cast(read)).to(read)
    is_same = (read[0] == read[1]).all(dim=-1)
    z[1, is_same] = z[0, is_same]
    a = basis.activate(layer, basis.cast(z)).to(read)
    a[:, :n_real] = 0
    position, feature = ((a[0] != 0) | (a[1] != 0)).nonzero().unbind(1)
    (z_b, z_c), (a_b, a_c) = z[:, position, feature], a[:, position, feature]
    change, moved = a_c - a_b, z_c - z_b
    in_both = (a_b != 0) & (a_c != 0)
    still = STILL_IN_FLOAT64 if read.dtype == torch.float64 else STILL
    is_still = moved.abs() <= still * (z_b.abs() + z_c.abs())
    # Inactive though it would be active by itself: others were stronger.
    inactive = torch.where(a_b == 0, z_b, z_c)
    outdone = ~in_both & (inactive > 0) & basis.competes
    slopes = torch.where(in_both | outdone, 1.0, change / torch.where(is_still, 1.0, moved))
    slopes = torch.where(is_still & ~in_both, 0.0, slopes)
    constants = torch.where(outdone | (is_still & ~in_both), change - slopes * moved, 0.0)
    return DictionaryUnits(
        layer=layer,
        basis=basis,
        slopes=slopes,
        constants=constants,
        values=torch.stack([a_b, a_c]),
        change=change,
        position=position,
        feature=feature,
        rest=torch.zeros_like(read[0]),
        W_skip=basis.W_skip(layer),
        n_real=n_real,
    )

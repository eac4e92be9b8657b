"""Which neurons get nodes: those with the largest total contribution to what is explained.

Every neuron is active at every token, so that a graph of all of them would explain nothing. One pass down the whole
frozen flow, in which gradients cross MLPs too (through their neurons, by the basis' rule), gives what each neuron hands
on to each target along all paths: activation · gradient. The largest get nodes; the rest of a layer and position is one
node there.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.flow import EMBEDDING, FrozenFlow
from silverstain.attribution.targets import Targets
from silverstain.bases import ActiveUnits, NeuronBasis
from silverstain.brief import brief
from silverstain.models import Recording

MOST_NEURONS = 500
"""So many get nodes where neither a number nor a share is named."""
NUMBERS_AT_ONCE = 1 << 24
"""Gradients at the neurons of one layer that are held at a time."""

OnUnits = Callable[[int, int, slice, Float[Tensor, "some pos unit"]], None]
"""Told the layer, the first position, which targets, and their gradients at all units of the layer."""


@brief
@dataclass(frozen=True, kw_only=True)
class Totals:
    """What neither neurons nor errors but the prompt and the parameters make of each target: together all of it."""

    embedding: Float[Tensor, "target pos"]
    """Of each token's embedding, along all paths."""
    constant: Float[Tensor, " target"]
    """Of biases, and of what the rule leaves of neurons."""


@brief
@dataclass(frozen=True, kw_only=True)
class Selection:
    """The neurons that get nodes."""

    kept: ActiveUnits
    contributions: Float[Tensor, " kept"]
    """|activation · gradient| of each, the mean over targets by their weights."""
    share: float
    """Of the sum of these over all neurons, what the kept ones have."""
    n_active: int
    """How many there were to choose from: those that are not 0."""


@dataclass(frozen=True, kw_only=True)
class TotalFlow(FrozenFlow):
    """A frozen flow whose gradients cross MLPs through their neurons."""

    basis: NeuronBasis
    inputs: Float[Tensor, "layer pos d_model"]
    """What the MLPs read in the run."""
    on_units: OnUnits

    def _skip_adjoint(
        self, layer: int, stream: Float[Tensor, "target pos d_model"], first: int, constant: Float[Tensor, " target"]
    ) -> Float[Tensor, "target late d_model"] | None:
        """The gradient of each target through the neurons of a layer, at the last positions."""
        if not len(stream):
            return None
        basis, norm, write_norm = self.basis, self.read_norms[layer], self.write_norm(layer)
        gradient = stream[:, first:]
        if write_norm is not None:
            constant += _products(gradient, write_norm.bias, first)
            gradient = write_norm.pull(gradient, first)
        constant += _products(gradient, basis.b_dec[layer][None], first)
        x, neurons = self.inputs[layer, first : stream.shape[1]], basis.layer(layer)
        made = basis.slopes(layer, x)
        at_once = max(1, NUMBERS_AT_ONCE // (len(x) * neurons.n_units))
        into = []
        for start in range(0, len(gradient), at_once):
            some = slice(start, min(start + at_once, len(gradient)))
            at_units = gradient[some] @ neurons.W_out.T
            self.on_units(layer, first, some, at_units)
            at_input, constants = basis.pull(layer, x, made, at_units)
            constant[some] += constants
            into.append(at_input)
        at_input = torch.cat(into)
        constant += _products(at_input, norm.bias, first)
        return norm.pull(at_input, first)


def totals(flow: FrozenFlow, recording: Recording, basis: NeuronBasis, targets: Targets, on_units: OnUnits) -> Totals:
    """Pull targets that stand top layer first down the whole flow; `on_units` is told the gradient at every neuron."""
    held = {column.name: getattr(flow, column.name) for column in fields(FrozenFlow)}
    whole = TotalFlow(**held, basis=basis, inputs=recording.mlp_inputs, on_units=on_units)
    constant = targets.constants.clone()
    embedding = constant.new_zeros(len(targets), recording.n_positions)
    for crossing in whole.sweep(targets.vectors, targets.layers.tolist(), targets.positions):
        constant[: len(crossing.constant)] += crossing.constant
        if crossing.layer == EMBEDDING:
            some = slice(crossing.first, crossing.first + crossing.gradient.shape[1])
            products = torch.einsum("tpd,pd->tp", crossing.gradient, recording.embedding[some])
            embedding[: len(products), some] = products
    return Totals(embedding=embedding, constant=constant)


def contributions(
    flow: FrozenFlow,
    recording: Recording,
    basis: NeuronBasis,
    targets: Targets,
    weights: Float[Tensor, " target"],
) -> Float[Tensor, "layer pos unit"]:
    """How much each neuron at each token contributes to the targets along all paths: |activation · gradient|, the mean
    over targets by their weights."""
    order = targets.layers.argsort(descending=True, stable=True)
    targets, weights = targets[order], weights[order.cpu()].to(targets.vectors)
    found = recording.mlp_inputs.new_zeros(basis.n_layers, recording.n_positions, basis.n_features)

    def add(layer: int, first: int, some: slice, gradient: Tensor) -> None:
        here = slice(first, first + gradient.shape[1])
        activations = basis.layer(layer).activations(recording.mlp_inputs[layer, here])
        found[layer, here] += torch.einsum("tpu,t->pu", (gradient * activations).abs(), weights[some])

    totals(flow, recording, basis, targets, add)
    return found


def select(
    flow: FrozenFlow,
    recording: Recording,
    basis: NeuronBasis,
    targets: Targets,
    weights: Float[Tensor, " target"],
    *,
    most: int | None = None,
    share: float | None = None,
) -> Selection:
    """The neurons with the largest contributions: at most so many, and no more than carry a share of their sum."""
    scores = contributions(flow, recording, basis, targets, weights)
    flat, total = scores.flatten(), scores.sum(dtype=torch.float64)
    if most is None and share is None:
        most = MOST_NEURONS
    chosen = flat.topk(min(len(flat) if most is None else most, int((flat > 0).sum())))
    indices = chosen.indices
    if share is not None:
        reached = chosen.values.double().cumsum(0)
        indices = indices[: int((reached < share * total).sum()) + 1] if share > 0 else indices[:0]
    indices = indices.sort().values
    kept, n_active = _units(indices, recording, basis)
    return Selection(
        kept=kept,
        contributions=flat[indices],
        share=float(flat[indices].sum(dtype=torch.float64) / total) if float(total) > 0 else 1.0,
        n_active=n_active,
    )


def _units(indices: Int[Tensor, " kept"], recording: Recording, basis: NeuronBasis) -> tuple[ActiveUnits, int]:
    """The units with these indices in [layer, pos, unit] with their activations; and how many are not 0 in all."""
    n_positions, n_units = recording.n_positions, basis.n_features
    layers = indices // (n_positions * n_units)
    positions, features = indices // n_units % n_positions, indices % n_units
    activation, n_active = recording.mlp_inputs.new_zeros(len(indices)), 0
    for layer in range(basis.n_layers):
        activations = basis.layer(layer).activations(recording.mlp_inputs[layer])
        here = layers == layer
        activation[here] = activations[positions[here], features[here]]
        n_active += int(activations.count_nonzero())
    kept = ActiveUnits(
        layer=layers,
        position=positions,
        feature=features,
        activation=activation,
        n_layers=basis.n_layers,
        n_positions=n_positions,
    )
    return kept, n_active


def _products(gradient: Float[Tensor, "target some d_model"], bias: Tensor | None, first: int) -> Tensor | float:
    """Σ over positions of gradient · bias, whose rows are one a position of the prompt or one for all."""
    if bias is None:
        return 0.0
    if len(bias) == 1:
        return gradient.sum(dim=1) @ bias[0]
    return torch.einsum("tpd,pd->t", gradient, bias[first : first + gradient.shape[1]])

"""Response matching: when a feature is taken away, the dictionary should change as the MLPs behind it do.

A graph is tested by taking features away. A dictionary that reconstructs what the model does by itself has never seen
the stream that this leaves, and its features may answer otherwise than the MLPs. So in steps of the second phase one
feature of every sequence is moved in the real model, and what changes in the MLPs behind it is compared with what
changes in the dictionary. Jacobian matching compares derivatives on the way to another token; this compares whole
changes, thresholds crossed, in the directions that are tested.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from silverstain.models import Harvest
from silverstain.training.batches import Activations
from silverstain.training.decoders import Slabs
from silverstain.training.weights import Weights

LEAST, MOST = 0.5, 2.0
"""A feature is moved by so many times its activation, evenly drawn."""
RAISED = 0.25
"""In this share of sequences it is raised; in the others taken away, or more than that."""


@dataclass(frozen=True, kw_only=True)
class FeatureEdit:
    """One active feature of each sequence, all of the same layer, moved."""

    layer: int
    deltas: Mapping[int, Float[Tensor, "batch pos d_model"]]
    """What it adds to the MLP outputs of its own layer and those it reaches."""
    reached: Bool[Tensor, "batch pos"]
    """Where something can have changed: from its position on, where a feature was moved at all."""


@torch.no_grad()
def feature_edit(
    weights: Weights, harvested: Harvest, mask: Bool[Tensor, "batch pos"], generator: torch.Generator
) -> FeatureEdit:
    """Draw a layer that has another behind it, and for each sequence a position that counts and a feature active
    there."""
    n_batch, n_positions = mask.shape
    layer = int(torch.randint(weights.n_layers - 1, (), generator=generator))
    position = torch.multinomial(mask.float().cpu() + 1e-9, 1, generator=generator)[:, 0].to(mask.device)
    here = torch.arange(n_batch, device=mask.device)
    x = weights.scales.scale_inputs(layer, harvested.mlp_inputs[layer, here, position])
    active, values = weights.active(layer, x)
    luck = torch.rand(len(active), generator=generator).to(x)
    drawn = x.new_full((n_batch, weights.n_features), -1.0)
    drawn[active.rows, active.features] = luck
    best, feature = drawn.max(dim=1)
    moved = (best >= 0) & mask[here, position]
    activation = x.new_zeros(n_batch, weights.n_features)
    activation[active.rows, active.features] = values
    times = LEAST + (MOST - LEAST) * torch.rand(n_batch, generator=generator)
    times = torch.where(torch.rand(n_batch, generator=generator) < RAISED, times, -times).to(x)
    assert isinstance(weights.decoder, Slabs)  # a mixture has no features
    written = weights.slab[layer][feature] * (times * activation[here, feature] * moved)[:, None]
    deltas = {}
    for target, part in enumerate(written.view(n_batch, -1, weights.d_model).unbind(1), layer):
        deltas[target] = torch.zeros_like(harvested.mlp_outputs[0])
        deltas[target][here, position] = part / weights.scales.output_factor[target]
    after = torch.arange(n_positions, device=mask.device) >= position[:, None]
    return FeatureEdit(layer=layer, deltas=deltas, reached=after & mask & moved[:, None])


def response_loss(weights: Weights, clean: Activations, edited: Activations, first: int) -> Float[Tensor, ""]:
    """How far the dictionary's changes from clean to edited inputs are from those of the MLPs of `first` and later
    layers, as a share of these; inputs of earlier layers are the same."""
    scales, n_rows = weights.scales, clean.n_rows
    found = [clean.outputs.new_zeros(n_rows, weights.d_model) for _ in range(weights.n_layers)]
    for layer in range(first, weights.n_layers):
        both = torch.cat([scales.scale_inputs(layer, rows.inputs[layer]) for rows in (clean, edited)])
        active, known = weights.active(layer, both)
        z = weights.pre_activations(layer, both, active, known)
        written = weights.decoder.write(layer, both, weights.activations(layer, z, active), active, weights.kernel)
        for target, part in enumerate((written[n_rows:] - written[:n_rows]).unbind(1), layer):
            found[target] = found[target] + part
        if weights.W_skip is not None:
            found[layer] = found[layer] + (both[n_rows:] - both[:n_rows]) @ weights.W_skip[layer].T
    parts = []
    for layer in range(first, weights.n_layers):
        change = (edited.outputs[layer] - clean.outputs[layer]) * scales.output_factor[layer]
        parts.append((found[layer] - change).square().sum() / change.square().sum().clamp_min(1e-12))
    return torch.stack(parts).mean()

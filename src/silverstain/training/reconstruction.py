"""The first phase: reconstruct the MLP outputs of a pool of tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.optim import Adam

from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.jacobians import Tangents, to_another_token
from silverstain.training.kernels import Active
from silverstain.training.losses import (
    auxiliary_loss,
    jacobian_loss,
    plain_nmse,
    pre_activation_loss,
    sparsity_loss,
    squared_error,
)
from silverstain.training.selection import choose
from silverstain.training.weights import Weights

MOST_LAG = 20
"""The kept thresholds are means over about so many batches, that of a single one being a percent or two off..."""
LAG_SHARE = 0.02
"""...and over no more than this share of the first phase, in which weights change as much as in a longer one."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step says of itself; nothing here costs a pass of its own."""

    loss: float
    nmse: float
    l0: list[float]
    kl: float | None = None


@dataclass(frozen=True, kw_only=True)
class StreamLoss:
    """The losses of one batch of tokens on the model's own stream."""

    total: Tensor
    nmse: Tensor
    """The plain one: no row weighted."""
    errors: list[Tensor]
    values: list[Tensor]
    l0: list[float]
    """Active features a token, a value a layer: near a learned threshold some have the value 0."""


def stream_loss(
    weights: Weights,
    inputs: list[Tensor],
    targets: list[Tensor],
    active: list[Active],
    known: list[Tensor] | None = None,
    *,
    sparsity: float = 0.0,
    dead: Bool[Tensor, "layer feature"] | None = None,
    mlps: Tangents | None = None,
) -> StreamLoss:
    """Reconstruction, mean over the prefixes of features, and what else the configuration weighs.

    `known` are the pre-activations of the active features, without gradient, where the search for them left them.
    `sparsity` is the weight at this step; AuxK needs to know which features are dead, Jacobian matching the MLPs.
    """
    config, team, n_rows = weights.config, weights.team, inputs[0].shape[0]
    knowing = known or [None] * weights.n_layers
    z = [weights.pre_activations(i, x, active[i], knowing[i]) for i, x in enumerate(inputs)]
    values = [weights.activations(i, z[i], active[i]) for i in range(weights.n_layers)]
    counts = weights.scales.row_weights(targets)
    found = [squared_error(targets, y, counts) for y in weights.prefix_outputs(inputs, values, active, config.prefixes)]
    reconstruction, errors = found[-1]
    nmse = reconstruction
    if weights.scales.have_massive_rows:
        nmse = plain_nmse(errors, targets, team)
    total = reconstruction if len(found) == 1 else torch.stack([loss for loss, _ in found]).mean()
    if sparsity:
        total = total + sparsity * sparsity_loss(weights, z, values, active)
    if config.pre_activation:
        total = total + config.pre_activation * pre_activation_loss(weights, inputs)
    if config.aux_k and dead is not None and team.any(bool(dead.any())):
        total = total + config.aux_weight * auxiliary_loss(weights, inputs, errors, dead, counts)
    if config.jacobian_weight and mlps is not None:
        directions = to_another_token(inputs, min(config.jacobian_rows, inputs[0].shape[0]))
        tangents = mlps([x[: d.shape[0]] for x, d in zip(inputs, directions, strict=True)], directions)
        total = total + config.jacobian_weight * jacobian_loss(weights, inputs, values, active, directions, tangents)
    return StreamLoss(
        total=team.share_of_mean(total, n_rows), nmse=team.share_of_mean(nmse, n_rows), errors=errors, values=values,
        l0=_active_a_row(weights, values, n_rows),
    )  # fmt: skip


def _active_a_row(weights: Weights, values: list[Tensor], n_rows: int) -> list[float]:
    counts = weights.team.over_all(torch.stack([(some > 0).sum() for some in values]))
    everybodys = int(weights.team.over_rows(torch.tensor(n_rows, device=counts.device)))
    return [count / everybodys for count in counts.tolist()]


def scaled_rows(weights: Weights, rows: Activations) -> tuple[list[Tensor], list[Tensor]]:
    """Scaled inputs and outputs of every layer."""
    scales, layers = weights.scales, range(weights.n_layers)
    inputs = [scales.scale_inputs(layer, rows.inputs[layer]) for layer in layers]
    return inputs, [scales.scale_outputs(layer, rows.outputs[layer]) for layer in layers]


def threshold_rate(l0: float, config: TrainingConfig) -> float:
    """How fast the kept thresholds follow those of the batches in a step that aims at `l0`.

    At once while L0 falls: what is evaluated then has the features active that are trained, and a revival repairs what
    they miss. Thresholds that lagged let three times as many pass in a run of 100 steps.
    """
    return 1.0 if l0 > config.l0 else 1 / max(1.0, min(MOST_LAG, LAG_SHARE * config.steps))


def reconstruction_step(
    weights: Weights,
    optimizer: Adam,
    rows: Activations,
    fired: Int[Tensor, "layer feature"],
    *,
    l0: float,
    sparsity: float = 0.0,
    dead: Bool[Tensor, "layer feature"] | None = None,
    mlps: Tangents | None = None,
) -> StepReport:
    """One step on raw activations; counts firings into `fired`."""
    inputs, targets = scaled_rows(weights, rows)
    active, threshold, known = choose(weights, inputs, l0, weights.config.l0_floor)
    optimizer.zero_grad(set_to_none=True)
    found = stream_loss(weights, inputs, targets, active, known, sparsity=sparsity, dead=dead, mlps=mlps)
    found.total.backward()
    weights.team.add_gradients_(weights.parameters())
    optimizer.step()
    with torch.no_grad():
        weights.score_threshold.lerp_(threshold, threshold_rate(l0, weights.config))
        for layer, values in enumerate(found.values):
            is_on = (values > 0).to(torch.float64)
            fired[layer] += torch.bincount(active[layer].features, weights=is_on, minlength=weights.n_features).long()
    over_rows = weights.team.over_rows
    return StepReport(loss=over_rows(found.total).item(), nmse=over_rows(found.nmse).item(), l0=found.l0)


@torch.no_grad()
def missed(weights: Weights, rows: Activations) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Scaled inputs, what the dictionary misses of the scaled outputs with its thresholds as they are, and how much
    each row counts: what `revive_` is given, after the step, as the error of before is partly repaired by then."""
    inputs, targets = scaled_rows(weights, rows)
    active, values = zip(*(weights.active(layer, x) for layer, x in enumerate(inputs)), strict=True)
    outputs = weights.outputs(inputs, list(values), list(active))
    counts = weights.scales.row_weights(targets)
    whole = [y.new_ones(len(y)) if some is None else some for y, some in zip(targets, counts, strict=True)]
    return inputs, [y - found for y, found in zip(targets, outputs, strict=True)], whole

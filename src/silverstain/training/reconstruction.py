"""The first phase: reconstruct the MLP outputs of a pool of tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.optim import Adam

from silverstain.training.batches import Activations
from silverstain.training.selection import select
from silverstain.training.weights import Weights, point_at_

THRESHOLD_RATE = 0.05
"""How fast the kept thresholds follow those of the batches."""
SEED_SIZE = 0.8
"""Share of its token's error that a revived feature repairs at first."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step says of itself; nothing here costs a pass of its own."""

    loss: float
    nmse: float
    l0: list[float]
    kl: float | None = None


def reconstruction_loss(
    weights: Weights, inputs: list[Tensor], targets: list[Tensor], active: list
) -> tuple[Tensor, list[Tensor]]:
    """Mean squared error in units of each output's variance, mean over layers; and what each layer leaves over."""
    outputs = weights.reconstruct(inputs, active)
    errors = [target - output for target, output in zip(targets, outputs, strict=True)]
    loss = torch.stack([error.square().mean() for error in errors]).mean()
    return loss, errors


def reconstruction_step(
    weights: Weights,
    optimizer: Adam,
    rows: Activations,
    fired: Int[Tensor, "layer feature"],
    *,
    l0: float,
    floor: float,
) -> tuple[StepReport, list[Tensor], list[Tensor]]:
    """One step on raw activations; counts firings into `fired`; returns scaled inputs and errors for `revive_`."""
    scales, n_layers = weights.scales, weights.n_layers
    inputs = [scales.scale_inputs(layer, rows.inputs[layer]) for layer in range(n_layers)]
    targets = [scales.scale_outputs(layer, rows.outputs[layer]) for layer in range(n_layers)]
    active, threshold = select(weights, inputs, l0, floor)
    optimizer.zero_grad(set_to_none=True)
    loss, errors = reconstruction_loss(weights, inputs, targets, active)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        weights.score_threshold.lerp_(threshold, THRESHOLD_RATE)
        for layer in range(n_layers):
            fired[layer] += torch.bincount(active[layer].features, minlength=weights.n_features)
    l0s = [len(a) / rows.n_rows for a in active]
    return StepReport(loss=loss.item(), nmse=loss.item(), l0=l0s), inputs, [error.detach() for error in errors]


@torch.no_grad()
def revive_(
    weights: Weights,
    optimizer: Adam,
    dead: Bool[Tensor, "layer feature"],
    inputs: list[Tensor],
    errors: list[Tensor],
    generator: torch.Generator,
) -> int:
    """Point dead features at badly reconstructed tokens; returns how many were.

    A revived feature's encoder is its token's input direction, its decoder most of the token's error, its optimiser
    state zero. Tokens are drawn without replacement in proportion to their squared error at the layers it can write to;
    at most a quarter of the tokens are used, lest one kind of error call up many twins.
    """
    revived = 0
    for layer in range(weights.n_layers):
        features = dead[layer].nonzero().view(-1)
        reach = errors[layer : layer + weights.n_targets(layer)]
        error = torch.cat(reach, dim=1)
        chance = error.square().sum(1)
        n = min(features.numel(), chance.numel() // 4, int((chance > 0).sum()))
        if n == 0:
            continue
        features = features[torch.randperm(features.numel(), generator=generator)[:n]]
        tokens = torch.multinomial(chance, n, generator=generator)
        point_at_(weights, layer, features, inputs[layer][tokens], SEED_SIZE * error[tokens])
        for parameter in (weights.W_enc[layer], weights.b_enc[layer], weights.slab[layer]):
            for moment in ("exp_avg", "exp_avg_sq"):
                optimizer.state[parameter][moment][features] = 0
        revived += n
    return revived

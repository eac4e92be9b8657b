"""Where weights begin, and where dead features begin again: at tokens, whatever the kind."""

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.optim import Adam

from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.weights import Weights

SEED_BIAS = 0.6
"""A feature made from a token fires on inputs whose projection on that token's exceeds this share of its norm."""
SEED_SIZE = 0.8
"""Share of its token's error that a revived feature repairs at first."""


@torch.no_grad()
def point_at_(weights: Weights, layer: int, features: Tensor, x: Tensor, writes: Tensor) -> None:
    """Make features that fire on scaled inputs near x [feature, d_model] and at x itself write `writes`
    [feature, targets · d_model]."""
    norm = x.norm(dim=1).clamp_min(1e-6)
    weights.W_enc[layer][features] = x / norm[:, None]
    weights.b_enc[layer][features] = -SEED_BIAS * norm
    weights.decoder.point_(layer, features, x, writes / ((1 - SEED_BIAS) * norm)[:, None])


@torch.no_grad()
def initialise_(weights: Weights, pool: Activations, config: TrainingConfig, generator: torch.Generator) -> None:
    """Every feature begins as a token of the pool: near its input it writes a share of what the MLPs write there.

    So features differ and fire from the first step on. The share is what `l0` features together should sum to, spread
    over the layers that write to the same output. A skip begins at zero.
    """
    for layer in range(weights.n_layers):
        index = torch.randperm(pool.n_rows, generator=generator)[: config.n_features]
        index = index.repeat(-(-config.n_features // index.numel()))[: config.n_features]
        rows = pool.rows(index)
        x = weights.scales.scale_inputs(layer, rows.inputs[layer])
        targets = range(layer, layer + weights.n_targets(layer))
        y = [weights.scales.scale_outputs(t, rows.outputs[t]) for t in targets]
        n_writers = [config.n_writers(t) for t in targets]
        share = torch.cat([part / (n * config.l0_at(0)) for part, n in zip(y, n_writers, strict=True)], dim=1)
        own = weights.team.own_features
        point_at_(weights, layer, torch.arange(weights.n_features), own(x), own(share))


@torch.no_grad()
def revive_(
    weights: Weights,
    optimizer: Adam,
    dead: Bool[Tensor, "layer feature"],
    inputs: list[Tensor],
    errors: list[Tensor],
    generator: torch.Generator,
) -> Bool[Tensor, "layer feature"]:
    """Point dead features at badly reconstructed tokens; returns which ones were.

    A revived feature's encoder is its token's input direction, its decoder most of the token's error, its optimiser
    state zero. Tokens are drawn without replacement in proportion to their squared error at the layers it can write to;
    at most a quarter of the tokens are used, lest one kind of error call up many twins.
    """
    team = weights.team
    dead = team.all_features(dead, 1)  # drawn alike in all processes
    revived = torch.zeros_like(dead)
    first = team.first_feature(weights.config.n_features)
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
        revived[layer, features] = True
        is_own = (features >= first) & (features < first + weights.n_features)
        features, tokens = features[is_own] - first, tokens[is_own]
        writes = SEED_SIZE * error[tokens]
        point_at_(weights, layer, features, inputs[layer][tokens], writes)
        if weights.log_threshold is not None:  # so that it fires: no higher than half of its score at its token
            usual = team.all_features(weights.log_threshold[layer]).median()
            own = (0.5 * writes.norm(dim=1)).clamp_min(1e-6).log()
            weights.log_threshold[layer][features] = torch.minimum(own, usual)
        for parameter, rows in weights.rows_of(layer, features):
            for moment in ("exp_avg", "exp_avg_sq"):
                optimizer.state[parameter][moment][rows] = 0
    return team.own_features(revived, 1)

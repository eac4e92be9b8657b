"""Where weights begin, and where dead features begin again: at tokens, whatever the kind."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.optim import Adam

from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.decoders import Decoder, Slabs
from silverstain.training.massive import row_weights
from silverstain.training.weights import Weights

RIDGE = 1e-3
"""Of the affine map that a skip may begin as: a share of each input's mean square."""
SEED_BIAS = 0.6
"""A feature made from a token fires on inputs whose projection on that token's exceeds this share of its norm."""
SEED_SIZE = 0.8
"""Share of what a revived feature could repair that it repairs at first."""
SEED_LIMIT = 8.0
"""The longest it writes at its token, in units of the root mean square of what rows miss: the hardest tokens of a model
without massive rows miss some six times as much."""


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
    over the layers that write to the same output. A skip begins at zero, or as the best affine map of its layer, of
    which features then write what is left.
    """
    if config.skip_starts == "affine":
        begin_skips_(weights, pool)
    for layer in range(weights.n_layers):
        index = torch.randperm(pool.n_rows, generator=generator)[: config.n_features]
        index = index.repeat(-(-config.n_features // index.numel()))[: config.n_features]
        rows = pool.rows(index)
        x = weights.scales.scale_inputs(layer, rows.inputs[layer])
        targets = range(layer, layer + weights.n_targets(layer))
        y = [
            weights.scales.scale_outputs(t, rows.outputs[t])
            - weights.constant(t, weights.scales.scale_inputs(t, rows.inputs[t]))
            for t in targets
        ]
        y = [weights.scales.no_larger_than_cap(t, part) for t, part in zip(targets, y, strict=True)]
        n_writers = [config.n_writers(t) for t in targets]
        share = torch.cat([part / (n * config.l0_at(0)) for part, n in zip(y, n_writers, strict=True)], dim=1)
        own = weights.team.own_features
        if isinstance(weights.decoder, Slabs) and not weights.decoder.learns:
            drawn = torch.randn(share.shape, generator=generator).to(share)
            drawn *= (share.norm(dim=1).mean() / drawn.norm(dim=1))[:, None]
            weights.decoder.draw_(layer, own(drawn / ((1 - SEED_BIAS) * x.norm(dim=1).mean())))
        point_at_(weights, layer, torch.arange(weights.n_features), own(x), own(share))


@torch.no_grad()
def begin_skips_(weights: Weights, pool: Activations) -> None:
    """Make each skip, with its layer's bias, the affine map of least squares on the rows of a pool, weighted as in the
    loss; a small ridge holds what few rows do not decide."""
    assert weights.W_skip is not None  # the settings say so
    scales = weights.scales
    for layer, W in enumerate(weights.W_skip):
        x = scales.scale_inputs(layer, pool.inputs[layer])
        y = scales.scale_outputs(layer, pool.outputs[layer])
        counts = row_weights(y, scales.output_cap[layer])[:, None]
        with_one = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        sums = [(with_one.T @ (part * counts)).double() for part in (with_one, y)]
        moments, products = (weights.team.over_rows(part) for part in sums)
        moments.diagonal().mul_(1 + RIDGE)
        solution = torch.linalg.solve(moments, products)
        W.copy_(solution[:-1].T)
        weights.b_dec[layer] += solution[-1]


@torch.no_grad()
def revive_(
    weights: Weights,
    optimizer: Adam,
    dead: Bool[Tensor, "layer feature"],
    inputs: list[Tensor],
    errors: list[Tensor],
    generator: torch.Generator,
    counts: list[Tensor] | None = None,
) -> Bool[Tensor, "layer feature"]:
    """Point dead features at badly reconstructed tokens; returns which ones were.

    Tokens are drawn without replacement in proportion to their squared error at the layers it can write to, rows
    weighted by `counts` (`massive`) and massive ones left out; at most a quarter of the tokens are used, lest one kind
    of error call up many twins. A revived feature's encoder is its token's input direction, its decoder what `seeds`
    makes of the errors of all tokens it fires on, its optimiser state zero.
    """
    team = weights.team
    dead = team.all_features(dead, 1)  # drawn alike in all processes
    revived = torch.zeros_like(dead)
    first = team.first_feature(weights.config.n_features)
    counts = counts or [error.new_ones(len(error)) for error in errors]
    called: list[Called] = []
    for layer in range(weights.n_layers):
        features = dead[layer].nonzero().view(-1)
        reach = slice(layer, layer + weights.n_targets(layer))
        error = torch.stack(errors[reach], dim=1)
        count = torch.stack(counts[reach], dim=1)
        chance = (error.square().sum(2) * count).sum(1) * (count == 1).all(1)
        n = min(features.numel(), chance.numel() // 4, int((chance > 0).sum()))
        if n == 0:
            continue
        features = features[torch.randperm(features.numel(), generator=generator)[:n]]
        tokens = torch.multinomial(chance, n, generator=generator)
        writes = seeds(weights.decoder, inputs[layer], tokens, error, count)
        revived[layer, features] = True
        is_own = (features >= first) & (features < first + weights.n_features)
        usual = None if weights.log_threshold is None else team.all_features(weights.log_threshold[layer]).median()
        called.append(Called(layer, features[is_own] - first, inputs[layer][tokens[is_own]], writes[is_own], usual))
    for some in called:
        _point_called_(weights, some, some.writes)
        for parameter, rows in weights.rows_of(some.layer, some.features):
            for moment in ("exp_avg", "exp_avg_sq"):
                optimizer.state[parameter][moment][rows] = 0
    if called:
        shares = _shares(weights, called, inputs, errors, counts)
        for some in called:
            share = shares[some.layer : some.layer + weights.n_targets(some.layer)]
            writes = some.writes.view(-1, len(share), weights.d_model) * share[:, None].to(some.writes.dtype)
            _point_called_(weights, some, writes.flatten(1))
    return team.own_features(revived, 1)


class Called(NamedTuple):
    """Dead features of a layer that are called up, of this process."""

    layer: int
    features: Int[Tensor, " feature"]
    x: Float[Tensor, "feature d_model"]
    """The scaled inputs they are pointed at."""
    writes: Float[Tensor, "feature written"]
    usual: Tensor | None
    """The median of learned thresholds."""


def _point_called_(weights: Weights, some: Called, writes: Float[Tensor, "feature written"]) -> None:
    point_at_(weights, some.layer, some.features, some.x, writes)
    if weights.log_threshold is not None and some.usual is not None:
        # so that it fires: no higher than half of its score at its token
        own = (0.5 * writes.norm(dim=1)).clamp_min(1e-6).log()
        weights.log_threshold[some.layer][some.features] = torch.minimum(own, some.usual)


def _shares(
    weights: Weights, called: list[Called], inputs: list[Tensor], errors: list[Tensor], counts: list[Tensor]
) -> Float[Tensor, " layer"]:
    """The share s of what all called features write to each output, c, that lowers its error most: Σ w e·c ÷ Σ w c²,
    within 0 and 1. Features of several layers write to the same output, and of each only those count that pass their
    threshold."""
    written: list[Tensor] = [torch.zeros_like(error) for error in errors]
    for some in called:
        x = inputs[some.layer]
        active, values = weights.active(some.layer, x)
        is_called = torch.zeros(weights.n_features, dtype=torch.bool, device=x.device)
        is_called[some.features] = True
        chosen = is_called[active.features]
        parts = weights.decoder.write(some.layer, x, values[chosen], active.keep(chosen), weights.kernel)
        for target, part in enumerate(parts.unbind(1), some.layer):
            written[target] += part
    shares = []
    for c, error, count in zip(weights.team.over_features(written), errors, counts, strict=True):
        gain = ((c * error).sum(1) * count).double().sum()
        power = (c.square().sum(1) * count).double().sum()
        shares.append((gain / power.clamp_min(1e-30)).clamp(0, 1))
    return torch.stack(shares)


def seeds(
    decoder: Decoder,
    x: Float[Tensor, "row d_model"],
    tokens: Int[Tensor, " seed"],
    error: Float[Tensor, "row target d_model"],
    count: Float[Tensor, "row target"],
) -> Float[Tensor, "seed written"]:
    """What features that are pointed at `tokens` should write there, so that they repair errors and make none.

    A feature alone would lower the weighted squared error of all rows most by writing, a unit activation,

        v = Σ z w e ÷ Σ z² w,   z its activation at a row, w the row's weight, e its error;

    of that it gets SEED_SIZE, at its own token no more than SEED_LIMIT times the root mean square of what rows miss.
    Several fire on the same rows and would together write too much: all are multiplied by the share s of their sum c
    that lowers the error most, s = Σ w e·c ÷ Σ w c², within 0 and 1. So a revival cannot raise the error of the rows it
    is taken from while the same features stay active, however large some rows are.
    """
    norm = x[tokens].norm(dim=1).clamp_min(1e-6)
    along = x @ (x[tokens] / norm.square()[:, None]).T
    z = decoder.amount(torch.relu(along - SEED_BIAS) * norm, along)
    at_token = decoder.amount((1 - SEED_BIAS) * norm, torch.ones_like(norm))
    alone = torch.einsum("rs,rtd->std", z, error * count[:, :, None])
    alone /= (z.square().T @ count).clamp_min(1e-12)[:, :, None]
    writes = SEED_SIZE * alone * at_token[:, None, None]
    usual = (error.square().sum(2) * count).sum(1).mean().sqrt()
    writes *= (SEED_LIMIT * usual / writes.flatten(1).norm(dim=1).clamp_min(1e-12)).clamp_max(1)[:, None, None]
    z /= at_token
    gain = power = torch.zeros((), dtype=torch.float64, device=x.device)
    for target in range(error.shape[1]):  # one at a time: all together they are as large as all errors
        together = z @ writes[:, target]
        gain = gain + ((together * error[:, target]).sum(1) * count[:, target]).double().sum()
        power = power + (together.square().sum(1) * count[:, target]).double().sum()
    share = (gain / power.clamp_min(1e-30)).clamp(0, 1)
    return (writes * share.to(writes.dtype)).flatten(1)

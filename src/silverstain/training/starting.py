"""A run that goes on from a dictionary: its settings, and its weights in the units of training.

There is no first phase then; the second tunes a dictionary that exists on what the replaced model says, as Karvonen,
"Revisiting end-to-end sparse autoencoder training" (2025), found a short phase at the end to suffice.
"""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.bases.sites import MLP_OUTPUT, READS_AT, WRITES_AT
from silverstain.errors import UsageError
from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.decoders import Slabs
from silverstain.training.learner import Learner
from silverstain.training.team import ALONE, Team
from silverstain.training.weights import Scales, Weights


def settings_of(dictionary: Dictionary) -> dict[str, Any]:
    """The fields of `TrainingConfig` that a run which begins from `dictionary` takes from it.

    UsageError for one that training has no kind for: TopK, read or written elsewhere, reaching differently far.
    """
    n_layers = dictionary.n_layers
    if dictionary.activation == "topk":
        raise UsageError(
            f"{dictionary.name} keeps the k largest features of a token, which training ends without; start from one "
            "with ReLU or JumpReLU"
        )
    sites = (dictionary.reads_at, dictionary.writes_at)
    if sites not in ((READS_AT, WRITES_AT), (READS_AT, MLP_OUTPUT)):
        raise UsageError(
            f"{dictionary.name} reads and writes at {' and '.join(sites)}; training goes on with one of MLPs"
        )
    reaches = [len(dictionary.targets(layer)) for layer in range(n_layers)]
    reach = max(reaches)
    if reaches != [min(reach, n_layers - layer) for layer in range(n_layers)]:
        raise UsageError(f"the features of {dictionary.name} reach differently far; training has no such kind")
    is_cross_layer = dictionary.is_cross_layer and reach > 1
    return {
        "kind": "cross-layer" if is_cross_layer else "per-layer", "reach": reach if is_cross_layer else None,
        "skip": dictionary.has_skip, "n_features": dictionary.n_features, "steps": 0,
    }  # fmt: skip


def check_start(dictionary: Dictionary, config: TrainingConfig) -> None:
    """UsageError for settings under which a run would not begin as `dictionary`."""
    wanted: dict[str, Any] = {**settings_of(dictionary), "activation": "batchtopk"}
    n_features = wanted.pop("n_features")
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise UsageError(
                f"a run from {dictionary.name} has {name} {value!r}, got {getattr(config, name)!r}; leave {name} out"
            )
    if config.n_features > n_features:
        raise UsageError(
            f"{dictionary.name} has {n_features:,} features a layer, got {config.n_features:,}; give no more"
        )


@torch.no_grad()
def learner_from(dictionary: Dictionary, pool: Activations, config: TrainingConfig, team: Team = ALONE) -> Learner:
    """What learns, beginning as `dictionary`; scales are those of the pool's tokens.

    Where `config.n_features` is less than the dictionary has, each layer keeps those that write most on the pool: the
    mean square of the activation times the square of what is written at 1.
    """
    learner = Learner(config, Scales.of(pool), device=pool.device, dtype=pool.dtype, team=team)
    weights = learner.weights
    if dictionary.activation == "jumprelu":
        weights.make_score_shares()
    for layer in range(dictionary.n_layers):
        _read_layer(weights, dictionary, layer, team.own_features(_kept(dictionary, pool, layer, config.n_features)))
    team.align_(weights)
    return learner


def _kept(dictionary: Dictionary, pool: Activations, layer: int, n: int) -> Int[Tensor, " kept"]:
    """The features of a layer that are kept, in their order."""
    sizes = dictionary.W_dec(layer).flatten(1).square().sum(1)
    if n >= len(sizes):
        return torch.arange(len(sizes), device=sizes.device)
    written = torch.zeros_like(sizes)
    for rows in pool.inputs[layer].split(1024):
        written += dictionary.activate(layer, dictionary.pre_activations(layer, rows)).square().sum(0) * sizes
    return written.topk(n).indices.sort().values


def _read_layer(weights: Weights, dictionary: Dictionary, layer: int, kept: Int[Tensor, " own"]) -> None:
    """The inverse of `exporting.folded`."""
    scales, slabs = weights.scales, weights.decoder
    assert isinstance(slabs, Slabs)
    mean, factor = scales.input_mean[layer], scales.input_factor[layer]
    W_enc = dictionary.W_enc(layer)[kept]
    weights.W_enc[layer].copy_(W_enc / factor)
    weights.b_enc[layer].copy_(dictionary.b_enc(layer)[kept] + W_enc @ mean)
    targets = slice(layer, layer + weights.n_targets(layer))
    slabs.slab[layer].copy_((dictionary.W_dec(layer)[kept] * scales.output_factor[targets, None]).flatten(1))
    b_dec, skip = dictionary.b_dec[layer], dictionary.W_skip(layer)
    if weights.W_skip is not None and skip is not None:
        b_dec = b_dec + skip @ mean
        weights.W_skip[layer].copy_(skip * (scales.output_factor[layer] / factor))
    weights.b_dec[layer] = (b_dec - scales.output_mean[layer]) * scales.output_factor[layer]
    threshold = dictionary.threshold(layer)
    if threshold is not None and weights.score_share is not None:
        scores = threshold[kept] * slabs.norms(layer)
        weights.score_threshold[layer] = scores.mean()
        weights.score_share[layer].copy_(scores / scores.mean().clamp_min(1e-12))

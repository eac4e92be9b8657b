"""From weights in training to what is kept: scales folded in, every threshold a JumpReLU's, on raw activations."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from silverstain.bases import Dictionary, open_dictionary, save_dictionary
from silverstain.training.config import TrainingConfig
from silverstain.training.mixtures import Molt, open_molt, save_molt
from silverstain.training.molt import Transforms
from silverstain.training.weights import Weights

NEVER_REACHED = 60_000.0
"""The largest threshold that is kept, in units of scaled inputs, which no pre-activation comes near. A feature whose
decoder has died away would have one beyond what float16 holds."""


def folded(weights: Weights) -> dict[str, list[Tensor]]:
    """Weights on raw activations, one a layer: W_enc [feature d], b_enc and threshold [feature], b_dec [d], W_dec
    [feature target d] (or [feature d] when features write to their own layer alone), and W_skip [d d] if there is one.
    """
    scales = weights.scales
    out: dict[str, list[Tensor]] = {name: [] for name in ("W_enc", "b_enc", "threshold", "W_dec", "b_dec")}
    for layer in range(weights.n_layers):
        for name, tensor in _gates(weights, layer).items():
            out[name].append(tensor)
        targets = slice(layer, layer + weights.n_targets(layer))
        slab = weights.slab[layer].detach().view(weights.n_features, weights.n_targets(layer), weights.d_model)
        W_dec = slab / scales.output_factor[targets, None]
        out["W_dec"].append(W_dec if weights.is_cross_layer else W_dec[:, 0])
    return out | _skips(weights, out["b_dec"])


def folded_molt(weights: Weights) -> dict[str, list[Tensor]]:
    """The same for a mixture: its transforms apply to x − center, and V, U [rank d] stand in for W_dec."""
    scales, decoder = weights.scales, weights.decoder
    assert isinstance(decoder, Transforms)
    names = ("W_enc", "b_enc", "threshold", "b_dec", "V", "U", "center")
    out: dict[str, list[Tensor]] = {name: [] for name in names}
    for layer in range(weights.n_layers):
        for name, tensor in _gates(weights, layer).items():
            out[name].append(tensor)
        out["V"].append(decoder.V[layer].detach() * scales.input_factor[layer])
        out["U"].append(decoder.U[layer].detach() / scales.output_factor[layer])
        out["center"].append(scales.input_mean[layer])
    return out | _skips(weights, out["b_dec"])


def _gates(weights: Weights, layer: int) -> dict[str, Tensor]:
    """What reads and what is constant, which is folded in the same way for every kind."""
    scales = weights.scales
    W_enc = weights.W_enc[layer].detach() * scales.input_factor[layer]
    return {
        "W_enc": W_enc,
        "b_enc": weights.b_enc[layer].detach() - W_enc @ scales.input_mean[layer],
        "threshold": weights.thresholds(layer).clamp_max(NEVER_REACHED),
        "b_dec": weights.b_dec[layer].detach() / scales.output_factor[layer] + scales.output_mean[layer],
    }


def _skips(weights: Weights, b_dec: list[Tensor]) -> dict[str, list[Tensor]]:
    """The skips on raw activations; what the mean input writes through them is taken off the biases."""
    if weights.W_skip is None:
        return {}
    scales = weights.scales
    skips = [
        W.detach() * (scales.input_factor[layer] / scales.output_factor[layer])
        for layer, W in enumerate(weights.W_skip)
    ]
    less = [b - W @ scales.input_mean[layer] for layer, (b, W) in enumerate(zip(b_dec, skips, strict=True))]
    return {"W_skip": skips, "b_dec": less}


def exported(weights: Weights, *, name: str, model_hash: str | None, metadata: dict[str, Any]) -> Dictionary | Molt:
    """What stands in for the MLPs from now on."""
    if weights.config.kind == "molt":
        tensors = folded_molt(weights)
        assert isinstance(weights.decoder, Transforms)
        return Molt(tensors, ranks=weights.decoder.ranks, name=name, model_hash=model_hash, metadata=metadata)
    return Dictionary.from_tensors(**folded(weights), name=name, model_hash=model_hash, metadata=metadata)  # type: ignore[arg-type]


def save_exported(
    weights: Weights, folder: Path, *, model_hash: str, model_name: str, facts: dict[str, Any]
) -> Dictionary | Molt:
    """Write what is kept to `folder`, and open it again."""
    dtype = torch.float16 if weights.config.stored_dtype == "float16" else torch.float32
    kept = exported(weights, name=folder.name, model_hash=model_hash, metadata={"model_name": model_name})
    if isinstance(kept, Molt):
        save_molt(kept, folder, dtype=dtype, facts=facts)
    else:
        save_dictionary(kept, folder, dtype=dtype, facts=facts)
    return open_kept(folder, weights.config)


def open_kept(folder: Path, config: TrainingConfig) -> Dictionary | Molt:
    """Open what a run with this configuration has written."""
    return open_molt(folder) if config.kind == "molt" else open_dictionary(folder)

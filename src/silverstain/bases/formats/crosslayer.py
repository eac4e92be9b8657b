"""crosslayer-coding: a whole cross-layer set in one file, with cfg.json beside it.

encoder_module.encoders.{l}.weight [F, d], .bias_param; decoder_module.decoders.{s}->{t}.weight [d, F], .bias_param (a
target's are added up); theta_manager.log_threshold [layer, F]. Inputs and outputs are standardised by norm_stats.json
of the training set: (x − mean) / (std + 1e-6).
"""

import re
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble
from silverstain.bases.formats.layers import check_complete, files_with, only
from silverstain.bases.formats.settings import Whole, check_size, check_tensors, checked
from silverstain.bases.lazy import Lazy, applied, stacked, summed
from silverstain.bases.sites import site_of
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.validation import Finite, FromOutside, validated

EPSILON = 1e-6  # what crosslayer-coding adds to every standard deviation
THETA = "theta_manager.log_threshold"
MEAN_AND_STD = ("mean_std", "auto", "estimated_mean_std")  # the last two are what its former versions called it


CODED_TENSORS = (
    r"encoder_module\.encoders\.\d+\.(weight|bias_param)", r"decoder_module\.decoders\.[\d>-]+\.(weight|bias_param)",
    r"decoder_module\.skip_weights\.[\d>-]+", r"(decoder_module\.)?feature_(scale|offset)\.\d+", r"theta_manager\..*",
)  # fmt: skip
HARMLESS = ("jumprelu_threshold", "batchtopk_k", "topk_k", "topk_mode", "topk_straight_through",
            "batchtopk_straight_through", "two_stage_batchtopk", "expected_input_dtype")  # fmt: skip
"""Settings of its training, and of ways to choose features that are refused by `activation_fn`."""


class Coded(FromOutside):
    """cfg.json of crosslayer-coding."""

    num_layers: Whole | None = None
    num_features: Whole | None = None
    d_model: Whole | None = None
    activation_fn: str | None = None
    normalization_method: str = "none"
    sqrt_d_model_normalize: bool | None = None
    decoder_tying: str = "none"
    enable_feature_offset: bool | None = None
    enable_feature_scale: bool | None = None
    skip_connection: bool | None = None
    mlp_input_template: str | None = None
    mlp_output_template: str | None = None
    tl_input_template: str | None = None
    tl_output_template: str | None = None
    model_name: str | None = None


class Moments(FromOutside):
    mean: list[Finite] = Field(default_factory=list)
    std: list[Finite] = Field(default_factory=list)


class Norms(FromOutside):
    """norm_stats.json of one layer."""

    inputs: Moments = Moments()
    targets: Moments = Moments()


def is_crosslayer_coding(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, "encoder_module.encoders.0.weight"))


def read_crosslayer_coding(folder: Folder) -> Found:
    file = only(folder, list(files_with(folder, "encoder_module.encoders.0.weight")))
    here = folder.below(parent(file))
    where = folder.shown(file)
    config = checked(Coded, here.settings("cfg.json"), here.shown("cfg.json"), HARMLESS)
    _check_coded(folder, file, config)
    n_layers = config.num_layers
    if n_layers is None or n_layers < 1:
        raise UsageError(f"{here.where} has no cfg.json with num_layers; fetch it again")
    names = folder.tensors(file).keys()
    encoders = {
        int(found[1]) for name in names if (found := re.match(r"encoder_module\.encoders\.(\d+)\.weight$", name))
    }
    if len(encoders) > n_layers:
        raise UsageError(f"{where} has {len(encoders)} encoders, and its cfg.json says num_layers {n_layers}")
    check_complete(encoders, where, n_layers, "encoder")
    encoder = folder.tensor(file, "encoder_module.encoders.0.weight", 2)
    check_size(config.num_features, "num_features", encoder.shape[0], where)
    check_size(config.d_model, "d_model", encoder.shape[1], where)
    stats = [_stats(here, config, layer, encoder.shape[1]) for layer in range(n_layers)]
    return assemble([_coded_layer(folder, file, config, layer, stats) for layer in range(n_layers)], folder.where)


def _check_coded(folder: Folder, file: str, config: Coded) -> None:
    """UsageError for what a dictionary cannot hold."""
    where, tensors = folder.shown(file), folder.tensors(file)
    if config.activation_fn not in ("relu", "jumprelu"):
        raise UsageError(
            f"{where}: activation_fn {printable(str(config.activation_fn), 60)!r} ranks features over the batch and "
            f"over layers; convert it to JumpReLU with its own script (convert_batchtopk_to_jumprelu.py) first"
        )
    if config.activation_fn == "relu" and THETA in tensors:
        raise UsageError(f"{where} has thresholds, and its cfg.json says activation_fn relu; fetch it again")
    if config.decoder_tying not in ("none", "per_source", "per_target"):
        raise UsageError(f"{where}: decoder_tying {printable(config.decoder_tying, 60)!r} is not supported")
    check_tensors(tensors, CODED_TENSORS, where)
    for name in tensors:
        if "feature_offset" in name and folder.tensor(file, name).any():
            raise UsageError(
                f"{where} adds a constant to active features ({printable(name, 80)}), which a linear decoder cannot "
                f"hold; it is not supported"
            )
    if config.enable_feature_scale and not any("feature_scale" in name for name in tensors):
        raise UsageError(f"{where}: enable_feature_scale is true and there is no feature_scale; fetch it again")


def _stats(folder: Folder, config: Coded, layer: int, d_model: int) -> dict[str, tuple[Tensor, Tensor]]:
    """(mean, standard deviation) [d] of a layer's inputs and targets; 0 and 1 where nothing was normalised."""
    method = config.normalization_method
    if method == "none" and not config.sqrt_d_model_normalize:
        return dict.fromkeys(("inputs", "targets"), (torch.zeros(d_model), torch.ones(d_model)))
    if method not in MEAN_AND_STD or config.sqrt_d_model_normalize:
        method = "sqrt_d_model" if config.sqrt_d_model_normalize else printable(method, 60)
        raise UsageError(f"{folder.where}: normalization_method {method!r} is not supported; supported: none, mean_std")
    every = folder.settings("norm_stats.json")
    if not every:
        raise UsageError(
            f"{folder.where} was trained on standardised activations and has no norm_stats.json; copy it there from "
            f"its activation set, the weights mean nothing without it"
        )
    norms = validated(Norms, _flat(every.get(str(layer)) or {}), folder.shown("norm_stats.json"))
    found = {}
    for way in ("inputs", "targets"):
        moments: Moments = getattr(norms, way)
        mean, std = torch.tensor(moments.mean), torch.tensor(moments.std)
        if mean.shape != (d_model,) or std.shape != (d_model,):
            raise UsageError(
                f"{folder.where}/norm_stats.json: {way} of layer {layer} need {d_model} means and standard deviations, "
                f"got {len(mean)} and {len(std)}; fetch it again"
            )
        if (std < 0).any():
            raise UsageError(
                f"{folder.where}/norm_stats.json: {way} of layer {layer} have a std below 0; fetch it again"
            )
        found[way] = (mean, std + EPSILON)
    return found


def _flat(value: Any) -> Any:
    """Numbers in a list of one list as the list: how its tensors of shape [1, d] are written."""
    if isinstance(value, dict):
        return {name: _flat(one) for name, one in value.items()}
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) else value


def _coded_layer(folder: Folder, file: str, config: Coded, layer: int, stats: list[dict]) -> LayerParts:
    (mean, std), n_layers = stats[layer]["inputs"], len(stats)
    target_mean, target_std = stats[layer]["targets"]
    where = folder.shown(file)
    W_enc = folder.lazy(file, f"encoder_module.encoders.{layer}.weight").times(1 / std)
    bias = _optional(folder, file, f"encoder_module.encoders.{layer}.bias_param")
    shift = applied(W_enc, -mean)
    skip = _coded_skip(folder, file, config, layer, n_layers)
    W_skip = None if skip is None else skip.map(lambda S: S / std).times_rows(Lazy.of(target_std, where))
    decoders = [
        Lazy.of(_decoder_of(folder, file, config, layer, t, "weight", 2).mT, where).times(stats[t]["targets"][1])
        for t in range(layer, n_layers)
    ]
    scale = _optional(folder, file, f"feature_scale.{layer}") or _optional(
        folder, file, f"decoder_module.feature_scale.{layer}"
    )
    W_dec = stacked(decoders)
    threshold = None
    if config.activation_fn == "jumprelu":
        thetas = folder.tensor(file, THETA, 2)
        if len(thetas) != n_layers:
            raise UsageError(f"{where}: {THETA} is of {len(thetas)} layers, {n_layers} needed; fetch it again")
        threshold = Lazy.of(thetas[layer], where).map(torch.exp)
    biases = _coded_biases(folder, file, config, layer)
    constants = [Lazy.of(target_mean, where)]
    if W_skip is not None:
        constants.append(applied(W_skip, -mean))
    return LayerParts(
        W_enc=W_enc,
        b_enc=summed([shift, bias]) if bias else shift,
        W_dec=W_dec if scale is None else W_dec.times_rows(scale),
        b_dec=summed([*(one.times_rows(Lazy.of(target_std, where)) for one in biases), *constants]),
        threshold=threshold,
        W_skip=W_skip,
        reads_at=site_of(config.mlp_input_template or config.tl_input_template),
        writes_at=site_of(config.mlp_output_template or config.tl_output_template),
        model_name=config.model_name,
    )


def _decoder_of(
    folder: Folder, file: str, config: Coded, source: int, target: int, what: str, n_axes: int = 1
) -> Tensor:
    which = {"per_source": str(source), "per_target": str(target)}.get(config.decoder_tying, f"{source}->{target}")
    return folder.tensor(file, f"decoder_module.decoders.{which}.{what}", n_axes)


def _coded_biases(folder: Folder, file: str, config: Coded, target: int) -> list[Lazy]:
    """The biases of all decoders that write to a layer: each is added."""
    where, found = folder.shown(file), []
    for source in range(target + 1):
        try:
            bias = _decoder_of(folder, file, config, source, target, "bias_param")
        except UsageError:
            continue  # decoders without a bias
        if config.decoder_tying == "per_target" and target and bias.any():
            raise UsageError(
                f"{where} has decoders tied per target with biases; versions of the library differ in how often such "
                f"a bias is added, so this kind is not supported"
            )
        found.append(Lazy.of(bias, where))
    return found


def _coded_skip(folder: Folder, file: str, config: Coded, layer: int, n_layers: int) -> Lazy | None:
    if not config.skip_connection:
        return None
    own = [name for name in (f"decoder_module.skip_weights.{layer}", f"decoder_module.skip_weights.{layer}->{layer}")
           if folder.has(file, name)]  # fmt: skip
    for target in range(layer + 1, n_layers):
        name = f"decoder_module.skip_weights.{layer}->{target}"
        if folder.has(file, name) and folder.tensor(file, name).any():
            raise UsageError(
                f"{folder.shown(file)} has a linear skip from layer {layer} to layer {target}, which a dictionary "
                f"cannot hold; use a set without skips"
            )
    return folder.lazy(file, own[0]) if own else None


def _optional(folder: Folder, file: str, name: str) -> Lazy | None:
    return folder.lazy(file, name) if folder.has(file, name) else None

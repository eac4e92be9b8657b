"""Two libraries that keep a whole cross-layer set in one file: crosslayer-coding and CLT-Forge.

crosslayer-coding: encoder_module.encoders.{l}.weight [F, d], .bias_param; decoder_module.decoders.{s}->{t}.weight
    [d, F], .bias_param (a target's are added up); theta_manager.log_threshold [layer, F]. Inputs and outputs are
    standardised by norm_stats.json of the training set: (x − mean) / (std + 1e-6).
CLT-Forge: W_enc [layer, d, F], b_enc [layer, F], W_dec [pair, F, d], b_dec [pair, d], log_threshold [layer, F],
    estimated_norm_scaling_factor_in and _out [layer]; pairs in upper-triangular order, the source outside. Features
    may be spread over files rank0_…, rank1_….
"""

import re
from typing import Any

import torch
from torch import Tensor

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble
from silverstain.bases.formats.layers import check_complete, files_with
from silverstain.bases.lazy import Lazy, joined, stacked, summed
from silverstain.bases.sites import NORMALISED, WRITES_AT, site_of
from silverstain.errors import UsageError

EPSILON = 1e-6  # what crosslayer-coding adds to every standard deviation
THETA = "theta_manager.log_threshold"
SCALE = "estimated_norm_scaling_factor_"


# crosslayer-coding


def is_crosslayer_coding(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, "encoder_module.encoders.0.weight"))


def read_crosslayer_coding(folder: Folder) -> Found:
    file = _only(folder, list(files_with(folder, "encoder_module.encoders.0.weight")))
    here = folder.below(parent(file))
    config = here.settings("cfg.json")
    where = f"{folder.where}/{file}"
    n_layers = config.get("num_layers")
    if not isinstance(n_layers, int):
        raise UsageError(f"{here.where} has no cfg.json with num_layers; fetch it again")
    names = folder.tensors(file).keys()
    encoders = {layer for layer in range(n_layers) if f"encoder_module.encoders.{layer}.weight" in names}
    check_complete(encoders, where, n_layers, "encoder")
    if config.get("activation_fn") not in ("relu", "jumprelu"):
        raise UsageError(
            f"{where}: activation_fn {config.get('activation_fn')!r} ranks features over the batch and over layers; "
            f"convert it to JumpReLU with its own script (convert_batchtopk_to_jumprelu.py) first"
        )
    for name in names:
        if "feature_offset" in name and folder.tensor(file, name).any():
            raise UsageError(
                f"{where} adds a constant to active features ({name}), which a linear decoder cannot hold; it is not "
                f"supported"
            )
    stats = [_stats(here, config, layer, folder.tensor(file, "encoder_module.encoders.0.weight").shape[1])
             for layer in range(n_layers)]  # fmt: skip
    return assemble([_coded_layer(folder, file, config, layer, stats) for layer in range(n_layers)], folder.where)


def _stats(folder: Folder, config: dict, layer: int, d_model: int) -> dict[str, tuple[Tensor, Tensor]]:
    """(mean, standard deviation) [d] of a layer's inputs and targets; 0 and 1 where nothing was normalised."""
    method = config.get("normalization_method", "none")
    if method == "none":
        return dict.fromkeys(("inputs", "targets"), (torch.zeros(d_model), torch.ones(d_model)))
    if method != "mean_std":
        raise UsageError(f"{folder.where}: normalization_method {method!r} is not supported; supported: none, mean_std")
    every = folder.settings("norm_stats.json")
    if not every:
        raise UsageError(
            f"{folder.where} was trained on standardised activations and has no norm_stats.json; copy it there from "
            f"its activation set, the weights mean nothing without it"
        )
    found = {}
    for way in ("inputs", "targets"):
        values = (every.get(str(layer)) or {}).get(way) or {}
        mean, std = (torch.as_tensor(values.get(key, [])).float().flatten() for key in ("mean", "std"))
        if mean.shape != (d_model,) or std.shape != (d_model,):
            raise UsageError(
                f"{folder.where}/norm_stats.json: {way} of layer {layer} need {d_model} means and standard deviations, "
                f"got {len(mean)} and {len(std)}; fetch it again"
            )
        found[way] = (mean, std + EPSILON)
    return found


def _coded_layer(folder: Folder, file: str, config: dict, layer: int, stats: list[dict]) -> LayerParts:
    (mean, std), n_layers = stats[layer]["inputs"], len(stats)
    target_mean, target_std = stats[layer]["targets"]
    where = f"{folder.where}/{file}"
    W_enc = folder.lazy(file, f"encoder_module.encoders.{layer}.weight").times(1 / std)
    bias = _optional(folder, file, f"encoder_module.encoders.{layer}.bias_param")
    shift = Lazy((W_enc.shape[0],), torch.float32, lambda _: -(W_enc.read(None) @ mean), where).once()
    skip = _coded_skip(folder, file, config, layer, n_layers)
    W_skip = None if skip is None else skip.map(lambda S: S / std).times_rows(Lazy.of(target_std, where))
    decoders = [
        Lazy.of(_decoder_of(folder, file, config, layer, t, "weight").mT, where).times(stats[t]["targets"][1])
        for t in range(layer, n_layers)
    ]
    scale = _optional(folder, file, f"feature_scale.{layer}") or _optional(
        folder, file, f"decoder_module.feature_scale.{layer}"
    )
    W_dec = stacked(decoders)
    threshold = None
    if config["activation_fn"] == "jumprelu":
        threshold = Lazy.of(folder.tensor(file, THETA)[layer], where).map(torch.exp)
    biases = _coded_biases(folder, file, config, layer)
    constants = [Lazy.of(target_mean, where)]
    if W_skip is not None:
        constants.append(Lazy(tuple(mean.shape), torch.float32, lambda _: -(W_skip.read(None) @ mean), where).once())
    return LayerParts(
        W_enc=W_enc,
        b_enc=summed([shift, bias]) if bias else shift,
        W_dec=W_dec if scale is None else W_dec.times_rows(scale),
        b_dec=summed([*(one.times(target_std) for one in biases), *constants]),
        threshold=threshold,
        W_skip=W_skip,
        reads_at=site_of(config.get("mlp_input_template") or config.get("tl_input_template")),
        writes_at=site_of(config.get("mlp_output_template") or config.get("tl_output_template")),
        model_name=config.get("model_name"),
    )


def _decoder_of(folder: Folder, file: str, config: dict, source: int, target: int, what: str) -> Tensor:
    which = {"per_source": str(source), "per_target": str(target)}.get(
        config.get("decoder_tying", "none"), f"{source}->{target}"
    )
    return folder.tensor(file, f"decoder_module.decoders.{which}.{what}")


def _coded_biases(folder: Folder, file: str, config: dict, target: int) -> list[Lazy]:
    """The biases of all decoders that write to a layer: each is added."""
    where, found = f"{folder.where}/{file}", []
    for source in range(target + 1):
        try:
            bias = _decoder_of(folder, file, config, source, target, "bias_param")
        except UsageError:
            continue  # decoders without a bias
        if config.get("decoder_tying") == "per_target" and target and bias.any():
            raise UsageError(
                f"{where} has decoders tied per target with biases; versions of the library differ in how often such "
                f"a bias is added, so this kind is not supported"
            )
        found.append(Lazy.of(bias, where))
    return found


def _coded_skip(folder: Folder, file: str, config: dict, layer: int, n_layers: int) -> Lazy | None:
    if not config.get("skip_connection"):
        return None
    own = [name for name in (f"decoder_module.skip_weights.{layer}", f"decoder_module.skip_weights.{layer}->{layer}")
           if folder.has(file, name)]  # fmt: skip
    for target in range(layer + 1, n_layers):
        name = f"decoder_module.skip_weights.{layer}->{target}"
        if folder.has(file, name) and folder.tensor(file, name).any():
            raise UsageError(
                f"{folder.where}/{file} has a linear skip from layer {layer} to layer {target}, which a dictionary "
                f"cannot hold; use a set without skips"
            )
    return folder.lazy(file, own[0]) if own else None


def _optional(folder: Folder, file: str, name: str) -> Lazy | None:
    return folder.lazy(file, name) if folder.has(file, name) else None


def _only(folder: Folder, files: list[str]) -> str:
    if len(files) > 1:
        raise UsageError(f"{folder.where} has several checkpoints: {', '.join(files[:3])}; leave one, or name a folder")
    return files[0]


# CLT-Forge


def is_clt_forge(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, "W_enc", "b_enc", "W_dec", "b_dec", "log_threshold"))


def read_clt_forge(folder: Folder) -> Found:
    shards = _shards(folder, list(files_with(folder, "W_enc", "b_enc", "W_dec", "b_dec", "log_threshold")))
    config = folder.below(parent(shards[0])).settings("clt_cfg.json")
    n_features = sum(folder.tensor(file, "b_enc").shape[1] for file in shards)
    if (wanted := config.get("d_latent", n_features)) != n_features:
        raise UsageError(
            f"{folder.where} has {n_features} of {wanted} features in {len(shards)} files; fetch the missing rank files"
        )
    n_layers = folder.tensor(shards[0], "W_enc").shape[0]
    return assemble([_forged_layer(folder, shards, config, layer, n_layers) for layer in range(n_layers)], folder.where)


def _shards(folder: Folder, files: list[str]) -> list[str]:
    """The files of one set in order of rank."""
    ranks = {int(found[1]): file for file in files if (found := re.search(r"(?:^|/)rank(\d+)_[^/]*$", file))}
    if not ranks:
        return [_only(folder, files)]
    check_complete(set(ranks), folder.where, max(ranks) + 1, "rank")
    return [ranks[rank] for rank in sorted(ranks)]


def _forged_layer(folder: Folder, shards: list[str], config: dict[str, Any], layer: int, n_layers: int) -> LayerParts:
    where = f"{folder.where}/{shards[0]}"
    tensors = folder.tensors(shards[0])
    one = torch.ones(n_layers)
    scale_in, scale_out = (tensors.get(f"{SCALE}{way}", one).float() for way in ("in", "out"))
    n_pairs = tensors["W_dec"].shape[0]
    if n_pairs not in (n_layers, n_layers * (n_layers + 1) // 2):
        raise UsageError(f"{where}: W_dec has {n_pairs} decoders for {n_layers} layers; fetch it again")
    is_cross_layer = n_pairs != n_layers or n_layers == 1

    def pair(source: int, target: int) -> int:
        """Where the decoder from source to target is, in upper-triangular order."""
        return source * n_layers - source * (source - 1) // 2 + target - source if is_cross_layer else source

    def shared(name: str, index: int, *, is_columns: bool = False) -> Lazy:
        parts = [folder.tensor(file, name)[index] for file in shards]
        return joined([Lazy.of(part.mT if is_columns else part, where) for part in parts])

    targets = range(layer, n_layers) if is_cross_layer else range(layer, layer + 1)
    sources = range(layer + 1) if is_cross_layer else range(layer, layer + 1)
    rows = [shared("W_dec", pair(layer, t)).times(1 / float(scale_out[t])) for t in targets]
    biases = [Lazy.of(tensors["b_dec"][pair(s, layer)], where) for s in sources]
    return LayerParts(
        W_enc=shared("W_enc", layer, is_columns=True).times(float(scale_in[layer])),
        b_enc=shared("b_enc", layer),
        W_dec=stacked(rows) if is_cross_layer else rows[0],
        b_dec=summed(biases).times(1 / float(scale_out[layer])),
        threshold=shared("log_threshold", layer).map(torch.exp),
        reads_at=NORMALISED,  # where its own tracer puts it
        writes_at=WRITES_AT,
        model_name=config.get("model_name"),
    )

"""OpenMOSS (Llamascopium): config.json with sae_weights.safetensors, for transcoders and cross-layer transcoders.

Transcoder:   W_E [d, F], b_E [F], W_D [F, d], b_D [d]
Cross-layer:  W_E [layer, d, F], b_E [layer, F], W_D.{t} [t + 1, F, d] (sources 0 … t), b_D.{t} [d]
JumpReLU:     activation_function.log_jumprelu_threshold [F] or [layer, F]

Unless norm_activation is "inference", a layer reads x · s_in and gives y · s_out, with s = √d / the average norm over
its training set; activations are given on the scale of x, as its own tools do: a / s_in. With
sparsity_include_decoder_norm a feature counts pre-activation · ‖its decoder rows‖ when it is chosen.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble, decoder_norms, with_decoder_norms
from silverstain.bases.formats.layers import by_layer, check_complete, files_with
from silverstain.bases.formats.settings import Whole, check_size, check_tensors, checked
from silverstain.bases.lazy import Lazy, stacked
from silverstain.bases.sites import site_of
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.validation import FromOutside

ENCODER = ("W_E", "b_E")
LOG_THRESHOLD = "activation_function.log_jumprelu_threshold"
NORM = "dataset_average_activation_norm."
TENSORS = ("W_E", "b_E", r"W_D(\.\d+)?", r"b_D(\.\d+)?", re.escape(NORM) + ".*")
HARMLESS = (
    "sparsity_threshold_for_triton_spmm_kernel", "sparsity_threshold_for_csr", "jumprelu_threshold_window",
    "promote_act_fn_dtype", "expansion_factor", "bias_init_method", "decoder_exactly_fixed_norm", "use_batch_norm_mse",
    "k_warmup_steps",
)  # fmt: skip
"""Settings of its training and its kernels."""


class Config(FromOutside):
    """What is not there is as its own library has it by default."""

    sae_type: str | None = None
    d_model: Whole | None = None
    d_sae: Whole | None = None
    act_fn: str = "relu"
    top_k: Whole | None = None
    norm_activation: str = "dataset-wise"
    sparsity_include_decoder_norm: bool = True
    use_decoder_bias: bool | None = None
    use_glu_encoder: bool | None = None
    apply_decoder_bias_to_pre_encoder: bool | None = None
    hook_point_in: str | None = None
    hook_point_out: str | None = None
    hook_points_in: list[str] | None = None
    hook_points_out: list[str] | None = None
    model_name: str | None = None

    @property
    def activation(self) -> str:
        return self.act_fn.lower()


def is_openmoss(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, *ENCODER, "W_D"))


def read_openmoss(folder: Folder) -> Found:
    files = list(files_with(folder, *ENCODER, "W_D"))
    configs = {file: _config(folder, file, ("sae", "transcoder")) for file in files}
    ordered = by_layer(folder, files, lambda file: configs[file].hook_point_in)
    return assemble([_layer(folder, file, configs[file]) for file in ordered], folder.where)


def is_openmoss_cross_layer(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, *ENCODER, "W_D.0"))


def read_openmoss_cross_layer(folder: Folder) -> Found:
    file, *others = files_with(folder, *ENCODER, "W_D.0")
    if others:
        raise UsageError(f"{folder.where} has several dictionaries: {file} and {others[0]}; name one of their folders")
    config = _config(folder, file, ("clt",))
    n_layers, where = folder.tensor(file, "W_E", 3).shape[0], folder.shown(file)
    decoders = {t for t in range(n_layers) if folder.has(file, f"W_D.{t}")}
    check_complete(decoders, where, n_layers, "decoder")
    for name, shape in {"b_E": (n_layers,), LOG_THRESHOLD: (n_layers,)}.items():
        if folder.has(file, name) and tuple(folder.tensor(file, name).shape[:1]) != shape:
            raise UsageError(f"{where}: {name} is not of {n_layers} layers, which W_E is; fetch it again")
    for target in range(n_layers):
        if folder.tensor(file, f"W_D.{target}", 3).shape[0] != target + 1:
            raise UsageError(f"{where}: W_D.{target} is not of {target + 1} layers that write to it; fetch it again")
    hooks = [config.hook_points_in or [], config.hook_points_out or []]
    if any(len(names) not in (0, n_layers) for names in hooks):
        raise UsageError(f"{folder.where}: config.json names {len(hooks[0])} hook points for {n_layers} layers")
    names_in, names_out = (names or [None] * n_layers for names in hooks)
    return assemble(
        [_cross_layer(folder, file, config, layer, names_in, names_out) for layer in range(n_layers)], folder.where
    )


def _config(folder: Folder, file: str, kinds: tuple[str, ...]) -> Config:
    """The config.json beside a file or beside its `checkpoints`; UsageError for what is no linear dictionary."""
    place = parent(file)
    where, shown = folder.shown(place or "."), folder.shown(file)
    settings = folder.below(place).settings("config.json", "../config.json")
    if not settings:
        raise UsageError(f"{where} has no config.json beside its weights; fetch it again, its norms are in it")
    config = checked(Config, settings, f"{where}/config.json", HARMLESS)
    if config.sae_type not in (None, *kinds):
        raise UsageError(
            f"{where} says sae_type {printable(str(config.sae_type), 60)!r}, its weights are of {' or '.join(kinds)}; "
            f"give a set of transcoders"
        )
    if config.hook_point_in is not None and config.hook_point_in == config.hook_point_out:
        hook = printable(config.hook_point_in, 80)
        raise UsageError(f"{where} is an autoencoder of {hook}, not a transcoder; give a set of transcoders")
    if config.use_glu_encoder or folder.has(file, "W_E_glu"):
        raise UsageError(f"{where} has a gated (GLU) encoder, which is not linear; it is not supported")
    if config.apply_decoder_bias_to_pre_encoder:
        raise UsageError(
            f"{where} takes its decoder's bias off the input (apply_decoder_bias_to_pre_encoder), which is on another "
            f"scale than a transcoder's input; it is not supported"
        )
    if (norm := config.norm_activation) not in ("inference", "dataset-wise"):
        raise UsageError(
            f"{where} scales each input by its own norm (norm_activation {printable(norm, 60)!r}), which is not "
            f"linear; supported are dataset-wise and inference"
        )
    if (act := config.activation) not in ("relu", "jumprelu", "topk"):
        raise UsageError(
            f"{where}: act_fn {printable(act, 60)!r} chooses features over a batch or over layers and has no "
            f"threshold; convert it to JumpReLU with its own tools first"
        )
    check_tensors(folder.tensors(file), (*TENSORS, re.escape(LOG_THRESHOLD)), shown)
    if act != "jumprelu" and folder.has(file, LOG_THRESHOLD):
        raise UsageError(f"{shown} has thresholds, and its config.json says act_fn {act}; fetch it again")
    if config.use_decoder_bias is not None and config.use_decoder_bias != any(
        name.startswith("b_D") for name in folder.tensors(file)
    ):
        raise UsageError(
            f"{shown}: its config.json says use_decoder_bias {str(config.use_decoder_bias).lower()}, and that is not "
            f"what its tensors say; fetch it again"
        )
    encoder = folder.tensor(file, "W_E")
    if encoder.ndim >= 2:
        check_size(config.d_model, "d_model", encoder.shape[-2], shown)
        check_size(config.d_sae, "d_sae", encoder.shape[-1], shown)
    return config


def _scale(folder: Folder, file: str, config: Config, hook: str | None) -> float:
    if config.norm_activation == "inference":
        return 1.0
    return math.sqrt(folder.tensor(file, "W_E").shape[-2]) / folder.number(file, f"{NORM}{hook}")


def _layer(folder: Folder, file: str, config: Config) -> LayerParts:
    where = folder.shown(file)
    reads, writes = config.hook_point_in, config.hook_point_out
    return _parts(
        config,
        where,
        W_E=folder.tensor(file, "W_E", 2),
        b_E=folder.tensor(file, "b_E"),
        log_threshold=folder.tensors(file).get(LOG_THRESHOLD),
        W_D=[folder.tensor(file, "W_D", 2)],
        b_D=folder.tensors(file).get("b_D"),
        scale_in=_scale(folder, file, config, reads),
        scales_out=[_scale(folder, file, config, writes)],
        hooks=(reads, writes),
    )


def _cross_layer(
    folder: Folder,
    file: str,
    config: Config,
    layer: int,
    names_in: Sequence[str | None],
    names_out: Sequence[str | None],
) -> LayerParts:
    n_layers = len(names_in)
    log_threshold = folder.tensors(file).get(LOG_THRESHOLD)
    return _parts(
        config,
        folder.shown(file),
        W_E=folder.tensor(file, "W_E")[layer],
        b_E=folder.tensor(file, "b_E")[layer],
        log_threshold=None if log_threshold is None else log_threshold[layer],
        W_D=[folder.tensor(file, f"W_D.{t}")[layer] for t in range(layer, n_layers)],
        b_D=folder.tensors(file).get(f"b_D.{layer}"),
        scale_in=_scale(folder, file, config, names_in[layer]),
        scales_out=[_scale(folder, file, config, names_out[t]) for t in range(layer, n_layers)],
        hooks=(names_in[layer], names_out[layer]),
        is_cross_layer=True,
    )


def _parts(
    config: Config,
    where: str,
    *,
    W_E: Tensor,
    b_E: Tensor,
    log_threshold: Tensor | None,
    W_D: list[Tensor],
    b_D: Tensor | None,
    scale_in: float,
    scales_out: list[float],
    hooks: tuple[str | None, str | None],
    is_cross_layer: bool = False,
) -> LayerParts:
    """One layer with its scales folded: W_E x + b_E / s_in, decoded by W_D · s_in / s_out."""
    act, rows = config.activation, [Lazy.of(one, where) for one in W_D]
    layer = LayerParts(
        W_enc=Lazy.of(W_E.mT, where),
        b_enc=Lazy.of(b_E, where),
        W_dec=stacked(rows) if is_cross_layer else rows[0],
        b_dec=None if b_D is None else Lazy.of(b_D, where).times(1 / scales_out[0]),
        k=_k(config, where) if act == "topk" else None,
        reads_at=site_of(hooks[0]),
        writes_at=site_of(hooks[1]),
        model_name=config.model_name,
    )
    if act == "jumprelu":
        if log_threshold is None:
            raise UsageError(f"{where} has act_fn jumprelu and no thresholds; fetch it again")
        threshold = Lazy.of(log_threshold, where).map(torch.exp)
        if config.sparsity_include_decoder_norm:  # pre · ‖row‖ > θ
            threshold = threshold.times_rows(decoder_norms(layer.W_dec).map(torch.reciprocal))
        layer = replace(layer, threshold=threshold.times(1 / scale_in))
    elif act == "topk" and config.sparsity_include_decoder_norm:  # ranked by pre · ‖row‖
        layer = with_decoder_norms(layer)
    assert layer.b_enc is not None  # set above
    factors = torch.tensor([scale_in / scale for scale in scales_out])
    return replace(
        layer,
        b_enc=layer.b_enc.times(1 / scale_in),
        W_dec=layer.W_dec.times(factors[:, None] if is_cross_layer else float(factors[0])),
    )


def _k(config: Config, where: str) -> int:
    if config.top_k is None or config.top_k < 1:
        raise UsageError(f"{where} has act_fn topk and its config.json has no top_k; fetch it again")
    return config.top_k

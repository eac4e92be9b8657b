"""OpenMOSS (Llamascopium): config.json with sae_weights.safetensors, for transcoders and cross-layer transcoders.

Transcoder:   W_E [d, F], b_E [F], W_D [F, d], b_D [d]
Cross-layer:  W_E [layer, d, F], b_E [layer, F], W_D.{t} [t + 1, F, d] (sources 0 … t), b_D.{t} [d]
JumpReLU:     activation_function.log_jumprelu_threshold [F] or [layer, F]

Unless norm_activation is "inference", a layer reads x · s_in and gives y · s_out, with s = √d / the average norm over
its training set; activations are given on the scale of x, as its own tools do: a / s_in. With
sparsity_include_decoder_norm a feature counts pre-activation · ‖its decoder rows‖ when it is chosen.
"""

import math
from typing import Any

import torch
from torch import Tensor

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble
from silverstain.bases.formats.layers import by_layer, check_complete, files_with
from silverstain.bases.lazy import Lazy, stacked
from silverstain.bases.sites import site_of
from silverstain.errors import UsageError

ENCODER = ("W_E", "b_E")
LOG_THRESHOLD = "activation_function.log_jumprelu_threshold"
NORM = "dataset_average_activation_norm."


def is_openmoss(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, *ENCODER, "W_D"))


def read_openmoss(folder: Folder) -> Found:
    def config(file: str) -> dict[str, Any]:
        return _config(folder, file)

    files = by_layer(folder, list(files_with(folder, *ENCODER, "W_D")), lambda file: config(file).get("hook_point_in"))
    return assemble([_layer(folder, file, config(file)) for file in files], folder.where)


def is_openmoss_cross_layer(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, *ENCODER, "W_D.0"))


def read_openmoss_cross_layer(folder: Folder) -> Found:
    file, *others = files_with(folder, *ENCODER, "W_D.0")
    if others:
        raise UsageError(f"{folder.where} has several dictionaries: {file} and {others[0]}; name one of their folders")
    config = _config(folder, file)
    n_layers = folder.tensor(file, "W_E").shape[0]
    decoders = {t for t in range(n_layers) if folder.has(file, f"W_D.{t}")}
    check_complete(decoders, f"{folder.where}/{file}", n_layers, "decoder")
    hooks = [list(config.get(f"hook_points_{way}") or []) for way in ("in", "out")]
    if any(len(names) not in (0, n_layers) for names in hooks):
        raise UsageError(f"{folder.where}: config.json names {len(hooks[0])} hook points for {n_layers} layers")
    names_in, names_out = (names or [None] * n_layers for names in hooks)
    return assemble(
        [_cross_layer(folder, file, config, layer, names_in, names_out) for layer in range(n_layers)], folder.where
    )


def _config(folder: Folder, file: str) -> dict[str, Any]:
    """The config.json beside a file or beside its `checkpoints`; UsageError for what is no linear dictionary."""
    place = parent(file)
    config = folder.below(place).settings("config.json", "../config.json")
    where = f"{folder.where}/{place or '.'}"
    if not config:
        raise UsageError(f"{where} has no config.json beside its weights; fetch it again, its norms are in it")
    hooks = config.get("hook_point_in"), config.get("hook_point_out")
    if hooks[0] is not None and hooks[0] == hooks[1]:
        raise UsageError(f"{where} is an autoencoder of {hooks[0]}, not a transcoder; give a set of transcoders")
    if config.get("use_glu_encoder") or folder.has(file, "W_E_glu"):
        raise UsageError(f"{where} has a gated (GLU) encoder, which is not linear; it is not supported")
    if (norm := config.get("norm_activation", "inference")) not in ("inference", "dataset-wise"):
        raise UsageError(
            f"{where} scales each input by its own norm (norm_activation {norm!r}), which is not linear; supported "
            f"are dataset-wise and inference"
        )
    if (act := config.get("act_fn", "relu").lower()) not in ("relu", "jumprelu", "topk"):
        raise UsageError(
            f"{where}: act_fn {act!r} chooses features over a batch or over layers and has no threshold; convert it "
            f"to JumpReLU with its own tools first"
        )
    return config


def _scale(folder: Folder, file: str, config: dict[str, Any], hook: str | None) -> float:
    if config.get("norm_activation", "inference") == "inference":
        return 1.0
    d_model = folder.tensor(file, "W_E").shape[-2]
    return math.sqrt(d_model) / float(folder.tensor(file, f"{NORM}{hook}"))


def _layer(folder: Folder, file: str, config: dict[str, Any]) -> LayerParts:
    where = f"{folder.where}/{file}"
    reads, writes = config.get("hook_point_in"), config.get("hook_point_out")
    tensors = {name: folder.tensor(file, name) for name in ("W_E", "b_E", "W_D")}
    return _parts(
        config,
        where,
        W_E=tensors["W_E"],
        b_E=tensors["b_E"],
        log_threshold=folder.tensors(file).get(LOG_THRESHOLD),
        W_D=[tensors["W_D"]],
        b_D=folder.tensors(file).get("b_D"),
        scale_in=_scale(folder, file, config, reads),
        scales_out=[_scale(folder, file, config, writes)],
        hooks=(reads, writes),
    )


def _cross_layer(
    folder: Folder, file: str, config: dict[str, Any], layer: int, names_in: list, names_out: list
) -> LayerParts:
    n_layers = len(names_in)
    log_threshold = folder.tensors(file).get(LOG_THRESHOLD)
    return _parts(
        config,
        f"{folder.where}/{file}",
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
    config: dict[str, Any],
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
    act = config.get("act_fn", "relu").lower()
    W_enc, b_enc = Lazy.of(W_E.mT, where), Lazy.of(b_E, where)
    rows = [Lazy.of(one, where) for one in W_D]
    W_dec, threshold = stacked(rows) if is_cross_layer else rows[0], None
    if act == "jumprelu":
        if log_threshold is None:
            raise UsageError(f"{where} has act_fn jumprelu and no thresholds; fetch it again")
        threshold = Lazy.of(log_threshold, where).map(torch.exp)
    if config.get("sparsity_include_decoder_norm") and act != "relu":
        norms = _norms(W_dec)
        if threshold is not None:  # pre · ‖row‖ > θ
            threshold = threshold.times_rows(norms.map(torch.reciprocal))
        else:  # ranked by pre · ‖row‖: put the norm into the encoder
            W_enc, b_enc = W_enc.times_rows(norms), b_enc.times_rows(norms)
            W_dec = W_dec.times_rows(norms.map(torch.reciprocal))
    factors = torch.tensor([scale_in / scale for scale in scales_out])
    return LayerParts(
        W_enc=W_enc,
        b_enc=b_enc.times(1 / scale_in),
        W_dec=W_dec.times(factors[:, None] if is_cross_layer else float(factors[0])),
        b_dec=None if b_D is None else Lazy.of(b_D, where).times(1 / scales_out[0]),
        threshold=None if threshold is None else threshold.times(1 / scale_in),
        k=_k(config, where) if act == "topk" else None,
        reads_at=site_of(hooks[0]),
        writes_at=site_of(hooks[1]),
        model_name=config.get("model_name"),
    )


def _norms(W_dec: Lazy) -> Lazy:
    """‖decoder rows‖ [F] over all targets, computed when first needed: the one thing that reads a whole decoder."""
    n_features = W_dec.shape[0]
    n_rows = max(1, (1 << 24) // max(1, torch.Size(W_dec.shape[1:]).numel()))

    def read(_: Any) -> Tensor:
        chunks = torch.arange(n_features).split(n_rows)
        return torch.cat([W_dec.read(rows).to(torch.float32).flatten(1).norm(dim=1) for rows in chunks])

    return Lazy((n_features,), torch.float32, read, W_dec.where).once()


def _k(config: dict[str, Any], where: str) -> int:
    k = config.get("top_k")
    if not isinstance(k, int) or k < 1:
        raise UsageError(f"{where} has act_fn topk and its config.json has no top_k; fetch it again")
    return k

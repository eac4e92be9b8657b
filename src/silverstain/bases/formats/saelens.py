"""SAELens transcoders: cfg.json and sae_weights.safetensors for each layer.

W_enc [d, F], b_enc [F], W_dec [F, d], b_dec [d], threshold [F] for JumpReLU, W_skip [out, in] applied as x @ W_skip.T.
Its loader's names changed with version 6: settings that were flat moved into `metadata`.

What its settings change: `apply_b_dec_to_input` takes b_dec off the input (transcoders with a b_dec_out have b_dec for
their input and b_dec_out for their output); `rescale_acts_by_decoder_norm` counts a feature as its pre-activation times
the length of its decoder row; `finetuning_scaling_factor` multiplies what each feature writes by scaling_factor [F].
Sets trained with BatchTopK are JumpReLU ones where their thresholds are kept.
"""

import re
from dataclasses import replace
from typing import Any

import torch

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble, with_decoder_norms
from silverstain.bases.formats.layers import by_layer, files_with
from silverstain.bases.formats.settings import Whole, check_size, check_tensors, checked
from silverstain.bases.lazy import Lazy, applied, summed
from silverstain.bases.sites import site_of
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.validation import Finite, FromOutside

TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
KINDS = {
    "": "relu", "standard": "relu", "relu": "relu", "jumprelu": "jumprelu", "topk": "topk", "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk",
}  # fmt: skip
"""What is left of an architecture's name without `skip` and `transcoder`, and how it chooses features."""


class Places(FromOutside):
    """Where it reads and writes, in `metadata` since version 6 and flat before."""

    hook_name: str | None = None
    hook_point: str | None = None
    hook_name_out: str | None = None
    out_hook_point: str | None = None
    hook_head_index: Whole | None = None
    hook_head_index_out: Whole | None = None
    hook_point_head_index: Whole | None = None
    out_hook_point_head_index: Whole | None = None
    model_name: str | None = None


class ActivationSettings(FromOutside):
    k: Finite | None = None


class Config(Places):
    architecture: str | None = "standard"
    d_in: Whole | None = None
    d_out: Whole | None = None
    d_sae: Whole | None = None
    k: Finite | None = None
    activation_fn: str | None = None
    activation_fn_str: str | None = None
    activation_fn_kwargs: dict[str, Any] | None = None
    activation_fn_kwarg: dict[str, Any] | None = None
    apply_b_dec_to_input: bool | None = None
    is_transcoder: bool | None = None
    normalize_activations: str | None = None
    reshape_activations: str | None = None
    rescale_acts_by_decoder_norm: bool | None = None
    finetuning_scaling_factor: bool | None = None
    metadata: dict[str, Any] | None = None


HARMLESS = (
    "normalize_sae_decoder",
    "hook_layer", "hook_layer_out", "act_store_device", "jumprelu_tanh_scale", "prepend_bos",
    "model_from_pretrained_kwargs", "use_sparse_activations",
)  # fmt: skip
"""Settings of its training, whose names may sound otherwise."""


def is_saelens(folder: Folder) -> bool:
    return any(_settings(folder, file) for file in files_with(folder, *TENSORS))


def read_saelens(folder: Folder) -> Found:
    files = [file for file in files_with(folder, *TENSORS) if _settings(folder, file)]
    configs = {file: _config(folder, file) for file in files}
    ordered = by_layer(folder, files, lambda file: _hooks(_places(folder, file, configs[file]))[0])
    return assemble([_layer(folder, file, configs[file]) for file in ordered], folder.where)


def _settings(folder: Folder, file: str) -> dict[str, Any]:
    settings = folder.below(parent(file)).settings("cfg.json")
    return settings if "d_sae" in settings or "architecture" in settings else {}


def _shown(folder: Folder, file: str) -> str:
    return folder.shown(f"{parent(file)}/cfg.json".lstrip("/"))


def _config(folder: Folder, file: str) -> Config:
    """The cfg.json beside a file; UsageError for what a dictionary cannot hold."""
    where, shown = _shown(folder, file), folder.shown(file)
    config = checked(Config, _settings(folder, file), where, HARMLESS)
    architecture = config.architecture or "standard"
    reads, writes = _hooks(_places(folder, file, config))
    is_transcoder = "transcoder" in architecture or config.is_transcoder
    if not is_transcoder and (writes is None or writes == reads):
        raise UsageError(
            f"{shown} is an autoencoder (architecture {printable(architecture, 60)!r}), not a transcoder; give a set "
            f"of transcoders"
        )
    if (scaling := config.normalize_activations) not in (None, "none", "None"):
        how = (
            "and the factor that it was scaled by is not in its files; fold it with SAELens"
            if scaling == "expected_average_only_in"
            else "which is not linear; fold it with SAELens first"
        )
        raise UsageError(
            f"{shown} normalises each input by itself (normalize_activations {printable(scaling, 60)!r}), {how}, or "
            f"use another set"
        )
    checked(ActivationSettings, config.activation_fn_kwargs or config.activation_fn_kwarg or {}, where)
    if config.reshape_activations not in (None, "none", "None"):
        raise UsageError(
            f"{shown} reads the outputs of attention heads (reshape_activations "
            f"{printable(config.reshape_activations, 60)!r}), not an MLP's input; give a set of transcoders"
        )
    return config


def _places(folder: Folder, file: str, config: Config) -> Places:
    """From `metadata` where that has them; UsageError for a set of a single head."""
    both = {**_settings(folder, file), **(config.metadata or {})}
    wanted = {name: both[name] for name in Places.model_fields if name in both}
    places = checked(Places, wanted, _shown(folder, file))
    for name in ("hook_head_index", "hook_head_index_out", "hook_point_head_index", "out_hook_point_head_index"):
        if getattr(places, name) is not None:
            raise UsageError(
                f"{folder.shown(file)} is of a single attention head ({name} {getattr(places, name)}), not of an MLP; "
                f"give a set of transcoders"
            )
    return places


def _hooks(places: Places) -> tuple[str | None, str | None]:
    return places.hook_name or places.hook_point, places.hook_name_out or places.out_hook_point


def _layer(folder: Folder, file: str, config: Config) -> LayerParts:
    kind, where = _kind(folder, file, config), folder.shown(file)
    if "skip" in (config.architecture or "") and not folder.has(file, "W_skip"):
        raise UsageError(f"{where} is a {config.architecture} and has no tensor W_skip; fetch it again")
    known = [*TENSORS, "W_skip", "scaling_factor"]
    known += ["threshold"] if kind in ("jumprelu", "batchtopk") else []
    known += ["b_dec_out"] if "transcoder" not in (config.architecture or "") else []
    check_tensors(folder.tensors(file), known, where)
    W_enc, W_dec = folder.tensor(file, "W_enc", 2), folder.tensor(file, "W_dec", 2)
    for name, size in (("d_in", W_enc.shape[0]), ("d_sae", W_enc.shape[1]), ("d_out", W_dec.shape[1])):
        check_size(getattr(config, name), name, size, where)
    reads, writes = _hooks(places := _places(folder, file, config))
    layer = LayerParts(
        W_enc=Lazy.of(W_enc.mT, where),
        b_enc=folder.lazy(file, "b_enc"),
        W_dec=folder.lazy(file, "W_dec"),
        b_dec=folder.lazy(file, "b_dec"),
        threshold=_threshold(folder, file, kind, config),
        W_skip=folder.lazy(file, "W_skip") if folder.has(file, "W_skip") else None,
        k=_k(config, where) if kind == "topk" else None,
        reads_at=site_of(reads),
        writes_at=site_of(writes),
        model_name=places.model_name,
    )
    layer = _with_fine_tuning(_with_input_bias(layer, folder, file, config), folder, file, config)
    return with_decoder_norms(layer) if config.rescale_acts_by_decoder_norm else layer


def _kind(folder: Folder, file: str, config: Config) -> str:
    """How features are chosen: relu, jumprelu, topk or batchtopk; UsageError for other ways."""
    where, architecture = folder.shown(file), config.architecture or "standard"
    if "gated" in architecture or folder.has(file, "b_gate"):
        raise UsageError(f"{where} is gated, which is not supported; supported: ReLU, JumpReLU and TopK transcoders")
    kind = KINDS.get(re.sub(r"(?:^|_)(?:skip|transcoder)(?=_|$)", "", architecture).strip("_"))
    if kind is None:
        raise UsageError(
            f"{where} has the architecture {printable(architecture, 60)!r}, which is not supported; supported: ReLU, "
            f"JumpReLU and TopK transcoders, with or without a skip"
        )
    named = config.activation_fn or config.activation_fn_str or "relu"
    if kind == "relu" and named in ("topk", "jumprelu", "batchtopk"):  # before version 6 the architecture did not say
        return named
    if named not in ("relu", kind):
        raise UsageError(
            f"{where} has the activation function {printable(named, 60)!r} and the architecture "
            f"{printable(architecture, 60)!r}, which is not supported; supported: relu, jumprelu and topk"
        )
    if kind == "relu" and config.k is not None:
        raise UsageError(
            f"{where}: its settings contradict each other, k is {config.k:g} and nothing else says TopK (architecture "
            f"{printable(architecture, 60)!r}); fetch it again"
        )
    return kind


def _threshold(folder: Folder, file: str, kind: str, config: Config) -> Lazy | None:
    if kind not in ("jumprelu", "batchtopk"):
        return None
    if not folder.has(file, "threshold"):
        what = {"batchtopk": "was trained with BatchTopK", "jumprelu": "is a JumpReLU one"}[kind]
        raise UsageError(
            f"{folder.shown(file)} {what} (architecture {printable(config.architecture or 'standard', 60)!r}) and has "
            f"no threshold, so what is active cannot be told; save it with SAELens as JumpReLU first"
        )
    return Lazy.of(folder.tensor(file, "threshold").squeeze(), folder.shown(file))


def _with_input_bias(layer: LayerParts, folder: Folder, file: str, config: Config) -> LayerParts:
    """W_enc (x − b) + b_enc = W_enc x + (b_enc − W_enc b), where a bias is taken off the input.

    By SAELens' own defaults it is for autoencoders (which one that writes elsewhere is by its name) and is not for
    transcoders.
    """
    where, has_two = folder.shown(file), folder.has(file, "b_dec_out")
    if "transcoder" in (config.architecture or ""):
        if config.apply_b_dec_to_input:
            raise UsageError(
                f"{where}: apply_b_dec_to_input is true for a {config.architecture}, whose b_dec is of its output; "
                f"SAELens refuses this too, set it to false if b_dec is not to be taken off the input"
            )
        return layer
    if config.is_transcoder and not has_two:
        raise UsageError(f"{where} is a transcoder (is_transcoder) and has no b_dec_out; fetch it again")
    is_applied = config.apply_b_dec_to_input in (None, True)
    if has_two and not is_applied:
        raise UsageError(
            f"{where} has biases of its input and its output (b_dec, b_dec_out), and apply_b_dec_to_input is false; "
            f"these contradict each other, fetch it again"
        )
    if not is_applied:
        return layer
    assert layer.b_enc is not None  # set by _layer
    shift = applied(layer.W_enc, -folder.tensor(file, "b_dec", 1))
    b_dec = folder.lazy(file, "b_dec_out") if has_two else layer.b_dec
    return replace(layer, b_enc=summed([layer.b_enc, shift]), b_dec=b_dec)


def _with_fine_tuning(layer: LayerParts, folder: Folder, file: str, config: Config) -> LayerParts:
    """What a feature writes, times the factor it was fine-tuned to."""
    has_factors = folder.has(file, "scaling_factor")
    if config.finetuning_scaling_factor and not has_factors:
        raise UsageError(
            f"{folder.shown(file)}: finetuning_scaling_factor is true and there is no tensor scaling_factor; "
            f"fetch it again"
        )
    if not has_factors:
        return layer
    factors = folder.tensor(file, "scaling_factor")
    if config.finetuning_scaling_factor:
        return replace(layer, W_dec=layer.W_dec.times_rows(Lazy.of(factors, layer.W_dec.where)))
    if not torch.equal(factors, torch.ones_like(factors)):
        raise UsageError(
            f"{folder.shown(file)} has factors in scaling_factor and finetuning_scaling_factor is not true; these "
            f"contradict each other, fetch it again"
        )
    return layer


def _k(config: Config, where: str) -> int:
    """k of a TopK transcoder."""
    kwargs = config.activation_fn_kwargs or config.activation_fn_kwarg or {}
    k = config.k if config.k is not None else checked(ActivationSettings, kwargs, where).k
    if k is None or k < 1 or k != int(k):
        seen = "no k" if k is None else f"k {k}"
        raise UsageError(
            f"{where} is a TopK transcoder and its cfg.json has {seen}, a whole number needed; fetch it again"
        )
    return int(k)

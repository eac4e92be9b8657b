"""circuit-tracer's layouts, one of which is ours: config.yaml names the kind, and sometimes a file for each layer.

Per layer:    layer_{l}.safetensors    W_enc, W_dec [F, d], b_enc, b_dec, activation_function.threshold, W_skip, k
Cross-layer:  W_enc_{l}.safetensors    W_enc_l [F, d], b_enc_l, b_dec_l, threshold_l, W_skip_l (ours)
              W_dec_{l}.safetensors    W_dec_l [F, L − l, d]

Ours alone: W_enc, W_dec and W_skip may be int8 rows, as W_enc.int8 and W_enc.scale [F], W_dec_0.int8 and W_dec_0.scale
[F, L − l], and so on: see `int8_rows`.

JumpReLU is said by thresholds, TopK by `activation: topk` and `k` in config.yaml; where circuit-tracer loses these
two (it does when it caches a set), nothing in the files tells, and the set is a ReLU one for us as for it. What
config.yaml, silverstain.json and the weights say must agree.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from silverstain.bases.formats import gemma_scope
from silverstain.bases.formats.folder import Folder
from silverstain.bases.formats.found import NAMES, Found, LayerParts, assemble
from silverstain.bases.formats.layers import check_complete
from silverstain.bases.formats.native_settings import Config, Facts, k_of, native_config, native_facts
from silverstain.bases.formats.settings import check_tensors
from silverstain.bases.hub import fetch_file
from silverstain.bases.int8_rows import KEYS, NUMBERS, SCALE, is_stored_so, lazy_rows
from silverstain.bases.layout import (
    CONFIG,
    CROSS_LAYER,
    FACTS,
    FORMAT,
    FORMAT_INT8,
    OPTIONAL,
    PER_LAYER,
    first_file,
    layer_in,
    place_of,
)
from silverstain.bases.lazy import Lazy
from silverstain.bases.weight_files import open_weights
from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable

THRESHOLD = "activation_function.threshold"


def is_native(folder: Folder) -> bool:
    """A config.yaml of any kind is circuit-tracer's: no other format has one."""
    return (folder.root / CONFIG).is_file()


def read_native(folder: Folder) -> Found:
    config, facts = native_config(folder), native_facts(folder)
    is_cross_layer = config.model_kind == CROSS_LAYER
    if config.transcoders:
        found = _from_list(folder, config, is_cross_layer)
    else:
        n_layers = _count_layers(folder, is_cross_layer)
        if n_layers < max(facts.n_layers or 0, config.n_layers or 0):
            raise _missing(folder, n_layers, is_cross_layer)
        layers = [_layer(folder, layer, n_layers, is_cross_layer, config, facts) for layer in range(n_layers)]
        found = assemble(layers, folder.where)
    _check_agreement(folder, found, config, facts, is_cross_layer)
    said = {key: value for key, value in folder.settings(CONFIG).items() if key != "transcoders"}
    places = {key: said[key] for key in ("feature_input_hook", "feature_output_hook") if said.get(key)}
    return Found(
        parts=found.parts,
        n_layers=found.n_layers,
        activation=found.activation,
        k=found.k,
        name=facts.name or config.scan,
        hash=facts.hash,
        model_hash=facts.model_hash,
        metadata={**said, **facts.metadata, **places},  # where it reads and writes is config.yaml's to say
    )


def _check_agreement(folder: Folder, found: Found, config: Config, facts: Facts, is_cross_layer: bool) -> None:
    """UsageError where settings and weights contradict each other: one of the two would be dropped without a word."""
    n_axes = 3 if is_cross_layer else 2
    seen = [found.parts["W_dec", layer].shape for layer in range(found.n_layers)]
    if any(len(shape) != n_axes for shape in seen):
        raise UsageError(
            f"{folder.where}: {CONFIG} says model_kind {config.model_kind}, whose decoders have {n_axes} axes, and "
            f"W_dec has shape {list(next(shape for shape in seen if len(shape) != n_axes))}; fetch it again"
        )
    has_thresholds = ("threshold", 0) in found.parts
    for file, said in ((CONFIG, config.chosen_by), (FACTS, facts.activation)):
        if said == "jumprelu" and not has_thresholds:
            raise UsageError(
                f"{folder.where}: {file} says activation {said}, and its weights have no thresholds; fetch it again, "
                f"or set activation: relu if it is a ReLU one"
            )
        if said == "relu" and has_thresholds:
            raise UsageError(
                f"{folder.where}: {file} says activation {said}, and its weights have thresholds; set activation: "
                f"jumprelu if they are to be used"
            )
    if facts.is_cross_layer not in (None, is_cross_layer):
        raise UsageError(
            f"{folder.where}: {CONFIG} says model_kind {config.model_kind}, and {FACTS} is_cross_layer "
            f"{str(facts.is_cross_layer).lower()}; fetch it again"
        )
    seen_format = FORMAT_INT8 if any(part.dtype == torch.int8 for part in found.parts.values()) else FORMAT
    if facts.format not in (None, seen_format):
        raise UsageError(
            f"{folder.where}: {FACTS} says format {facts.format}, and its weights are those of {seen_format}: "
            f"{'int8 rows' if seen_format == FORMAT_INT8 else 'no int8 rows'}; fetch it again"
        )
    n_features, d_model = found.parts["W_enc", 0].shape
    for file, settings in ((CONFIG, config), (FACTS, facts)):
        for name, said, size in (
            ("n_layers", settings.n_layers, found.n_layers),
            ("n_features", settings.n_features, n_features),
            ("d_model", settings.d_model, d_model),
        ):
            if said is not None and said != size:
                raise UsageError(
                    f"{folder.where}: {file} says {name} {said}, and its weights have {size}; fetch it again"
                )


def _count_layers(folder: Folder, is_cross_layer: bool) -> int:
    """How many layers there are; UsageError when one between is missing, and where the files are of the other kind."""
    seen, others = (
        {layer for name in folder.top if (layer := layer_in(name, "W_enc", is_cross_layer=kind)) is not None}
        for kind in (is_cross_layer, not is_cross_layer)
    )
    if others:
        kind, file = (
            (CROSS_LAYER, PER_LAYER)[not is_cross_layer],
            first_file(min(others), is_cross_layer=not is_cross_layer),
        )
        raise UsageError(
            f"{folder.where}: {CONFIG} says model_kind {kind}, and {file} is a file of the other kind; set model_kind "
            f"to what the files are, or take away those of the other kind"
        )
    if not seen:
        first = first_file(0, is_cross_layer=is_cross_layer)
        raise UsageError(f"there is no dictionary at {folder.where}: {first} is missing; fetch it again")
    missing = next((layer for layer in range(len(seen)) if layer not in seen), None)
    if missing is not None:
        raise _missing(folder, missing, is_cross_layer)
    return len(seen)


def _missing(folder: Folder, layer: int, is_cross_layer: bool) -> UsageError:
    file = first_file(layer, is_cross_layer=is_cross_layer)
    return UsageError(f"{folder.where} is not complete: {file} is missing; fetch it again")


def _layer(folder: Folder, layer: int, n_layers: int, is_cross_layer: bool, config: Config, facts: Facts) -> LayerParts:
    """One layer; opens its files, so a missing or truncated one is found now."""
    parts: dict[str, Any] = {}
    places = {key: place_of(key, layer, is_cross_layer=is_cross_layer) for key in NAMES}
    for key, (file, name) in places.items():
        if key in KEYS and is_stored_so(folder.tensors(file), name):
            parts[key] = lazy_rows(folder.tensors(file), name, shown_path(folder.root / file))
        elif folder.has(file, name):
            parts[key] = folder.lazy(file, name)
        elif key not in OPTIONAL:
            raise UsageError(
                f"{shown_path(folder.root / file)} has no tensor {name}; it is not a dictionary's file, fetch it again"
            )
    for file in {file for file, _ in places.values()}:
        tensors = folder.tensors(file)
        known = _known(tensors, {key: name for key, (_, name) in places.items()})
        check_tensors(tensors, known if is_cross_layer else [*known, "k"], folder.shown(file))
    stored = None if is_cross_layer else folder.tensors(places["W_enc"][0]).get("k")
    return LayerParts(**parts, k=k_of(folder, layer, n_layers, config, facts, stored))


def _known(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> list[str]:
    """Regular expressions of the tensors that a file may have: these, and those that stand for int8 rows of them."""
    rows = [names[key] + suffix for key in KEYS if is_stored_so(tensors, names[key]) for suffix in (NUMBERS, SCALE)]
    return [re.escape(name) for name in (*names.values(), *rows)]


def _from_list(folder: Folder, config: Config, is_cross_layer: bool) -> Found:
    """A set whose config.yaml lists one file for each layer, on the hub or on this disk."""
    paths = [fetch_file(entry, folder.root) for entry in config.transcoders or []]
    opened = [(open_weights(path), shown_path(path)) for path in paths]
    if is_cross_layer:
        wanted = set(gemma_scope.SECOND)
        whole = [one for one in opened if wanted <= one[0].keys()]
        check_complete({i for i, one in enumerate(opened) if wanted <= one[0].keys()}, folder.where, len(opened))
        return gemma_scope.cross_layer_of(whole, gemma_scope.Config(), folder.where)
    layers = [_listed_layer(folder, config, i, len(opened), *one) for i, one in enumerate(opened)]
    return assemble(layers, folder.where)


def _listed_layer(
    folder: Folder, config: Config, layer: int, n_layers: int, tensors: dict[str, Tensor], where: str
) -> LayerParts:
    """A file of a list, told by its tensors: Gemma Scope's, or circuit-tracer's own."""
    if "w_enc" in tensors or Path(where).suffix == ".npz":
        missing = set(gemma_scope.SECOND if "w_enc" in tensors else gemma_scope.FIRST) - tensors.keys()
        if not missing:
            return gemma_scope.layer_of(tensors, where)
    else:
        missing = {"W_enc", "b_enc", "W_dec", "b_dec"} - tensors.keys()
    if missing:
        raise UsageError(
            f"{where} has no tensor {printable(min(missing))}; it is not a transcoder's file, check {CONFIG}"
        )
    check_tensors(tensors, [*NAMES[:4], "W_skip", "k", THRESHOLD.replace(".", r"\.")], where)
    names = {"threshold": THRESHOLD}
    parts: dict[str, Any] = {
        key: Lazy.of(tensors[name], where) for key in NAMES if (name := names.get(key, key)) in tensors
    }
    return LayerParts(**parts, k=k_of(folder, layer, n_layers, config, Facts(), tensors.get("k")))

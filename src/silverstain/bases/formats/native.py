"""circuit-tracer's layouts, one of which is ours: config.yaml names the kind, and sometimes a file for each layer.

Per layer:    layer_{l}.safetensors    W_enc, W_dec [F, d], b_enc, b_dec, activation_function.threshold, W_skip, k
Cross-layer:  W_enc_{l}.safetensors    W_enc_l [F, d], b_enc_l, b_dec_l, threshold_l, W_skip_l (ours)
              W_dec_{l}.safetensors    W_dec_l [F, L − l, d]

JumpReLU is said by thresholds, TopK by `activation: topk` and `k` in config.yaml; where circuit-tracer loses these
two (it does when it caches a set), nothing in the files tells, and the set is a ReLU one for us as for it.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from silverstain.bases.formats import gemma_scope
from silverstain.bases.formats.folder import Folder
from silverstain.bases.formats.found import NAMES, Found, LayerParts, assemble
from silverstain.bases.formats.layers import check_complete
from silverstain.bases.hub import fetch_file
from silverstain.bases.layout import (
    CONFIG,
    CROSS_LAYER,
    FACTS,
    FORMAT,
    OPTIONAL,
    PER_LAYER,
    first_file,
    layer_in,
    place_of,
)
from silverstain.bases.lazy import Lazy
from silverstain.bases.weight_files import open_weights
from silverstain.documents import read_json
from silverstain.errors import UsageError

THRESHOLD = "activation_function.threshold"
ACTIVATIONS = (None, "relu", "jumprelu", "jump_relu", "topk")


def is_native(folder: Folder) -> bool:
    """A config.yaml of any kind is circuit-tracer's: no other format has one."""
    return (folder.root / CONFIG).is_file()


def read_native(folder: Folder) -> Found:
    config = folder.settings(CONFIG)
    is_cross_layer = _is_cross_layer(folder, config)
    facts = read_json(folder.root / FACTS, FORMAT) if (folder.root / FACTS).exists() else {}
    if config.get("transcoders"):
        found = _from_list(folder, config["transcoders"], is_cross_layer)
    else:
        n_layers = facts.get("n_layers") or _count_layers(folder, is_cross_layer)
        layers = [_layer(folder, layer, is_cross_layer, config, facts) for layer in range(n_layers)]
        found = assemble(layers, folder.where)
    return Found(
        parts=found.parts,
        n_layers=found.n_layers,
        activation=found.activation,
        k=found.k,
        name=facts.get("name") or config.get("scan"),
        hash=facts.get("hash"),
        model_hash=facts.get("model_hash"),
        metadata={**{key: value for key, value in config.items() if key != "transcoders"}, **facts.get("metadata", {})},
    )


def _is_cross_layer(folder: Folder, config: dict[str, Any]) -> bool:
    file, kind, activation = folder.root / CONFIG, config.get("model_kind"), config.get("activation")
    if kind not in (PER_LAYER, CROSS_LAYER):
        raise UsageError(f"{file}: model_kind is {kind!r}; supported kinds: {PER_LAYER}, {CROSS_LAYER}")
    if activation not in ACTIVATIONS:
        raise UsageError(f"{file}: activation {activation!r} is not supported; supported: relu, jumprelu, topk")
    return kind == CROSS_LAYER


def _count_layers(folder: Folder, is_cross_layer: bool) -> int:
    """How many layers there are; UsageError when one between is missing."""
    seen = {
        layer for name in folder.top if (layer := layer_in(name, "W_enc", is_cross_layer=is_cross_layer)) is not None
    }
    if not seen:
        first = first_file(0, is_cross_layer=is_cross_layer)
        raise UsageError(f"there is no dictionary at {folder.where}: {first} is missing; fetch it again")
    missing = set(range(max(seen) + 1)) - seen
    if missing:
        file = first_file(min(missing), is_cross_layer=is_cross_layer)
        raise UsageError(f"{folder.where} is not complete: {file} is missing; fetch it again")
    return len(seen)


def _layer(folder: Folder, layer: int, is_cross_layer: bool, config: dict[str, Any], facts: dict) -> LayerParts:
    """One layer; opens its files, so a missing or truncated one is found now."""
    parts: dict[str, Any] = {}
    for key in NAMES:
        file, name = place_of(key, layer, is_cross_layer=is_cross_layer)
        if folder.has(file, name):
            parts[key] = folder.lazy(file, name)
        elif key not in OPTIONAL:
            raise UsageError(
                f"{folder.root / file} has no tensor {name}; it is not a dictionary's file, fetch it again"
            )
    stored = None if is_cross_layer else folder.tensors(place_of("W_enc", layer, is_cross_layer=False)[0]).get("k")
    return LayerParts(**parts, k=_k(folder, layer, config, facts, stored))


def _k(folder: Folder, layer: int, config: dict[str, Any], facts: dict, stored: Tensor | None) -> int | None:
    """How many features of a layer are active at most; None unless the set is a TopK one."""
    if config.get("activation") != "topk" and facts.get("activation") != "topk":
        return None if stored is None or config.get("activation") else int(stored)
    k = facts.get("k") or config.get("k") or (None if stored is None else int(stored))
    k = k[layer] if isinstance(k, list) else k
    if not isinstance(k, int) or k < 1:
        raise UsageError(
            f"{folder.root / CONFIG} says activation: topk and k is {k!r}; add the k that the set was trained with, "
            f"as a line 'k: 128'"
        )
    return k


def _from_list(folder: Folder, entries: Any, is_cross_layer: bool) -> Found:
    """A set whose config.yaml lists one file for each layer, on the hub or on this disk."""
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise UsageError(f"{folder.root / CONFIG}: transcoders must be a list of files, one a layer")
    paths = [fetch_file(entry, folder.root) for entry in entries]
    opened = [(open_weights(path), str(path)) for path in paths]
    if is_cross_layer:
        wanted = set(gemma_scope.SECOND)
        whole = [one for one in opened if wanted <= one[0].keys()]
        check_complete({i for i, one in enumerate(opened) if wanted <= one[0].keys()}, folder.where, len(opened))
        return gemma_scope.cross_layer_of(whole, {}, folder.where)
    config = folder.settings(CONFIG)
    return assemble([_listed_layer(folder, config, i, *one) for i, one in enumerate(opened)], folder.where)


def _listed_layer(folder: Folder, config: dict, layer: int, tensors: dict[str, Tensor], where: str) -> LayerParts:
    """A file of a list, told by its tensors: Gemma Scope's, or circuit-tracer's own."""
    if "w_enc" in tensors or Path(where).suffix == ".npz":
        missing = set(gemma_scope.SECOND if "w_enc" in tensors else gemma_scope.FIRST) - tensors.keys()
        if not missing:
            return gemma_scope.layer_of(tensors, where)
    else:
        missing = {"W_enc", "b_enc", "W_dec", "b_dec"} - tensors.keys()
    if missing:
        raise UsageError(f"{where} has no tensor {min(missing)}; it is not a transcoder's file, check {CONFIG}")
    names = {"threshold": THRESHOLD}
    parts: dict[str, Any] = {
        key: Lazy.of(tensors[name], where) for key in NAMES if (name := names.get(key, key)) in tensors
    }
    return LayerParts(**parts, k=_k(folder, layer, config, {}, tensors.get("k")))

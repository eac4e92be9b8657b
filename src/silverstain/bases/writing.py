"""Writing a dictionary in circuit-tracer's native layout, with what we know more in silverstain.json beside it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from silverstain.bases.dictionary import Dictionary
from silverstain.bases.hashing import combine, hash_one
from silverstain.bases.layout import CONFIG, CROSS_LAYER, FACTS, FORMAT, PER_LAYER, place_of
from silverstain.bases.storage import Key
from silverstain.errors import UsageError
from silverstain.storage import save_tensors_whole, write_json_whole, write_text_whole


def save_dictionary(
    dictionary: Dictionary,
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    name: str | None = None,
    model_name: str | None = None,
    facts: Mapping[str, Any] | None = None,
    on_layer: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Write the dictionary to `folder`, stored in `dtype` (its own by default); returns the hash of what was written.

    `facts` (training figures and the like, plain JSON) join the metadata. One layer is in memory at a time.
    config.yaml goes first when an older dictionary is replaced and comes last, so an interrupted run never leaves
    something that looks complete.
    """
    folder = Path(folder)
    dtype = dtype or dictionary.dtype
    metadata = {**dictionary.metadata, **(facts or {})}
    metadata.pop("format", None)  # of the files it came from
    _remove_old(folder)
    hashes: dict[Key, str] = {}
    for layer in range(dictionary.n_layers):
        tensors = _stored(dictionary, layer, dtype)
        hashes |= {(key, layer): hash_one((key, layer), tensor) for key, tensor in tensors.items()}
        for file, named in _files(tensors, layer, dictionary.is_cross_layer).items():
            save_tensors_whole(folder / file, named)
        on_layer(layer + 1, dictionary.n_layers)
    written = combine(hashes)
    write_json_whole(
        folder / FACTS,
        {
            "format": FORMAT,
            "name": name or dictionary.name,
            "hash": written,
            "model_hash": dictionary.model_hash,
            "n_layers": dictionary.n_layers,
            "n_features": dictionary.n_features,
            "d_model": dictionary.d_model,
            "activation": dictionary.activation,
            **({} if dictionary.k is None else {"k": list(dictionary.k)}),
            "is_cross_layer": dictionary.is_cross_layer,
            "metadata": metadata,
        },
    )
    config = {
        "model_name": model_name or metadata.get("model_name") or "unknown",
        "model_kind": CROSS_LAYER if dictionary.is_cross_layer else PER_LAYER,
        "feature_input_hook": dictionary.reads_at,
        "feature_output_hook": dictionary.writes_at,
        "scan": name or dictionary.name,
        **_activation(dictionary),
    }
    write_text_whole(folder / CONFIG, yaml.safe_dump(config, sort_keys=False))
    return written


def _activation(dictionary: Dictionary) -> dict[str, Any]:
    """What config.yaml must say of a TopK set: without it circuit-tracer reads a ReLU one."""
    if dictionary.k is None:
        return {}
    same = len(set(dictionary.k)) == 1
    return {"activation": "topk", "k": dictionary.k[0] if same else list(dictionary.k)}


def _stored(dictionary: Dictionary, layer: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a layer as they will be in its files, rounded to `dtype`.

    Thresholds and biases are rounded as well, so a pre-activation a hair above its threshold may change sides.
    """
    wide = dictionary.to(device="cpu")
    decoder = wide.W_dec(layer)
    if wide.is_cross_layer:  # the layout names every layer above, written to or not
        decoder = torch.nn.functional.pad(decoder, (0, 0, 0, wide.n_layers - layer - decoder.shape[1]))
    tensors = {
        "W_enc": wide.W_enc(layer),
        "b_enc": wide.b_enc(layer),
        "W_dec": decoder if wide.is_cross_layer else decoder.squeeze(1),
        "b_dec": wide.b_dec[layer],
        "threshold": wide.threshold(layer),
        "W_skip": wide.W_skip(layer),
    }
    return {key: _rounded(tensor, dtype, key) for key, tensor in tensors.items() if tensor is not None}


def _rounded(tensor: Tensor, dtype: torch.dtype, key: str) -> Tensor:
    rounded = tensor.detach().to(dtype).contiguous()
    if rounded.isinf().any() and not tensor.isinf().any():
        raise UsageError(
            f"{key} has values up to {float(tensor.detach().abs().max()):.3g}, too large for {dtype}; store it as "
            f"bfloat16 or float32"
        )
    return rounded


def _files(tensors: dict[str, Tensor], layer: int, is_cross_layer: bool) -> dict[str, dict[str, Tensor]]:
    """The tensors of each file, by the names the layout gives them."""
    files: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        file, name = place_of(key, layer, is_cross_layer=is_cross_layer)
        files.setdefault(file, {})[name] = tensor
    return files


def _remove_old(folder: Path) -> None:
    """Take away an older dictionary's files, its config.yaml first; other files of the folder stay."""
    try:
        (folder / CONFIG).unlink(missing_ok=True)
        for pattern in (FACTS, "layer_*.safetensors", "W_enc_*.safetensors", "W_dec_*.safetensors"):
            for file in folder.glob(pattern):
                file.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}; choose a folder that can be written") from error

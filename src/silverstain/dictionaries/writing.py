"""Writing a dictionary in circuit-tracer's native layout, with what we know more in silverstain.json beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from silverstain.dictionaries.dictionary import READS_AT, WRITES_AT, Dictionary
from silverstain.dictionaries.layout import CONFIG, CROSS_LAYER, FACTS, FORMAT, PER_LAYER, place_of
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
) -> str:
    """Write the dictionary to `folder`, stored in `dtype` (its own by default); returns the hash of what was written.

    `facts` (training figures and the like, plain JSON) join the metadata. config.yaml goes first when an older
    dictionary is replaced and comes last, so an interrupted run never leaves something that looks complete.
    """
    folder = Path(folder)
    dtype = dtype or dictionary.dtype
    stored = _in_storage_type(dictionary, dtype)
    metadata = {**dictionary.metadata, **(facts or {})}
    _remove_old(folder)
    for file, tensors in _files(stored).items():
        save_tensors_whole(folder / file, tensors)
    write_json_whole(
        folder / FACTS,
        {
            "format": FORMAT,
            "name": name or dictionary.name,
            "hash": stored.hash,
            "model_hash": dictionary.model_hash,
            "n_layers": dictionary.n_layers,
            "n_features": dictionary.n_features,
            "d_model": dictionary.d_model,
            "activation": dictionary.activation,
            "is_cross_layer": dictionary.is_cross_layer,
            "metadata": metadata,
        },
    )
    config = {
        "model_name": model_name or metadata.get("model_name") or "unknown",
        "model_kind": CROSS_LAYER if dictionary.is_cross_layer else PER_LAYER,
        "feature_input_hook": metadata.get("feature_input_hook") or READS_AT,
        "feature_output_hook": metadata.get("feature_output_hook") or WRITES_AT[0],
        "scan": name or dictionary.name,
    }
    write_text_whole(folder / CONFIG, yaml.safe_dump(config, sort_keys=False))
    return stored.hash


def _in_storage_type(dictionary: Dictionary, dtype: torch.dtype) -> Dictionary:
    """A copy in memory, rounded to `dtype`: its hash is that of the file to come.

    Thresholds and biases are rounded as well, so a pre-activation a hair above its threshold may change sides.
    """
    layers = range(dictionary.n_layers)
    wide = dictionary.to(device="cpu")
    decoders = [wide.W_dec(i) if wide.is_cross_layer else wide.W_dec(i).squeeze(1) for i in layers]
    thresholds = [t for i in layers if (t := wide.threshold(i)) is not None]
    skips = [s for i in layers if (s := wide.W_skip(i)) is not None]
    if len(skips) not in (0, dictionary.n_layers):
        raise UsageError(f"the dictionary {dictionary.name} has a skip at some layers only; it cannot be stored")

    def rounded(tensors: list[Tensor]) -> list[Tensor]:
        return [tensor.detach().to(dtype).contiguous() for tensor in tensors]

    return Dictionary.from_tensors(
        W_enc=rounded([wide.W_enc(i) for i in layers]),
        b_enc=rounded([wide.b_enc(i) for i in layers]),
        W_dec=rounded(decoders),
        b_dec=rounded(list(wide.b_dec)),
        threshold=rounded(thresholds) or None,
        W_skip=rounded(skips) or None,
        name=dictionary.name,
    )


def _files(dictionary: Dictionary) -> dict[str, dict[str, Tensor]]:
    """The tensors of each file, by the names the layout gives them."""
    files: dict[str, dict[str, Tensor]] = {}
    for layer in range(dictionary.n_layers):
        decoder = dictionary.W_dec(layer)
        tensors: dict[str, Tensor | None] = {
            "W_enc": dictionary.W_enc(layer),
            "b_enc": dictionary.b_enc(layer),
            "W_dec": decoder if dictionary.is_cross_layer else decoder.squeeze(1),
            "b_dec": dictionary.b_dec[layer],
            "threshold": dictionary.threshold(layer),
            "W_skip": dictionary.W_skip(layer),
        }
        for key, tensor in tensors.items():
            if tensor is not None:
                file, name = place_of(key, layer, is_cross_layer=dictionary.is_cross_layer)
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

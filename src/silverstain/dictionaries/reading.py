"""Opening a dictionary's folder: headers are checked at once, tensors are read when they are needed."""

from pathlib import Path
from typing import Any

import torch
import yaml

from silverstain.dictionaries.dictionary import Dictionary
from silverstain.dictionaries.layout import (
    CONFIG,
    CROSS_LAYER,
    FACTS,
    FORMAT,
    NAMES,
    OPTIONAL,
    PER_LAYER,
    first_file,
    place_of,
)
from silverstain.dictionaries.storage import FileSource, Key, Place, open_file
from silverstain.errors import UsageError
from silverstain.storage import broken_file, read_json


def open_dictionary(
    path: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Dictionary:
    """A dictionary in circuit-tracer's native layout, computed with in `dtype` whatever type it is stored in.

    UsageError for a folder that is none, an unfinished or broken one, and kinds that are not supported.
    """
    folder = Path(path).expanduser()
    config = _config(folder)
    facts = read_json(folder / FACTS, FORMAT) if (folder / FACTS).exists() else {}
    is_cross_layer = _is_cross_layer(folder, config)
    n_layers = facts.get("n_layers") or _count_layers(folder, is_cross_layer)
    files: dict[Path, Any] = {}
    return Dictionary(
        FileSource(_places(folder, n_layers, is_cross_layer, files), files),
        n_layers=n_layers,
        is_cross_layer=is_cross_layer,
        name=facts.get("name") or config.get("scan") or folder.resolve().name,
        hash=facts.get("hash"),
        model_hash=facts.get("model_hash"),
        metadata={**config, **facts.get("metadata", {})},
        device=device,
        dtype=dtype,
    )


def _config(folder: Path) -> dict[str, Any]:
    """The folder's config.yaml, which is written last: its absence means that the dictionary is not complete."""
    file = folder / CONFIG
    if not folder.is_dir():
        raise UsageError(f"there is no dictionary at {folder}: it is not a folder; give the folder with {CONFIG} in it")
    if not file.is_file():
        raise UsageError(f"there is no complete dictionary at {folder}: it has no {CONFIG}; train or fetch it again")
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise broken_file(file, error) from error
    if not isinstance(config, dict):
        raise UsageError(f"{file} holds no settings; a line such as 'model_kind: {PER_LAYER}' is needed")
    return config


def _is_cross_layer(folder: Path, config: dict[str, Any]) -> bool:
    kind, activation = config.get("model_kind"), config.get("activation")
    if kind not in (PER_LAYER, CROSS_LAYER):
        raise UsageError(f"{folder / CONFIG}: model_kind is {kind!r}; supported kinds: {PER_LAYER}, {CROSS_LAYER}")
    if activation not in (None, "relu", "jumprelu", "jump_relu"):
        raise UsageError(
            f"{folder / CONFIG}: activation {activation!r} is not supported yet; supported: relu, jumprelu"
        )
    return kind == CROSS_LAYER


def _count_layers(folder: Path, is_cross_layer: bool) -> int:
    """How many layers there are, numbered from 0 without a gap."""
    n_layers = 0
    while (folder / first_file(n_layers, is_cross_layer=is_cross_layer)).exists():
        n_layers += 1
    if n_layers == 0:
        first = first_file(0, is_cross_layer=is_cross_layer)
        raise UsageError(f"there is no dictionary at {folder}: {first} is missing; fetch it again")
    return n_layers


def _places(folder: Path, n_layers: int, is_cross_layer: bool, files: dict[Path, Any]) -> dict[Key, Place]:
    """Where every tensor is; opens every file, so a missing or truncated one is found now."""
    places: dict[Key, Place] = {}
    names: dict[str, set[str]] = {}
    for layer in range(n_layers):
        for key in NAMES:
            file, name = place_of(key, layer, is_cross_layer=is_cross_layer)
            names[file] = names.get(file) or set(open_file(folder / file, files).keys())
            if name in names[file]:
                places[key, layer] = Place(folder / file, name)
            elif key not in OPTIONAL:
                raise UsageError(f"{folder / file} has no tensor {name}; it is not a dictionary's file, fetch it again")
    return places

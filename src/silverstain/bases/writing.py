"""Writing a dictionary in circuit-tracer's native layout, with what we know more in silverstain.json beside it.

All of it is written beside its final place, and takes that place in one step. What stood there is whole until then, and
goes with that step; files that are no part of a dictionary are found in the new folder as they were.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from silverstain.bases.dictionary import Dictionary
from silverstain.bases.hashing import combine, hash_one
from silverstain.bases.hub import is_folder_here
from silverstain.bases.int8_rows import NUMBERS, SCALE, WRITTEN, multiplied_out, rounded
from silverstain.bases.layout import (
    CARDS,
    CONFIG,
    CROSS_LAYER,
    FACTS,
    FORMAT,
    FORMAT_INT8,
    MOLT_FACTS,
    PER_LAYER,
    STORED_AS,
    place_of,
)
from silverstain.bases.lazy import TYPES
from silverstain.bases.storage import Key
from silverstain.errors import UsageError
from silverstain.parts import PREFIX, SUFFIX, part_file, shown_path, unwritable, whole_folder
from silverstain.printable import printable
from silverstain.storage import save_tensors_whole, write_json_whole, write_text_whole

OF_A_DICTIONARY = re.compile(
    rf"{re.escape(CONFIG)}|{re.escape(FACTS)}|{re.escape(MOLT_FACTS)}|molt\.safetensors"
    r"|(?:layer|W_enc|W_dec)_\d+\.safetensors|.*\.safetensors\.index\.json"
)
"""Files that go with a dictionary when another is written in its place; so do its cards, where they no longer fit."""
AS_INT8 = (
    "int8 rows with a float32 scale each; circuit-tracer cannot read them: write a set that it reads with "
    "silverstain convert --dtype float32"
)


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

    With torch.int8, W_enc and W_dec become int8 rows with a float32 scale each, W_skip bfloat16, and the rest float32:
    about a quarter of the bytes, which circuit-tracer cannot read. `facts` (training figures and the like, plain JSON)
    join the metadata. One layer is in memory at a time. A run that is interrupted or fails leaves `folder` as it was:
    see `_place`. Raises UsageError where nothing can be written, and for values that are not numbers or too large for
    `dtype`.
    """
    folder, dtype = Path(folder), dtype or dictionary.dtype
    if dtype not in (*TYPES, torch.int8):
        seen = printable(str(dtype).removeprefix("torch."), 40)
        raise UsageError(f"a dictionary is not stored as {seen}; give float32, bfloat16, float16, float64 or int8")
    with _place(folder) as new:
        written = _write(dictionary, new, dtype, name, model_name, facts or {}, on_layer)
        if not cards_fit(folder / CARDS, written):
            (new / CARDS).unlink(missing_ok=True)
    return written


def _write(
    dictionary: Dictionary,
    folder: Path,
    dtype: torch.dtype,
    name: str | None,
    model_name: str | None,
    facts: Mapping[str, Any],
    on_layer: Callable[[int, int], None],
) -> str:
    """All files, into a folder that nobody else reads yet; gives the hash."""
    metadata = {**dictionary.metadata, **facts}
    for of_its_files in ("format", STORED_AS):
        metadata.pop(of_its_files, None)
    hashes: dict[Key, str] = {}
    for layer in range(dictionary.n_layers):
        files: dict[str, dict[str, Tensor]] = {}
        for key, tensor in _tensors(dictionary, layer).items():
            file, name_there = place_of(key, layer, is_cross_layer=dictionary.is_cross_layer)
            stored, read_back = _stored(tensor, dtype, key)
            files.setdefault(file, {}).update({name_there + suffix: part for suffix, part in stored.items()})
            hashes[key, layer] = hash_one((key, layer), read_back)
        for file, tensors in files.items():
            save_tensors_whole(folder / file, tensors)
        on_layer(layer + 1, dictionary.n_layers)
    written = combine(hashes)
    write_json_whole(
        folder / FACTS,
        {
            "format": FORMAT_INT8 if dtype == torch.int8 else FORMAT,
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
        **({STORED_AS: AS_INT8} if dtype == torch.int8 else {}),
    }
    write_text_whole(folder / CONFIG, yaml.safe_dump(config, sort_keys=False))
    return written


@contextmanager
def _place(folder: Path) -> Iterator[Path]:
    """A new folder with the other files of `folder` in it, which takes the place of `folder` when it is done.

    The folder that the run is in, one that another file system begins at, and one whose parent cannot be written are
    not exchanged: the new files are moved into them, config.yaml last, and only where there is no dictionary yet.
    """
    is_there = is_folder_here(str(folder.absolute()))
    if is_there and not _can_be_exchanged(folder):
        with _moved_in(folder) as new:
            yield new
        return
    with whole_folder(folder, replace=True) as new:
        if is_there:
            _bring_others(folder, new)
        yield new


def _can_be_exchanged(folder: Path) -> bool:
    whole = folder.resolve()
    return not (whole == Path.cwd() or os.path.ismount(whole)) and os.access(whole.parent, os.W_OK | os.X_OK)


@contextmanager
def _moved_in(folder: Path) -> Iterator[Path]:
    """A new folder whose files are moved into `folder` when they are all there."""
    if (folder / CONFIG).exists():
        raise UsageError(
            f"there is a dictionary in {shown_path(folder)}, which cannot be exchanged for another as a whole: it is "
            f"the folder you are in, a file system of its own, or in a folder that cannot be written; choose another"
        )
    try:
        with part_file(folder) as new:
            new.mkdir()
            yield new
            for file in sorted(new.iterdir(), key=lambda file: (file.name == CONFIG, file.name)):
                file.replace(folder / file.name)
    except OSError as error:
        raise unwritable(folder, error) from error


def _bring_others(folder: Path, new: Path) -> None:
    """What is no part of a dictionary, as the same files under the new names, which takes no room."""
    for entry in folder.iterdir():
        if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):  # being written, or left by a dead run
            continue
        if entry.is_symlink() or entry.is_file():
            if not OF_A_DICTIONARY.fullmatch(entry.name):
                _same_file(entry, new / entry.name)
        elif entry.is_dir():
            shutil.copytree(entry, new / entry.name, symlinks=True, copy_function=_same_file)
    shutil.copymode(folder, new)


def _same_file(old: str | Path, new: str | Path) -> None:
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:  # a file system without links
        shutil.copy2(old, new, follow_symlinks=False)


def cards_fit(path: Path, written: str) -> bool:
    """Whether the cards in a file, if there are any, say that they are of the dictionary with this hash."""
    try:
        with safe_open(path, framework="pt") as file:
            text = json.loads((file.metadata() or {}).get("text", "{}"))
        return text["meta"]["dictionary_hash"] == written
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _activation(dictionary: Dictionary) -> dict[str, Any]:
    """What config.yaml must say of a TopK set: without it circuit-tracer reads a ReLU one."""
    if dictionary.k is None:
        return {}
    same = len(set(dictionary.k)) == 1
    return {"activation": "topk", "k": dictionary.k[0] if same else list(dictionary.k)}


def _tensors(dictionary: Dictionary, layer: int) -> dict[str, Tensor]:
    """The tensors of a layer, shaped as they will be in its files."""
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
    return {key: tensor.detach() for key, tensor in tensors.items() if tensor is not None}


def _stored(tensor: Tensor, dtype: torch.dtype, key: str) -> tuple[dict[str, Tensor], Tensor]:
    """What stands in the file, by what follows the tensor's name there, and what will be read.

    Thresholds and biases are rounded as well, but as float32 beside int8 rows, so a pre-activation a hair above its
    threshold may change sides.
    """
    if dtype != torch.int8 or key not in WRITTEN:
        beside = torch.bfloat16 if key == "W_skip" else torch.float32
        kept = _rounded(tensor, beside if dtype == torch.int8 else dtype, key)
        return {"": kept}, kept
    rows = rounded(tensor)
    values = multiplied_out(rows)
    if not values.isfinite().all():
        raise UsageError(
            f"{key} has values that are not numbers, or too large for float32, which int8 rows cannot hold; train or "
            f"fetch the dictionary again"
        )
    return {NUMBERS: rows.numbers, SCALE: rows.scales}, values


def _rounded(tensor: Tensor, dtype: torch.dtype, key: str) -> Tensor:
    rounded = tensor.to(dtype).contiguous()
    if rounded.isinf().any() and not tensor.isinf().any():
        raise UsageError(
            f"{key} has values up to {float(tensor.abs().max()):.3g}, too large for {printable(str(dtype))}; "
            f"store it as bfloat16 or float32"
        )
    return rounded

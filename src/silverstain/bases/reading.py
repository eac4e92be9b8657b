"""Opening a dictionary of any known format: headers are read at once, tensors when they are needed."""

import json
from pathlib import Path

import torch

from silverstain.bases.dictionary import Dictionary
from silverstain.bases.formats import FORMATS, format_of
from silverstain.bases.formats.folder import Folder, read_settings
from silverstain.bases.hub import resolve
from silverstain.bases.layout import CONFIG, MOLT_FACTS
from silverstain.bases.storage import FileSource
from silverstain.errors import UsageError


def open_dictionary(
    reference: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Dictionary:
    """A dictionary in a folder or on the hub (org/name/sub/folder@revision), computed with in `dtype` whatever type
    it is stored in; its format is told by its files.

    UsageError for a reference that leads nowhere, a folder that is no dictionary, an unfinished or broken one, and
    kinds that cannot be represented exactly.
    """
    root, pattern = resolve(reference)
    folder = Folder(root, str(reference), pattern)
    _check_shards(folder)
    if MOLT_FACTS in folder.files:
        raise UsageError(
            f"{folder.where} is a mixture of linear transforms, which has no features that could be traced; "
            "`silverstain evaluate` measures it, a per-layer or cross-layer dictionary can be traced"
        )
    kind = format_of(folder)
    if kind is None:
        raise UsageError(_no_dictionary(folder))
    found = kind.read(folder)
    return Dictionary(
        FileSource(found.parts),
        n_layers=found.n_layers,
        activation=found.activation,
        k=found.k,
        name=found.name or _name_of(str(reference), root),
        hash=found.hash,
        model_hash=found.model_hash,
        metadata={**found.metadata, "format": kind.name},
        folder=root,
        device=device,
        dtype=dtype,
    )


def _name_of(reference: str, root: Path) -> str:
    """A hub reference names itself; a folder is named by its last part."""
    return root.resolve().name if Path(reference).expanduser().is_dir() else reference


def _check_shards(folder: Folder) -> None:
    """UsageError when an index of shards, as Hugging Face writes it, names a file that is not there."""
    for name in folder.files:
        if name.endswith(".safetensors.index.json"):
            files = set(read_settings(folder.root / name).get("weight_map", {}).values())
            missing = sorted(file for file in files if not (folder.root / name).with_name(str(file)).is_file())
            if missing:
                raise UsageError(
                    f"{folder.where} is not complete: {missing[0]} is missing, of {len(files)} files that "
                    f"{name} names; fetch it again"
                )


def _no_dictionary(folder: Folder) -> str:
    known = ", ".join(kind.name for kind in FORMATS)
    if not folder.weight_files:
        what = f"it has no {CONFIG} and no files of weights"
    else:
        file = folder.weight_files[0]
        names = json.dumps(sorted(folder.tensors(file))[:4])
        what = f"it has no {CONFIG}, and the tensors of {file}, {names} …, are of none of the known formats ({known})"
    return f"there is no complete dictionary at {folder.where}: {what}; train or fetch it again"

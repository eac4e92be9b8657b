"""Opening a dictionary of any known format: headers are read at once, tensors when they are needed."""

import json
from pathlib import Path

import torch
from pydantic import Field

from silverstain.bases.dictionary import Dictionary
from silverstain.bases.formats import FORMATS, format_of
from silverstain.bases.formats.folder import Folder, read_settings
from silverstain.bases.hub import check_inside, is_folder_here, resolve
from silverstain.bases.layout import CONFIG, MOLT_FACTS
from silverstain.bases.storage import FileSource
from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable
from silverstain.validation import FromOutside, validated


def open_dictionary(
    reference: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Dictionary:
    """A dictionary in a folder or on the hub (org/name/sub/folder@revision), computed with in `dtype` whatever type
    it is stored in; its format is told by its files.

    UsageError for a reference that leads nowhere, a folder that is no dictionary, an unfinished or broken one, and
    kinds that cannot be represented exactly.
    """
    root, pattern = resolve(reference)
    folder = Folder(root, shown_path(str(reference)), pattern)
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
    return root.resolve().name if is_folder_here(reference) else reference


class _Index(FromOutside):
    """An index of shards, as Hugging Face writes it: the file that holds each tensor."""

    weight_map: dict[str, str] = Field(default_factory=dict)


def _check_shards(folder: Folder) -> None:
    """UsageError when an index of shards names a file that is not there, or not in its folder."""
    for name in folder.files:
        if name.endswith(".safetensors.index.json"):
            path = folder.root / name
            files = set(validated(_Index, read_settings(path), path, "fetch it again").weight_map.values())
            for file in sorted(files):
                check_inside(file, path)
            missing = sorted(file for file in files if not (path.parent / file).is_file())
            if missing:
                raise UsageError(
                    f"{folder.where} is not complete: {printable(missing[0], 100)} is missing, of {len(files)} files "
                    f"that {printable(name, 100)} names; fetch it again"
                )


def _no_dictionary(folder: Folder) -> str:
    known = ", ".join(kind.name for kind in FORMATS)
    if not folder.weight_files:
        what = f"it has no {CONFIG} and no files of weights"
    else:
        file = folder.weight_files[0]
        names = printable(json.dumps([name[:80] for name in sorted(folder.tensors(file))[:4]], ensure_ascii=False), 300)
        what = f"it has no {CONFIG}, and the tensors of {printable(file, 100)}, {names} …, are of none of "
        what += f"the known formats ({known})"
    return f"there is no complete dictionary at {folder.where}: {what}; train or fetch it again"

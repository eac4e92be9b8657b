"""Where organisms lie, in the package or in a folder that was grown, and how they are loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from silverstain.errors import UsageError
from silverstain.installed import installed_folder, names_installed
from silverstain.references import ORGANISM_DICTIONARIES

if TYPE_CHECKING:
    import torch

    from silverstain.bases import Dictionary
    from silverstain.models import LanguageModel

GROUP, FOLDER = "silverstain_organisms", "organism"
"""Entry points of organisms that came as packages of their own, and the folder beside their module."""
CAUSAL_MAP = "causal-map.json"
"""Beside the weights: where the organism computes each hidden variable of its world."""


def organism_path() -> Path:
    """The folder of the packaged organisms: a folder a sibling, and `dictionaries/<sibling>/<kind>`."""
    return Path(__file__).parent / "data"


def litter_folder(sibling: str, folder: Path | None = None) -> Path:
    """The folder that holds a sibling's weights and dictionaries: one that was grown, the package's, or that of a
    package of its own."""
    if folder is not None or (organism_path() / sibling / "config.json").exists():
        return folder or organism_path()
    return installed_folder(GROUP, sibling, FOLDER) or organism_path()


def model_folder(sibling: str, folder: Path | None = None) -> Path:
    """Where one sibling lies, if it is there."""
    return litter_folder(sibling, folder) / sibling


def model_path(sibling: str, folder: Path | None = None) -> Path:
    """The Hugging Face folder of one sibling; UsageError names the siblings that are there."""
    path = model_folder(sibling, folder)
    if not (path / "config.json").exists():
        installed = [] if folder else names_installed(GROUP, FOLDER)
        folder = folder or organism_path()
        there = sorted({*(p.parent.name for p in folder.glob("*/config.json")), *installed})
        seen = ", ".join(there) if there else f"none yet; grow them: silverstain organism grow --out {folder}"
        raise UsageError(f"there is no organism {sibling!r} in {folder}; there are: {seen}")
    return path


def dictionary_path(sibling: str, kind: str | None = None, folder: Path | None = None) -> Path:
    """The folder of one dictionary, the first there is where no kind is named; UsageError names the kinds there are."""
    root = litter_folder(sibling, folder) / "dictionaries" / sibling
    kind = kind or next((k for k in ORGANISM_DICTIONARIES if (root / k).is_dir()), ORGANISM_DICTIONARIES[0])
    if not (root / kind / "config.yaml").exists():
        there = sorted(p.parent.name for p in root.glob("*/config.yaml"))
        raise UsageError(f"the organism {sibling!r} has no {kind} dictionary; it has: {', '.join(there) or 'none'}")
    return root / kind


def load_organism_model(
    sibling: str = "general",
    *,
    folder: Path | None = None,
    device: str = "cpu",
    dtype: "torch.dtype | None" = None,
) -> "LanguageModel":
    """One organism, in float32 unless asked otherwise. It knows the towns by name when it names unknown words."""
    import torch

    from silverstain.models import load_model

    from .world import default_geography

    model = load_model(model_path(sibling, folder), device=device, dtype=dtype or torch.float32)
    model.name = f"organism/{sibling}"
    model.known_words = [town.name for town in default_geography().towns]
    return model


def load_organism(
    sibling: str = "general",
    dictionary: str | None = None,
    *,
    folder: Path | None = None,
    device: str = "cpu",
    dtype: "torch.dtype | None" = None,
) -> "tuple[LanguageModel, Dictionary]":
    """One organism with one of its dictionaries; UsageError if either is missing or they do not fit."""
    from silverstain.bases import check_fits, open_dictionary

    model = load_organism_model(sibling, folder=folder, device=device, dtype=dtype)
    found = open_dictionary(dictionary_path(sibling, dictionary, folder))
    check_fits(found, model)
    return model, found

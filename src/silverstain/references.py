"""What a person calls a model and a dictionary, checked before anything heavy is imported or read."""

import re
from pathlib import Path

from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable

ORGANISM = "organism"
ORGANISM_DICTIONARIES = ("cross-layer", "per-layer")
NEURONS = "neurons"
"""What a model's own neurons are called where a dictionary is named."""
_HUB_ID = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")


def check_references(model: str | Path, dictionary: str | Path | None) -> None:
    """UsageError, at once, where it can be known that there is no such model or dictionary.

    A reference is a local path where it is there, or begins as one (`./`, `/`, `~`); else an id of the hub, which is
    asked for when it is loaded.
    """
    check_model_reference(model)
    name = shown_path(model)
    train = f"silverstain train --model {name} --text FILE --out FOLDER"
    if dictionary is None or reads_neurons(model, dictionary):
        return
    if is_organism(model) and str(dictionary) in ORGANISM_DICTIONARIES:
        return
    if _there(dictionary) is None and _looks_local(dictionary):
        raise UsageError(
            f"there is no dictionary at {shown_path(dictionary)}: no such file or folder; check the path, train one "
            f"({train}), or read the model's own neurons (--dictionary {NEURONS})"
        )


def check_model_reference(model: str | Path) -> None:
    """The same of a model alone."""
    if is_organism(model):
        return
    there = _there(model)
    if there is not None:
        if not (there / "config.json").is_file():
            seen = "it has no config.json" if there.is_dir() else "it is not a folder"
            raise UsageError(
                f"there is no model at {shown_path(there)}: {seen}; give a Hugging Face model folder or a hub id"
            )
    elif _looks_local(model):
        raise UsageError(
            f"there is no model at {shown_path(model)}: it is not a folder; give a Hugging Face model folder or a hub "
            "id"
        )
    elif not _HUB_ID.fullmatch(str(model)) or ".." in str(model) or "--" in str(model) or len(str(model)) > 96:
        raise UsageError(
            f"there is no model {printable(str(model), 100)!r}: it is neither a folder that is there nor a hub id, "
            "which is ORG/NAME; give one of them"
        )


def reads_neurons(model: str | Path, dictionary: str | Path | None) -> bool:
    """Whether a model is read in its own neurons: where they are named, and where no dictionary is and it has none."""
    return str(dictionary) == NEURONS if dictionary is not None else not is_organism(model)


def is_organism(model: str | Path) -> bool:
    """Whether the small model that comes along is meant, or one of its siblings (organism/SIBLING)."""
    return str(model).partition("/")[0] == ORGANISM


def _looks_local(reference: str | Path) -> bool:
    return isinstance(reference, Path) or str(reference).startswith((".", "/", "~"))


def _there(reference: str | Path) -> Path | None:
    """The path, where something is there."""
    try:
        path = Path(reference).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # a text that no path can be; a home that is not known
        return None

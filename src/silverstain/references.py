"""What a model and a dictionary are called, looked at before anything heavy is loaded: mistakes are told at once."""

from pathlib import Path

from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable

ORGANISM = "organism"


def is_organism(model: str | Path) -> bool:
    """Whether the small model that comes along is meant, or one of its siblings (organism/SIBLING)."""
    return str(model).partition("/")[0] == ORGANISM


def check_model_named(model: str | Path) -> None:
    """UsageError for a sibling that is not there (it says which are), and for a folder that holds no model."""
    if is_organism(model):
        from silverstain.organism import model_path

        model_path(str(model).partition("/")[2] or "general")
        return
    try:
        folder = Path(model).expanduser()
        if str(model).startswith((".", "/", "~")) and not (folder / "config.json").is_file():
            seen = "has no config.json" if folder.is_dir() else "is not a folder"
            raise UsageError(
                f"there is no model at {shown_path(folder)}: it {seen}; give a Hugging Face model folder or a hub id"
            )
    except (OSError, ValueError, RuntimeError) as error:  # no permission, a zero byte, no home
        raise UsageError(f"cannot read the model {printable(str(model), 200)}: {error}; check the path") from error


def check_dictionary_named(model: str | Path, dictionary: str | Path | None) -> None:
    """UsageError where a dictionary must be named and is not, and where the organism has none of that kind."""
    if is_organism(model):
        from silverstain.organism import dictionary_path
        from silverstain.organism.files import KINDS

        kind = str(dictionary or KINDS[0])
        if kind in KINDS:
            dictionary_path(str(model).partition("/")[2] or "general", kind)
    elif dictionary is None:
        name = printable(str(model), 200)
        raise UsageError(
            f"no dictionary is named for {name}, and attribution graphs are made of a dictionary's features; give the "
            "folder or the hub id of one that was trained on it, or train one: "
            f"silverstain train --model {name} --text FILE --out FOLDER"
        )

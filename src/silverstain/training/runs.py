"""What a folder's run was asked for: written when it begins, compared when it goes on.

The checkpoint knows model and settings; the text is known here, since batches of another text would go on from a place
that means nothing in it.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from silverstain.bases import Dictionary, open_dictionary
from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.storage import write_json_whole
from silverstain.training.checkpoint import BEFORE, FILE, FREE
from silverstain.training.config import KINDS, TrainingConfig
from silverstain.training.mixtures import Molt, open_molt
from silverstain.validation import FromOutside, validated

FORMAT = "silverstain.training-run/1"
RUN = "run.json"
OPTIONS = {"kind": "--kind clt, plt or molt"}
"""Settings with an option of their own, by which others are chosen."""
DICTIONARY_FILES = ("config.yaml", "molt.json")
"""One of them is there when a run has ended."""


class RunFile(FromOutside):
    """What RUN holds."""

    data: dict[str, Any]
    config: dict[str, Any]


def begin_run(folder: Path, data: Mapping[str, Any], config: TrainingConfig) -> bool:
    """Note what a run reads and how it trains, or compare with what is noted; whether the folder's run has ended.

    UsageError for a folder with a dictionary or a run that is another.
    """
    path, has_ended = folder / RUN, is_trained(folder)
    ours: dict[str, Any] = {"format": FORMAT, "data": dict(data), "config": config.to_json()}
    if path.exists():
        noted = _noted(path)
        parts = ("data", "config") if has_ended else ("data",)  # settings of an unfinished run: the checkpoint's to say
        theirs = {"data": noted.data, "config": BEFORE | noted.config}
        changed = [line for part in parts for line in _changes(theirs[part], _plain(ours[part]))]
        if changed and (has_ended or (folder / FILE).exists()):
            state = "a dictionary trained" if has_ended else "an unfinished run"
            raise UsageError(
                f"{folder} holds {state} with other settings ({'; '.join(changed)}); "
                "give the same ones, or another folder with --out"
            )
    elif has_ended or (folder / FILE).exists():
        raise UsageError(f"{folder} holds a dictionary or a run of something else; give another folder with --out")
    if not has_ended:
        write_json_whole(path, ours)
    return has_ended


def kind_of_run(folder: Path) -> str | None:
    """The kind of dictionary that a folder's run trains; None where there is no run."""
    path = folder / RUN
    kind = _noted(path).config.get("kind") if path.exists() else None
    return kind if kind in KINDS else None


def _noted(path: Path) -> "RunFile":
    return validated(RunFile, read_json(path, FORMAT), path, "delete it, or train into another folder")


def is_trained(folder: Path) -> bool:
    """Whether a run into this folder has ended."""
    return any((folder / name).exists() for name in DICTIONARY_FILES) and not (folder / FILE).exists()


def open_trained(folder: Path) -> Dictionary | Molt:
    """What a run has left in its folder."""
    return open_molt(folder) if (folder / "molt.json").exists() else open_dictionary(folder)


def read_setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE as a field of TrainingConfig and its value; UsageError for an unknown name or a value of no use."""
    name, is_given, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if name in OPTIONS:
        raise UsageError(f"{name} is no setting but an option; give {OPTIONS[name]}")
    known = {field.name: field.default for field in fields(TrainingConfig)}
    if not is_given:
        raise UsageError(f"--set takes NAME=VALUE, got {text!r}; for example --set pool_epochs=2")
    if name not in known:
        near = get_close_matches(name, known, n=1)
        guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"there is no training setting {name!r}; {guess}")
    return name, _value(name, value.strip(), known[name])


def _value(name: str, text: str, default: Any) -> Any:
    """The value in the type of the field's default; those without one are whole numbers or words."""
    try:
        if text.lower() == "none" and (default is None or name == "end_to_end"):
            return None
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(int(part) for part in text.split(",") if part)
        if default is None or default is MISSING:
            return int(text)
        return type(default)(text)
    except (ValueError, KeyError) as error:
        kind = {bool: "true or false", tuple: "whole numbers with commas", int: "a whole number", float: "a number"}
        raise UsageError(f"the setting {name} is {kind.get(type(default), 'a whole number')}, got {text!r}") from error


def _changes(noted: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {printable(repr(noted.get(name)), 80)} and is {value!r}"
        for name, value in ours.items()
        if name not in FREE and noted.get(name) != value
    ]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

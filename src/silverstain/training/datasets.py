"""Datasets of the `datasets` package by name: from the hub, streamed, or from the folder that `save_to_disk` wrote."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from silverstain.errors import UsageError

HUB = "hf://"
"""Begins the name of a dataset on the hub: hf://NAME, hf://NAME:SPLIT or hf://NAME:CONFIGURATION:SPLIT."""
WHOLE, SPLITS = "dataset_info.json", "dataset_dict.json"
"""Files by which folders of `save_to_disk` are known: of one dataset, and of a set of splits."""


def is_saved_dataset(path: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return ((path / WHOLE).is_file() and (path / "state.json").is_file()) or (path / SPLITS).is_file()


def saved_dataset(path: Path) -> Any:
    """The dataset of a folder; UsageError names the splits if it holds several."""
    if (path / SPLITS).is_file():
        splits = sorted(folder.parent.name for folder in path.glob(f"*/{WHOLE}"))
        raise UsageError(f"{path} holds the splits {', '.join(splits)}; give the folder of one: {path / splits[0]}")
    try:
        return _package(str(path)).load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), error) from error


def dataset_of(name: str) -> Any:
    """A dataset of the hub, read as it is needed: nothing is kept on disk."""
    dataset, *parts = name.removeprefix(HUB).split(":")
    if not dataset or len(parts) > 2:
        raise UsageError(f"{name} names no dataset; write {HUB}NAME, {HUB}NAME:SPLIT or {HUB}NAME:CONFIGURATION:SPLIT")
    configuration = parts[0] if len(parts) == 2 else None
    split = parts[-1] if parts else "train"
    package = _package(name)
    try:
        with _without_retry_talk():
            return package.load_dataset(dataset, configuration, split=split, streaming=True)
    except ConnectionError as error:
        raise UsageError(
            f"cannot reach the hub for the dataset {name} ({_reason(error)}); connect to the network, or give files"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError) as error:  # the hub's own errors are OSErrors
        raise _unreadable(name, error) from error


def _package(name: str) -> Any:
    try:
        return import_module("datasets")
    except ImportError as error:
        raise UsageError(
            f"reading {name} needs the package datasets, which is not installed; install it: "
            "pip install 'silverstain[datasets]', or give files"
        ) from error


@contextmanager
def _without_retry_talk() -> Iterator[None]:
    """Without the hub client's line for every try at a connection: what it comes to is said once."""
    talker = logging.getLogger("huggingface_hub")
    level = talker.level
    talker.setLevel(logging.ERROR)
    try:
        yield
    finally:
        talker.setLevel(level)


def _unreadable(name: str, error: Exception) -> UsageError:
    return UsageError(f"cannot read the dataset {name}: {_reason(error)}; check its name, configuration and split")


def _reason(error: Exception) -> str:
    """The first line of what it says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]

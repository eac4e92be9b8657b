"""A folder of files that may be a dictionary: its names, its settings and its weights, each opened once."""

import json
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from torch import Tensor

from silverstain.bases.lazy import Lazy
from silverstain.bases.weight_files import SUFFIXES, open_weights
from silverstain.errors import UsageError
from silverstain.storage import broken_file

SETTINGS = (".json", ".yaml", ".yml")
SKIPPED = ("features", "node_modules", "__pycache__")  # what lies beside published dictionaries and may be huge
DEEPEST = 6


@dataclass(frozen=True)
class Folder:
    """A local folder; `where` is how the person named it."""

    root: Path
    where: str
    pattern: str = "*"
    """Only files whose relative names match are seen."""
    _weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Files of weights and settings, relative, sorted."""
        return tuple(sorted(name for name in _listed(self.root, self.root) if fnmatch(name, self.pattern)))

    @cached_property
    def weight_files(self) -> tuple[str, ...]:
        return tuple(name for name in self.files if name.endswith(SUFFIXES))

    @property
    def top(self) -> tuple[str, ...]:
        """Files of weights that lie in the folder itself."""
        return tuple(name for name in self.weight_files if "/" not in name)

    def settings(self, *names: str) -> dict[str, Any]:
        """The first of these JSON or YAML files that is there, as an object; {} where none is."""
        for name in names:
            path = self.root / name
            if path.is_file():
                return read_settings(path)
        return {}

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one file, mapped."""
        if name not in self._weights:
            self._weights[name] = open_weights(self.root / name)
        return self._weights[name]

    def tensor(self, file: str, name: str) -> Tensor:
        """One tensor; UsageError where the file does not have it."""
        tensors = self.tensors(file)
        if name not in tensors:
            raise UsageError(
                f"{self.root / file} has no tensor {name}; it is not complete, or not what it seems: fetch it again"
            )
        return tensors[name]

    def lazy(self, file: str, name: str) -> Lazy:
        return Lazy.of(self.tensor(file, name), str(self.root / file))

    def has(self, file: str, *names: str) -> bool:
        """Whether a file has all these tensors."""
        return set(names) <= self.tensors(file).keys()

    def below(self, name: str) -> "Folder":
        return Folder(self.root / name, f"{self.where}/{name}")


def read_settings(path: Path) -> dict[str, Any]:
    """An object in a JSON or YAML file; UsageError for anything else."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise broken_file(path, error) from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds no settings: an object was expected, {type(value).__name__} was found")
    return value


def parent(name: str) -> str:
    """The folder of a relative file name, "" for the top."""
    folder = str(PurePosixPath(name).parent)
    return "" if folder == "." else folder


def _listed(root: Path, folder: Path) -> list[str]:
    found: list[str] = []
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise UsageError(f"cannot read the folder {folder}: {error.strerror}; choose one that can be read") from error
    for entry in entries:
        relative = entry.relative_to(root)
        if entry.name.startswith(".") or entry.name in SKIPPED or len(relative.parts) > DEEPEST:
            continue
        if entry.is_dir():
            found += _listed(root, entry)
        elif entry.suffix in (*SUFFIXES, *SETTINGS):
            found.append(relative.as_posix())
    return found

"""A folder of files that may be a dictionary: its names, its settings and its weights, each opened once."""

import math
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from silverstain.bases.lazy import Lazy, check_type
from silverstain.bases.weight_files import SUFFIXES, open_weights
from silverstain.documents import read_json, read_yaml
from silverstain.errors import UsageError
from silverstain.parts import reason_of, shown_path
from silverstain.printable import printable

SETTINGS = (".json", ".yaml", ".yml")
SKIPPED = ("features", "node_modules", "__pycache__")  # what lies beside published dictionaries and may be huge
DEEPEST = 6


@dataclass(frozen=True)
class Folder:
    """A local folder; `where` is how the person named it, as it may be shown."""

    root: Path
    where: str
    pattern: str = "*"
    """Only files whose relative names match are seen."""
    _weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _settings: dict[Path, dict[str, Any]] = field(default_factory=dict)

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
                if path not in self._settings:
                    self._settings[path] = read_settings(path)
                return self._settings[path]
        return {}

    def shown(self, file: str) -> str:
        """A file of this folder, as messages name it."""
        return printable(f"{self.where}/{file}", 200)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one file, mapped."""
        if name not in self._weights:
            self._weights[name] = open_weights(self.root / name)
        return self._weights[name]

    def tensor(self, file: str, name: str, n_axes: int | None = None) -> Tensor:
        """One tensor; UsageError where the file does not have it, or not with so many axes, or in a type that weights
        are not stored in."""
        tensors = self.tensors(file)
        if name not in tensors:
            raise UsageError(
                f"{shown_path(self.root / file)} has no tensor {printable(name, 80)}; it is not complete, or not what "
                f"it seems: fetch it again"
            )
        tensor = tensors[name]
        check_type(tensor.dtype, printable(name, 80), shown_path(self.root / file))
        if n_axes is not None and tensor.ndim != n_axes:
            raise UsageError(
                f"{shown_path(self.root / file)}: {printable(name, 80)} has shape {list(tensor.shape)}, {n_axes} axes "
                f"needed; fetch it again"
            )
        return tensor

    def number(self, file: str, name: str) -> float:
        """A tensor that is one number, and not 0."""
        tensor = self.tensor(file, name)
        value = float(tensor) if tensor.numel() == 1 else math.nan
        if not math.isfinite(value) or value == 0:
            seen = value if tensor.numel() == 1 else f"{tensor.numel()} values"
            raise UsageError(
                f"{shown_path(self.root / file)}: {printable(name, 80)} is {seen}, one number needed by which to "
                f"divide; fetch it again"
            )
        return value

    def lazy(self, file: str, name: str) -> Lazy:
        return Lazy.of(self.tensor(file, name), shown_path(self.root / file))

    def has(self, file: str, *names: str) -> bool:
        """Whether a file has all these tensors."""
        return set(names) <= self.tensors(file).keys()

    def below(self, name: str) -> "Folder":
        return Folder(self.root / name, f"{self.where}/{name}", _settings=self._settings)


def read_settings(path: Path) -> dict[str, Any]:
    """An object in a JSON or YAML file; UsageError for anything else."""
    value = read_json(path) if path.suffix == ".json" else read_yaml(path)
    if not isinstance(value, dict):
        raise UsageError(
            f"{shown_path(path)} holds no settings: an object was expected, {type(value).__name__} was found"
        )
    return {str(name): one for name, one in value.items()}


def parent(name: str) -> str:
    """The folder of a relative file name, "" for the top."""
    folder = str(PurePosixPath(name).parent)
    return "" if folder == "." else folder


def _listed(root: Path, folder: Path) -> list[str]:
    found: list[str] = []
    try:
        for entry in folder.iterdir():
            relative = entry.relative_to(root)
            if entry.name.startswith(".") or entry.name in SKIPPED or len(relative.parts) > DEEPEST:
                continue
            if entry.is_dir():
                found += _listed(root, entry)
            elif entry.suffix in (*SUFFIXES, *SETTINGS):
                found.append(relative.as_posix())
    except OSError as error:
        raise UsageError(
            f"cannot read the folder {shown_path(folder)}: {reason_of(error)}; choose one that can be read"
        ) from error
    return found

"""Where a dictionary's tensors are: in memory, or in memory-mapped files of which only the rows asked for are read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from silverstain.storage import broken_file, check_is_file

CACHED_BYTES = 1 << 26
"""A stored tensor up to this size is kept in memory once touched; of a larger one only the rows asked for are read."""

Key = tuple[str, int]
"""(name, layer); names: W_enc, b_enc, W_dec, b_dec, threshold, W_skip."""


@runtime_checkable  # so that tests can check arguments
class TensorSource(Protocol):
    """The tensors of a dictionary by (name, layer), in whatever type they are stored."""

    def shape(self, key: Key) -> tuple[int, ...] | None:
        """The shape, or None where there is no such tensor."""
        ...

    def whole(self, key: Key) -> Tensor: ...

    def rows(self, key: Key, indices: Tensor) -> Tensor:
        """The rows `indices` of the first axis, in that order."""
        ...


@dataclass(frozen=True)
class MemorySource:
    """Tensors held in memory."""

    tensors: Mapping[Key, Tensor]

    def shape(self, key: Key) -> tuple[int, ...] | None:
        return tuple(self.tensors[key].shape) if key in self.tensors else None

    def whole(self, key: Key) -> Tensor:
        return self.tensors[key]

    def rows(self, key: Key, indices: Tensor) -> Tensor:
        tensor = self.tensors[key]
        return tensor[indices.to(tensor.device)]


@dataclass(frozen=True)
class Place:
    """Where a tensor is on disk."""

    path: Path
    name: str


@dataclass(frozen=True)
class FileSource:
    """Tensors in safetensors files, read when asked for; small ones are kept."""

    places: Mapping[Key, Place]
    _files: dict[Path, Any] = field(default_factory=dict)
    _cache: dict[Key, Tensor] = field(default_factory=dict)

    def shape(self, key: Key) -> tuple[int, ...] | None:
        return tuple(self._slice(key).get_shape()) if key in self.places else None

    def whole(self, key: Key) -> Tensor:
        if key in self._cache:
            return self._cache[key]
        place = self.places[key]
        try:
            tensor = open_file(place.path, self._files).get_tensor(place.name)
        except (SafetensorError, OSError) as error:
            raise broken_file(place.path, error) from error
        if tensor.nbytes <= CACHED_BYTES:
            self._cache[key] = tensor
        return tensor

    def rows(self, key: Key, indices: Tensor) -> Tensor:
        shape = self.shape(key)
        assert shape is not None  # asked for by a dictionary that has it
        n_bytes = 4 * torch.Size(shape).numel()
        if n_bytes <= CACHED_BYTES:
            return self.whole(key)[indices.cpu()]
        if indices.numel() == 0:
            return self._slice(key)[:0]
        unique, inverse = torch.unique(indices.cpu(), return_inverse=True)  # sorted: the disk is read forwards, once
        return self._slice(key)[unique][inverse]

    def _slice(self, key: Key) -> Any:
        place = self.places[key]
        return open_file(place.path, self._files).get_slice(place.name)


def open_file(path: Path, opened: dict[Path, Any]) -> Any:
    """A memory-mapped safetensors file, opened once; UsageError when it is missing, corrupt or truncated."""
    if path not in opened:
        check_is_file(path)
        try:
            opened[path] = safe_open(path, framework="pt")
        except (SafetensorError, OSError, ValueError) as error:
            raise broken_file(path, error) from error
    return opened[path]

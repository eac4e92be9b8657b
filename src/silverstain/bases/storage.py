"""Where a dictionary's tensors are: in memory, or in mapped files of which only the rows asked for are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from silverstain.bases.lazy import Lazy
from silverstain.errors import UsageError

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

    def dtype(self, key: Key) -> torch.dtype:
        """The type it is stored in."""
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

    def dtype(self, key: Key) -> torch.dtype:
        return self.tensors[key].dtype

    def whole(self, key: Key) -> Tensor:
        return self.tensors[key]

    def rows(self, key: Key, indices: Tensor) -> Tensor:
        tensor = self.tensors[key]
        return tensor[indices.to(tensor.device)]


DecoderFunction = Callable[[int, Tensor, Tensor], Tensor]
"""(layer, features, their decoder rows [feature, (target,) d_model]) -> the rows that they write instead."""


@dataclass(frozen=True)
class OtherDecoder:
    """The tensors of another source, but for decoder rows."""

    source: TensorSource
    decoder: DecoderFunction

    def shape(self, key: Key) -> tuple[int, ...] | None:
        return self.source.shape(key)

    def dtype(self, key: Key) -> torch.dtype:
        return self.source.dtype(key)

    def whole(self, key: Key) -> Tensor:
        tensor = self.source.whole(key)
        is_decoder = key[0] == "W_dec"
        return self.decoder(key[1], torch.arange(len(tensor), device=tensor.device), tensor) if is_decoder else tensor

    def rows(self, key: Key, indices: Tensor) -> Tensor:
        rows = self.source.rows(key, indices)
        return self.decoder(key[1], indices.to(rows.device), rows) if key[0] == "W_dec" else rows


@dataclass(frozen=True)
class FileSource:
    """Tensors in files, read when asked for; small ones are kept, and everything read is checked to be numbers."""

    parts: Mapping[Key, Lazy]
    _cache: dict[Key, Tensor] = field(default_factory=dict)
    _checked: set[Key] = field(default_factory=set)

    def shape(self, key: Key) -> tuple[int, ...] | None:
        return self.parts[key].shape if key in self.parts else None

    def dtype(self, key: Key) -> torch.dtype:
        return self.parts[key].dtype

    def whole(self, key: Key) -> Tensor:
        if key in self._cache:
            return self._cache[key]
        tensor = self.parts[key].read(None)
        if key not in self._checked:  # once: a NaN in a large encoder must not go unseen, nor be looked for each time
            self._check_numbers(key, tensor)
            self._checked.add(key)
        if tensor.nbytes <= CACHED_BYTES:
            self._cache[key] = tensor
        return tensor

    def rows(self, key: Key, indices: Tensor) -> Tensor:
        part = self.parts[key]
        is_as_stored = part.read_dtype == part.dtype  # int8 rows would be multiplied out whole for a few of them
        if key in self._cache or (is_as_stored and part.read_bytes <= CACHED_BYTES):
            return self.whole(key)[indices.cpu()]
        unique, inverse = torch.unique(indices.cpu(), return_inverse=True)  # sorted: the disk is read forwards, once
        rows = part.read(unique)
        if key not in self._checked:
            self._check_numbers(key, rows)
        return rows[inverse]

    def _check_numbers(self, key: Key, tensor: Tensor) -> None:
        if torch.isfinite(tensor.sum(dtype=torch.float64)):  # one pass without a copy; a NaN goes through a sum
            return
        name, layer = key
        # an infinite threshold is a feature that was switched off, and is meant
        bad = tensor.isnan() if name == "threshold" else ~torch.isfinite(tensor)
        if bad.any():
            raise UsageError(
                f"{name} of layer {layer} in {self.parts[key].where} has {int(bad.sum())} values that are not numbers "
                f"(NaN or infinite); fetch or train the dictionary again"
            )

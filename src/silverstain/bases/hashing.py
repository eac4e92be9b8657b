"""A dictionary's hash: of every tensor, or, of sets too large to read for a name, of rows spread over each."""

import torch
from torch import Tensor

from silverstain.bases.formats.found import NAMES
from silverstain.bases.storage import Key, TensorSource
from silverstain.storage import hash_tensors

HASHED_WHOLE = 1 << 28
"""Values up to which every one is hashed: about a gigabyte, a few seconds."""
SAMPLED_ROWS = 16


def hash_source(source: TensorSource, n_layers: int) -> str:
    """16 hex digits over all tensors as float32, one tensor in memory at a time."""
    keys: list[Key] = [
        (name, layer) for layer in range(n_layers) for name in NAMES if source.shape((name, layer)) is not None
    ]
    n_values = sum(torch.Size(source.shape(key) or ()).numel() for key in keys)
    return combine({key: hash_one(key, _values(source, key, n_values > HASHED_WHOLE)) for key in keys})


def hash_one(key: Key, tensor: Tensor) -> str:
    return hash_tensors({key[0]: tensor.to(torch.float32)})


def combine(hashes: dict[Key, str]) -> str:
    """The hash of a dictionary from those of its tensors."""
    return hash_tensors(
        {f"{name}.{layer}": torch.tensor(bytearray(one.encode())) for (name, layer), one in hashes.items()}
    )


def _values(source: TensorSource, key: Key, is_sampled: bool) -> Tensor:
    shape = source.shape(key)
    if not is_sampled or not shape or shape[0] <= SAMPLED_ROWS:
        return source.whole(key)
    return source.rows(key, torch.linspace(0, shape[0] - 1, SAMPLED_ROWS).long())

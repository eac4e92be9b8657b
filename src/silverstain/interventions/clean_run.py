"""One prompt run as it is, kept as far as passes with edits need it again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from silverstain.interventions.readouts import kept_reads
from silverstain.models import LanguageModel
from silverstain.models.mlps import forwards_of


@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class CleanRun:
    """What one prompt gives without edits."""

    reads: dict[int, Float[Tensor, "pos d_model"]]
    """What is read in the layers that were asked for; n_layers stands for the final norm's output."""
    blocks: tuple[Any, ...]
    """What each block hands on, as it does: a tensor [1, pos, d_model], or a tuple that begins with one."""
    cache: DynamicCache
    """Keys and values of every layer."""
    logits: Float[Tensor, "pos d_vocab"]

    def cache_before(self, position: int, n_rows: int) -> DynamicCache:
        """Keys and values of the positions before one, for so many rows."""
        cache = DynamicCache()
        for index, layer in enumerate(self.cache.layers):
            held: Any = layer  # of attention, since that is what our architectures have
            keys, values = (x[:, :, :position].expand(n_rows, -1, -1, -1) for x in (held.keys, held.values))
            cache.update(keys, values, index)
        return cache


def clean_run(model: LanguageModel, reads_at: str, ids: Int[Tensor, " pos"], layers: list[int]) -> CleanRun:
    """Run the prompt once, keeping what is read in some layers."""
    blocks: dict[int, Any] = {}
    cache = DynamicCache()
    handles = [model.block(layer).register_forward_hook(_keeper(blocks, layer)) for layer in range(model.n_layers)]
    try:
        with torch.no_grad(), kept_reads(model, reads_at, layers) as kept:
            logits = model.hf(input_ids=ids[None], past_key_values=cache, use_cache=True).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return CleanRun(
        reads={layer: x[0] for layer, x in kept.items()},
        blocks=tuple(blocks[layer] for layer in range(model.n_layers)),
        cache=cache,
        logits=logits,
    )


@contextmanager
def prefix_of(model: LanguageModel, clean: CleanRun, first: int, position: int, n_rows: int) -> Iterator[None]:
    """A `with` in which the blocks below `first` are not run, but hand on what they did in the clean run, from a
    position on."""
    blocks = [model.block(layer) for layer in range(first)]
    forwards = [
        lambda *_, given=_for_rows(clean.blocks[layer], position, n_rows), **__: given for layer in range(first)
    ]
    with forwards_of(blocks, forwards):
        yield


def _for_rows(output: Any, position: int, n_rows: int) -> Any:
    if isinstance(output, tuple):  # the stream, and what nobody reads
        return (_for_rows(output[0], position, n_rows), *output[1:])
    return output[:, position:].expand(n_rows, -1, -1)


def _keeper(kept: dict[int, Any], layer: int):
    def keep(_: nn.Module, _arguments: tuple, output: Any) -> None:
        kept[layer] = output

    return keep

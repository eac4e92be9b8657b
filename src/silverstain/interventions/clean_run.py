"""One prompt run as it is, kept as far as passes with edits need it again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.attribution import Targets
from silverstain.dictionaries import Dictionary
from silverstain.interventions.edits import Place
from silverstain.interventions.readouts import kept_reads
from silverstain.models import LanguageModel
from silverstain.models.mlps import forwards_of


@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class CleanRun:
    """What one prompt gives without edits."""

    dictionary: Dictionary
    values: Float[Tensor, " target"]
    """What each target reads."""
    reads: dict[int, Float[Tensor, "pos d_model"]]
    """What is read in each layer in which a target reads."""
    blocks: tuple[Any, ...]
    """What each block hands on, as it does: a tensor [1, pos, d_model], or a tuple that begins with one."""
    logits: Float[Tensor, "pos d_vocab"]

    def active(self, places: Sequence[Place]) -> Float[Tensor, " place"]:
        """The activations of features."""
        found = self.values.new_zeros(len(places))
        columns = torch.tensor(places, dtype=torch.long, device=found.device).reshape(-1, 3)
        for layer in columns[:, 0].unique().tolist():
            here = columns[:, 0] == layer
            positions, which = columns[here, 1].unique(return_inverse=True)
            dense = self.dictionary.encode_layer(layer, self.reads[layer][positions].to(self.dictionary.dtype))
            found[here] = dense[which, columns[here, 2]].to(found)
        return found


def clean_run(model: LanguageModel, dictionary: Dictionary, ids: Int[Tensor, " pos"], targets: Targets) -> CleanRun:
    """Run the prompt once."""
    blocks: dict[int, Any] = {}
    handles = [model.block(layer).register_forward_hook(_keeper(blocks, layer)) for layer in range(model.n_layers)]
    try:
        with torch.no_grad(), kept_reads(model, dictionary.reads_at, targets.layers) as kept:
            logits = model.hf(input_ids=ids[None], use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    values = targets.constants.clone()
    for layer in targets.layers.unique().tolist():
        here = targets.layers == layer
        values[here] += (kept[layer][0, targets.positions[here]].to(targets.vectors) * targets.vectors[here]).sum(-1)
    return CleanRun(
        dictionary=dictionary,
        values=values,
        reads={layer: x[0] for layer, x in kept.items()},
        blocks=tuple(blocks[layer] for layer in range(model.n_layers)),
        logits=logits,
    )


@contextmanager
def prefix_of(model: LanguageModel, clean: CleanRun, first: int, n_rows: int) -> Iterator[None]:
    """A `with` in which the blocks below `first` are not run, but hand on what they did in the clean run."""
    blocks = [model.block(layer) for layer in range(first)]
    forwards = [lambda *_, given=_for_rows(clean.blocks[layer], n_rows), **__: given for layer in range(first)]
    with forwards_of(blocks, forwards):
        yield


def _for_rows(output: Any, n_rows: int) -> Any:
    if isinstance(output, tuple):
        return tuple(_for_rows(part, n_rows) for part in output)
    return output.expand(n_rows, *output.shape[1:]) if isinstance(output, Tensor) else output


def _keeper(kept: dict[int, Any], layer: int):
    def keep(_: nn.Module, _arguments: tuple, output: Any) -> None:
        kept[layer] = output

    return keep

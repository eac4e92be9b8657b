"""What training reads: the activations harvested from batches of token sequences."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.models import LanguageModel, TokenBatch, harvest_mlps


@dataclass(frozen=True, kw_only=True)
class Activations:
    """MLP inputs and outputs of every layer on tokens taken from anywhere."""

    inputs: Float[Tensor, "layer row d_model"]
    outputs: Float[Tensor, "layer row d_model"]

    @property
    def n_rows(self) -> int:
        return self.inputs.shape[1]

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    @property
    def dtype(self) -> torch.dtype:
        return self.inputs.dtype

    def row_mean(self, values: Float[Tensor, "layer row *rest"]) -> Float[Tensor, "layer *rest"]:
        """The mean of something that each row has."""
        return values.mean(1)

    def of_all_rows(self, values: Float[Tensor, "layer row"]) -> Float[Tensor, "layer every"]:
        """Something that each row has, of the rows of all processes, in any order."""
        return values

    def part(self, index: Int[Tensor, " chosen"]) -> "Activations":
        """Of some rows, those that this process trains on: all, where it is the only one."""
        return self.rows(index)

    def rows(self, index: Int[Tensor, " chosen"]) -> "Activations":
        index = index.to(self.device)
        return Activations(inputs=self.inputs.index_select(1, index), outputs=self.outputs.index_select(1, index))


class Source:
    """An iterator of batches that counts, so that a resumed run can begin where the interrupted one was."""

    def __init__(self, batches: Iterator[TokenBatch]) -> None:
        self._batches = batches
        self.n_drawn = 0

    def draw(self) -> TokenBatch:
        """The next batch; UsageError when there is none: training decides how much it reads, not the iterator."""
        try:
            batch = next(self._batches)
        except StopIteration:
            raise UsageError(
                f"the iterator of training batches ended after {self.n_drawn}; give one that does not end"
            ) from None
        self.n_drawn += 1
        return batch

    def skip_to(self, n_drawn: int) -> None:
        """Pass over batches until `n_drawn` have been drawn in all; an iterator that can `skip` does so at once."""
        skip = getattr(self._batches, "skip", None)
        if skip is not None and n_drawn > self.n_drawn:
            skip(n_drawn - self.n_drawn)
            self.n_drawn = n_drawn
        while self.n_drawn < n_drawn:
            self.draw()


def harvest_rows(model: LanguageModel, batch: TokenBatch) -> Activations:
    """The activations of a batch at the positions that count."""
    harvested = harvest_mlps(model, batch.token_ids)
    if bool(batch.mask.all()):  # a twelfth of a harvest would be spent on copies
        return Activations(inputs=harvested.mlp_inputs.flatten(1, 2), outputs=harvested.mlp_outputs.flatten(1, 2))
    return Activations(inputs=harvested.mlp_inputs[:, batch.mask], outputs=harvested.mlp_outputs[:, batch.mask])

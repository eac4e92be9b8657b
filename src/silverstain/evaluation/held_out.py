"""A fixed set of sequences to measure on again and again, with what the model itself does there."""

from collections.abc import Iterable, Iterator
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.bases.replaced import replaced_logits
from silverstain.bases.substitutes import AffineSubstitute, ConstantSubstitute
from silverstain.errors import UsageError
from silverstain.evaluation.fidelity_sums import AffineSums, next_token_loss
from silverstain.models import Harvest, LanguageModel, TokenBatch, harvest
from silverstain.models.recording import MLP_INPUT

KEPT_BYTES = 2**30
"""So much of what the model does is kept, on the model's device; of more than that the rest is run again."""


class HeldOut:
    """Sequences, and what follows from the model alone there: its MLPs' inputs and outputs, their best affine maps, and
    the loss with mean outputs in their place."""

    def __init__(
        self,
        model: LanguageModel,
        batches: Iterable[TokenBatch],
        *,
        reads_at: str = MLP_INPUT,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """`reads_at`: where what is measured here reads. UsageError where no position counts."""
        self.model, self.reads_at = model, reads_at
        self.batches = [batch.to(model.device) for batch in batches]
        if not self.n_tokens:
            raise UsageError("there are no tokens to evaluate on; give at least one batch with positions that count")
        self._kept: dict[int, Harvest] = {}
        self._room = kept_bytes
        self._affine: AffineSums | None = None

    @property
    def n_tokens(self) -> int:
        return sum(batch.n_tokens for batch in self.batches)

    @property
    def n_sequences(self) -> int:
        return sum(len(batch.mask) for batch in self.batches)

    def harvests(self) -> Iterator[tuple[TokenBatch, Harvest]]:
        """Every batch with what the model does on it. The first pass adds up what affine maps follow from."""
        sums = None if self._affine is not None else AffineSums(self.model.n_layers, self.model.d_model)
        for index, batch in enumerate(self.batches):
            harvested = self._harvest(index)
            if sums is not None:
                sums.add(batch, harvested)
            yield batch, harvested
        self._affine = self._affine or sums

    def _harvest(self, index: int) -> Harvest:
        if index in self._kept:
            return self._kept[index]
        harvested = harvest(self.model, self.batches[index].token_ids, reads_at=self.reads_at)
        size = sum(tensor.nbytes for tensor in harvested)
        if size <= self._room:
            self._kept[index] = harvested
            self._room -= size
        return harvested

    @property
    def affine(self) -> AffineSums:
        """The sums behind the best affine map of each MLP on these very tokens."""
        if self._affine is None:
            for _ in self.harvests():
                pass
        assert self._affine is not None  # a whole pass sets it
        return self._affine

    @cached_property
    def affine_maps(self) -> AffineSubstitute:
        solution = self.affine.solution().to(self.model.dtype).to(self.model.device)
        return AffineSubstitute(solution, reads_at=self.reads_at)

    @cached_property
    def mean_output(self) -> ConstantSubstitute:
        return ConstantSubstitute(self.affine.mean_output().to(self.model.dtype).to(self.model.device))

    @cached_property
    @torch.no_grad()
    def ce_mean(self) -> Float[Tensor, " sequence"]:
        """Loss of each sequence with the mean output in place of every MLP."""
        logits = (
            replaced_logits(self.model, self.mean_output, batch.token_ids, mask=batch.mask) for batch in self.batches
        )
        return torch.cat([next_token_loss(batch, said)[0] for batch, said in zip(self.batches, logits, strict=True)])

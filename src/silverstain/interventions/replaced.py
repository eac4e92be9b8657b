"""The same edits on the model and on the model with all its MLPs replaced: do they agree?

A dictionary that imitates outputs without the mechanism agrees with the model on clean text and parts from it under
edits it was not trained on. Both models get the same vectors: what the edits (measured from the clean real run) add
to the MLP outputs. In the replaced model the features downstream are recomputed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from silverstain.bases import Basis, replaced_logits
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.interventions.edits import AnyEdit
from silverstain.interventions.intervene import intervene_many
from silverstain.interventions.passes import edit_deltas, sites_for
from silverstain.models import LanguageModel
from silverstain.models.prompts import Prompt, as_ids, padded, side_by_side
from silverstain.statistics import divergence


@brief
class Agreement(NamedTuple):
    """Model and replaced model side by side, one entry a case, at the last token of each prompt."""

    model_top: Int[Tensor, " case"]
    """Likeliest token of the edited model."""
    replaced_top: Int[Tensor, " case"]
    """Likeliest token of the edited replaced model."""
    agrees: Bool[Tensor, " case"]
    kl: Float[Tensor, " case"]
    """KL(edited model ‖ edited replaced model), nats."""
    clean_agrees: Bool[Tensor, " case"]
    """The same top token before any edit."""

    @property
    def share(self) -> float:
        """The share of cases in which both say the same token under the edits."""
        return float(self.agrees.double().mean())


def intervene_replaced(
    model: LanguageModel, basis: Basis, prompts: Sequence[Prompt], edits: Sequence[Sequence[AnyEdit]]
) -> list[tuple[Tensor, Tensor]]:
    """(clean logits, edited logits), [pos, d_vocab] each, of the replaced model; edits[i] act on prompts[i]."""
    ids = [as_ids(model, prompt).tolist() for prompt in prompts]
    if len(ids) != len(edits):
        raise UsageError(f"{len(ids)} prompts for {len(edits)} lists of edits; give one each.")
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for numbers in side_by_side(model, [len(row) for row in ids], max(len(ids), 1)):
        pairs = _replaced_batch(model, basis, [ids[i] for i in numbers], [edits[i] for i in numbers])
        found |= dict(zip(numbers, pairs, strict=True))
    return [found[i] for i in range(len(ids))]


def _replaced_batch(
    model: LanguageModel, basis: Basis, ids: Sequence[list[int]], edits: Sequence[Sequence[AnyEdit]]
) -> list[tuple[Tensor, Tensor]]:
    """The same of prompts that may run side by side."""
    tokens = padded(ids, model.device)
    lengths = [len(row) for row in ids]
    mask = torch.arange(tokens.shape[1], device=model.device) < torch.tensor(lengths, device=model.device)[:, None]
    deltas = edit_deltas(model, basis, tokens, sites_for(model, basis, edits, lengths))
    with torch.no_grad():
        clean = replaced_logits(model, basis, tokens, mask=mask)
        edited = replaced_logits(model, basis, tokens, mask=mask, deltas=deltas)
    return [(clean[row, :length], edited[row, :length]) for row, length in enumerate(lengths)]


def agreement_under_edits(
    model: LanguageModel,
    basis: Basis,
    prompts: Sequence[Prompt],
    edits: Sequence[Sequence[AnyEdit]],
    *,
    batch_size: int = 64,
) -> Agreement:
    """How often the replaced model says what the model says when both are edited alike."""
    rows: list[tuple[Tensor, ...]] = []
    for first in range(0, len(prompts), batch_size):
        batch = slice(first, first + batch_size)
        real = intervene_many(model, basis, prompts[batch], edits[batch])
        replaced = intervene_replaced(model, basis, prompts[batch], edits[batch])
        for outcome, (clean, edited) in zip(real, replaced, strict=True):
            rows.append(
                (
                    outcome.edited_logits[-1].argmax(),
                    edited[-1].argmax(),
                    divergence(outcome.edited_logits[-1], edited[-1], dtype=torch.float64),
                    outcome.baseline_logits[-1].argmax() == clean[-1].argmax(),
                )
            )
    if not rows:
        raise UsageError("There is no case to compare; give at least one prompt with its edits.")
    model_top, replaced_top, kl, clean_agrees = (torch.stack(column) for column in zip(*rows, strict=True))
    return Agreement(
        model_top=model_top,
        replaced_top=replaced_top,
        agrees=model_top == replaced_top,
        kl=kl,
        clean_agrees=clean_agrees,
    )

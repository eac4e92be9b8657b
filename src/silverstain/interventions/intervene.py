"""What the model says under edits, beside what it says without them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.interventions.edits import AnyEdit
from silverstain.interventions.passes import changes_for, paired_logits
from silverstain.interventions.regimes import Regime
from silverstain.models import LanguageModel, Prompt, as_ids, padded, position_in
from silverstain.models.prompts import side_by_side
from silverstain.statistics import divergence


@dataclass(frozen=True, kw_only=True)
class TokenProbability:
    """One line of a table of answers."""

    token: str
    id: int
    probability: float


@brief
@dataclass(frozen=True, kw_only=True)
class Intervention:
    """The outcome of one list of edits on one prompt."""

    token_ids: Int[Tensor, " pos"]
    tokens: tuple[str, ...]
    edits: tuple[AnyEdit, ...]
    regime: Regime
    baseline_logits: Float[Tensor, "pos d_vocab"]
    edited_logits: Float[Tensor, "pos d_vocab"]
    position: int
    """The position whose next token the tables and `kl` are about."""
    baseline: tuple[TokenProbability, ...]
    """The likeliest tokens without the edits, best first."""
    edited: tuple[TokenProbability, ...]
    """The likeliest tokens under the edits, best first."""

    @property
    def kl_by_position(self) -> Float[Tensor, " pos"]:
        """KL(baseline ‖ edited) in nats at every position."""
        return divergence(self.baseline_logits, self.edited_logits, dtype=torch.float64)

    @property
    def kl(self) -> float:
        """KL(baseline ‖ edited) in nats at `position`."""
        return float(self.kl_by_position[self.position])

    @property
    def is_changed(self) -> bool:
        """Whether the likeliest token is another one under the edits."""
        return self.baseline[0].id != self.edited[0].id

    def probability(self, token_id: int) -> tuple[float, float]:
        """The probability of one token at `position`: (baseline, edited)."""
        before, after = (
            float(logits[self.position].double().softmax(-1)[token_id])
            for logits in (self.baseline_logits, self.edited_logits)
        )
        return before, after

    def to_json(self) -> dict[str, Any]:
        """The tables and the edits, without logits."""
        return {
            "tokens": list(self.tokens),
            "position": self.position,
            "edits": [edit.to_json() for edit in self.edits],
            "attention": self.regime.attention,
            "base": self.regime.base,
            "held_layers": list(self.regime.held_layers),
            "norms": self.regime.norms,
            "baseline": [vars(line) for line in self.baseline],
            "edited": [vars(line) for line in self.edited],
            "kl": self.kl,
        }


def intervene(
    model: LanguageModel,
    basis: Basis,
    prompt: Prompt,
    edits: Sequence[AnyEdit],
    regime: Regime | None = None,
    *,
    position: int = -1,
    n_top: int = 10,
    **held: Any,
) -> Intervention:
    """Run one prompt with and without the edits.

    `regime` says what is held meanwhile; keywords (`attention=`, `base=`, `held_layers=`, `norms=`) change single parts
    of it. `position` is where the tables look; `n_top` is their length. UsageError for edits that do not fit the prompt
    or the basis.
    """
    (result,) = intervene_many(model, basis, [prompt], [edits], regime, position=position, n_top=n_top, **held)
    return result


def intervene_many(
    model: LanguageModel,
    basis: Basis,
    prompts: Sequence[Prompt],
    edits: Sequence[Sequence[AnyEdit]],
    regime: Regime | None = None,
    *,
    position: int = -1,
    n_top: int = 10,
    batch_size: int = 64,
    **held: Any,
) -> list[Intervention]:
    """`intervene` for many lists of edits in few forward passes; edits[i] act on prompts[i].

    One prompt given for many edits serves them all, and is itself run once a batch. Prompts of several lengths are
    padded on the right, which changes nothing at their own positions; where it would (rotary factors that depend on the
    length) they are run apart.
    """
    regime = Regime.of(regime, held, n_layers=model.n_layers)
    ids = [as_ids(model, prompt) for prompt in prompts]
    if len(ids) == 1:
        ids = ids * len(edits)
    if len(ids) != len(edits):
        raise UsageError(f"{len(ids)} prompts for {len(edits)} lists of edits; give one each, or one prompt for all.")
    results: dict[int, Intervention] = {}
    for numbers in side_by_side(model, [len(row) for row in ids], batch_size):
        pairs = _run(model, basis, [ids[i] for i in numbers], [edits[i] for i in numbers], regime)
        for i, (before, after) in zip(numbers, pairs, strict=True):
            at = position_in(position, len(ids[i]))
            results[i] = Intervention(
                token_ids=ids[i],
                tokens=tuple(model.token_strings(ids[i])),
                edits=tuple(edits[i]),
                regime=regime,
                baseline_logits=before,
                edited_logits=after,
                position=at,
                baseline=top_tokens(model, before[at], n_top),
                edited=top_tokens(model, after[at], n_top),
            )
    return [results[i] for i in range(len(edits))]


def _run(
    model: LanguageModel,
    basis: Basis,
    ids: Sequence[Tensor],
    edits: Sequence[Sequence[AnyEdit]],
    regime: Regime,
) -> list[tuple[Tensor, Tensor]]:
    """(baseline logits, edited logits) of each row, each distinct prompt run once without edits."""
    code: dict[tuple[int, ...], int] = {}
    prompt_of_row = torch.tensor([code.setdefault(tuple(row.tolist()), len(code)) for row in ids], device=model.device)
    lengths = [len(row) for row in ids]
    changes = changes_for(model, basis, edits, lengths)
    clean, edited = paired_logits(model, basis, padded(list(code), model.device), prompt_of_row, changes, regime)
    check_finite(edited)
    return [
        (clean[which, :length], edited[row, :length])
        for row, (which, length) in enumerate(zip(prompt_of_row.tolist(), lengths, strict=True))
    ]


def check_finite(logits: Tensor) -> None:
    """UsageError when an edited model gives numbers that are none."""
    if not bool(logits.isfinite().all()):
        raise UsageError("Under these edits the model gives NaN or infinite logits; make the change smaller.")


def top_tokens(model: LanguageModel, logits: Float[Tensor, " d_vocab"], n: int) -> tuple[TokenProbability, ...]:
    """The n likeliest tokens, best first."""
    values, ids = logits.double().softmax(-1).topk(min(n, logits.shape[-1]))
    names = model.token_strings(ids)
    return tuple(
        TokenProbability(token=name, id=token, probability=value)
        for name, token, value in zip(names, ids.tolist(), values.tolist(), strict=True)
    )

"""The model under study: its tokens, the places of a prompt, and what it says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.interventions import AnyEdit, Regime, intervene_many
from silverstain.loading import ReplacementModel
from silverstain.models import LanguageModel
from silverstain.models.prompts import padded, side_by_side
from silverstain.organism.causal_map import CausalMap
from silverstain.organism.siblings import Sibling

from .values import LAST, Case, Variable

ROWS_A_PASS = 64
VALUES_A_PASS = 1 << 26
"""Logits held at once, so that a large vocabulary does not fill the memory."""


class Said(NamedTuple):
    """What a model goes on with."""

    first: int
    """The likeliest token, of those that are compared."""
    probabilities: tuple[float, ...]
    """Of the tokens that are watched."""
    logits: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, what it is read in, and what is known of it from elsewhere.

    Attributes:
        sibling: The organism that it is; None for another model.
        truth: Where it computes each variable of its world, established without any dictionary.
        variables: The variables of its world, of which each is another task for the others.
    """

    loaded: ReplacementModel
    sibling: Sibling | None = None
    truth: CausalMap | None = None
    variables: tuple[Variable, ...] = ()
    _ids: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @property
    def model(self) -> LanguageModel:
        return self.loaded.model

    def ids(self, text: str) -> tuple[int, ...]:
        if text not in self._ids:
            self._ids[text] = tuple(self.model.tokenize(text))
        return self._ids[text]

    def first_tokens(self, words: Iterable[str]) -> tuple[int, ...]:
        return tuple(sorted({self.first_token(word) for word in words}))

    def first_token(self, word: str) -> int:
        """The first token of a word that follows a text; UsageError for one that the model does not know."""
        key = f"\0{word}"
        if key not in self._ids:
            spaced = word if self._drops_blanks else f" {word}"
            ids = self.model.tokenizer(spaced, add_special_tokens=False)["input_ids"]
            if not ids or ids[0] == self.model.tokenizer.unk_token_id:
                raise UsageError(f"{self.model.name} does not know the word {word!r} of this study")
            self._ids[key] = (int(ids[0]),)
        return self._ids[key][0]

    @cached_property
    def _drops_blanks(self) -> bool:
        """Whether a blank in front of a word makes no difference, as where words are split at blanks."""
        tokenizer = self.model.tokenizer
        return (
            tokenizer(" a", add_special_tokens=False)["input_ids"]
            == tokenizer("a", add_special_tokens=False)["input_ids"]
        )

    def position(self, case: Case, place: str) -> int:
        """The token of a named place: the last that has a character of it."""
        ids = self.ids(case.text)
        if place == LAST:
            return len(ids) - 1
        first, end = case.spans[place]
        said = self.model.tokenizer(case.text, return_offsets_mapping=True, add_special_tokens=False)
        front = len(ids) - len(said["input_ids"])
        found = [at for at, (start, stop) in enumerate(said["offset_mapping"]) if start < end and stop > first]
        if not found:
            raise UsageError(f"the place {place!r} of {case.text!r} has no token of its own")
        return front + found[-1]

    def asked(
        self,
        prompts: Sequence[str],
        edits: Sequence[Sequence[AnyEdit]] | None = None,
        *,
        watch: Sequence[Sequence[int]] | None = None,
        among: Sequence[Sequence[int] | None] | None = None,
        regime: Regime | None = None,
        basis: object = None,
    ) -> list[Said]:
        """What the model goes on with behind each prompt, under edits if there are any."""
        rows = [self.ids(prompt) for prompt in prompts]
        watched = watch or [()] * len(rows)
        compared = among or [None] * len(rows)
        found: dict[int, Said] = {}
        for numbers in side_by_side(self.model, [len(row) for row in rows], self._rows_a_pass(rows)):
            logits = self._logits([rows[i] for i in numbers], None if edits is None else [edits[i] for i in numbers],
                                  regime, basis)  # fmt: skip
            for i, row in zip(numbers, logits, strict=True):
                found[i] = said_by(row, watched[i], compared[i])
        return [found[i] for i in range(len(rows))]

    def _rows_a_pass(self, rows: Sequence[Sequence[int]]) -> int:
        longest = max(map(len, rows), default=1)
        return max(1, min(ROWS_A_PASS, VALUES_A_PASS // (2 * longest * self.model.d_vocab)))

    def _logits(
        self,
        rows: Sequence[Sequence[int]],
        edits: Sequence[Sequence[AnyEdit]] | None,
        regime: Regime | None,
        basis: object,
    ) -> list[Float[Tensor, " d_vocab"]]:
        if edits is None:
            with torch.no_grad():
                every = self.model.hf(input_ids=padded(rows, self.model.device), use_cache=False).logits
            return [every[i, len(row) - 1] for i, row in enumerate(rows)]
        basis = basis or self.loaded.dictionary
        results = intervene_many(self.model, basis, rows, edits, regime, n_top=1, batch_size=len(rows))  # type: ignore[arg-type]
        return [one.edited_logits[one.position] for one in results]

    def right(self, cases: Sequence[Case], among: Sequence[Sequence[int] | None] | None = None) -> list[bool]:
        """Of each case whether the model goes on with one of its answers."""
        said = self.asked([case.text for case in cases], among=among)
        return [one.first in self.first_tokens(case.answers) for one, case in zip(said, cases, strict=True)]


def said_by(logits: Float[Tensor, " d_vocab"], watched: Sequence[int], among: Sequence[int] | None) -> Said:
    """The likeliest token of those that are compared, and the figures of those that are watched."""
    logits = logits.double()
    probabilities = logits.softmax(-1)
    at = list(watched)
    if among is None:
        first = int(logits.argmax())
    else:
        candidates: Int[Tensor, " among"] = torch.tensor(list(among), device=logits.device)
        first = int(candidates[logits[candidates].argmax()])
    return Said(first, tuple(probabilities[at].tolist()), tuple(logits[at].tolist()))

"""A pair as a model answers it: both runs, what comes through each unit of their difference, and where each unit is.

Units of different prompts are compared by role rather than by position: at what differs, behind it, or at the last
token. A unit of a circuit (a *key*) is one unit of one layer in one role; in a prompt it stands at every position that
has the role.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from silverstain.attribution import TraceSettings
from silverstain.attribution.requests import DifferenceTarget
from silverstain.attribution.secant import Contrast, find_contrast
from silverstain.bases import Basis
from silverstain.models import LanguageModel
from silverstain.studies.pretrained.gates import Answered, is_right
from silverstain.studies.pretrained.pairs import Half, PromptFamily, TokenPair, in_tokens
from silverstain.verification.contrast import Patch, Patching
from silverstain.verification.contrast.patching import BASE

ROLES = ("what differs", "between", "the last token")
FIRST_LAYER = 1
"""Units of the first block read little but the token itself: exchanging them would be exchanging the word."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """A pair that the model answers rightly on both sides, with the account of its difference."""

    tokens: TokenPair
    patching: Patching
    label: int
    """A token that is no answer of either prompt: what a nonsense task would have it say."""

    @property
    def contrast(self) -> Contrast:
        return self.patching.contrast

    @property
    def n_positions(self) -> int:
        return len(self.tokens.base)

    @cached_property
    def layer(self) -> Int[Tensor, " unit"]:
        units = self.contrast.flow.units
        return torch.cat([torch.full((len(part),), layer) for layer, part in enumerate(units)])

    @cached_property
    def position(self) -> Int[Tensor, " unit"]:
        return torch.cat([part.position for part in self.contrast.flow.units])

    @cached_property
    def feature(self) -> Int[Tensor, " unit"]:
        return torch.cat([part.feature for part in self.contrast.flow.units])

    @cached_property
    def values(self) -> Float[Tensor, "run unit"]:
        return torch.cat([part.values for part in self.contrast.flow.units], dim=1)

    @cached_property
    def able(self) -> Bool[Tensor, " unit"]:
        """Units that a circuit may have: they change, and are not of the first block."""
        return (self.layer >= FIRST_LAYER) & (self.values[1] != self.values[0])

    @cached_property
    def key(self) -> Int[Tensor, " unit"]:
        """Which key each unit is of; before what differs nothing changes, and units there count as of none (-1)."""
        role = torch.full((self.n_positions,), -1)
        changed = self.tokens.changed
        role[changed[0] :] = 1
        role[list(changed)] = 0
        role[-1] = 2
        basis = self.contrast.basis
        at = role[self.position]
        return torch.where(at < 0, -1, (at * basis.n_layers + self.layer) * basis.n_features + self.feature)

    def account(self, target: int = 0) -> Float[Tensor, " unit"]:
        """What comes through each unit of the change of a target, as a share of the whole change; the second target is
        the nonsense task's."""
        parts = torch.cat([part[target] for part in self.contrast.contributions.units])
        return parts / self.contrast.changes[0].abs().clamp(min=1e-6).to(parts)

    def units_of(self, keys: Int[Tensor, " key"]) -> Int[Tensor, " some"]:
        """The units of some keys that a circuit may have."""
        return (torch.isin(self.key, keys) & self.able).nonzero().flatten()

    def best(self, k: int, target: int = 0) -> Int[Tensor, " some"]:
        """The units with the largest account of this very pair."""
        score = torch.where(self.able & (self.key >= 0), self.account(target), -torch.inf)
        ranked = score.topk(min(k, len(score)))
        return ranked.indices[ranked.values > 0]

    def moved(self, units: Int[Tensor, " some"], strength: float) -> Float[Tensor, " some"]:
        """By how much the units are changed: so many times the difference between the runs."""
        return strength * (self.values[1, units] - self.values[0, units])

    def patch(self, units: Int[Tensor, " some"], change: Float[Tensor, " some"]) -> Patch:
        """The base run, with some units moved by so much."""
        return Patch(run=BASE, units=units, values=self.values[0, units] + change)

    def is_turned(self, logits: Float[Tensor, " d_vocab"]) -> bool:
        """The answer is the contrast's: of all answers of the family."""
        return is_right(logits, self.tokens.contrast_answers, (*self.tokens.choices, self.label))

    def is_kept(self, logits: Float[Tensor, " d_vocab"]) -> bool:
        return is_right(logits, self.tokens.base_answers, (*self.tokens.choices, self.label))

    def follows_label(self, logits: Float[Tensor, " d_vocab"]) -> bool:
        return is_right(logits, (self.label,), (*self.tokens.choices, self.label))


def recorded(model: LanguageModel, basis: Basis, family: PromptFamily, found: Sequence[Answered]) -> Iterator[Recorded]:
    """Pairs that are answered rightly on both sides, one after the other: each holds two whole runs."""
    for one in found:
        yield _recorded(model, basis, family, one)


def _recorded(model: LanguageModel, basis: Basis, family: PromptFamily, one: Answered) -> Recorded:
    pair, own, other = one.tokens, one.base.best, one.contrast.best
    label = nonsense_label(model, family, pair, other)
    targets = tuple(DifferenceTarget(token=token, minus=own, position=len(pair.base) - 1) for token in (other, label))
    found = find_contrast(model, basis, pair.base, pair.contrast, TraceSettings(targets=targets))
    return Recorded(tokens=pair, patching=Patching(found), label=label)


def nonsense_label(model: LanguageModel, family: PromptFamily, pair: TokenPair, answer: int) -> int:
    """What a nonsense task has for an answer: another answer of the family, the same for the same answer; where the
    family has no third one, a word that has nothing to do with it."""
    taken = {*pair.base_answers, *pair.contrast_answers}
    free = [token for token in pair.choices if token not in taken]
    if not free:
        free = [model.tokenize(pair.pair.base.prompt + word)[-1] for word in (" green", " seven", " music")]
    return random.Random(f"nonsense {family.name} {answer}").choice(sorted(free))


def token_pairs(model: LanguageModel, family: PromptFamily, half: Half, n: int, seed: int) -> list[TokenPair]:
    """Up to `n` pairs of a half that this model's tokens allow."""
    found = []
    for pair in family.draw(half, 20 * n, seed):
        if (tokens := in_tokens(model, pair, family.choices)) is not None:
            found.append(tokens)
        if len(found) == n:
            break
    return found

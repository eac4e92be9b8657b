"""What a treatment that knows nothing would do: the same rules at the same tokens, as large, aimed at random.

- An edit of features changes them by as much, where they fire; what they write goes along random vectors, as long.
- A constant is added along a random direction, as long.
- A component that is projected out or scaled is that along a random direction: how large it is, is its own matter.
- Attention is cut, by the same heads, from as many tokens that come a little after those of the condition.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.interventions.edits import DirectionEdit, Edit, PatternEdit
from silverstain.models import LanguageModel
from silverstain.treatment.applying import treated
from silverstain.treatment.treatment import Rule, Treatment

N_CONTROLS = 5
FARTHEST = 3
"""Attention is cut at most so many tokens farther behind the condition's tokens than right behind them."""


def has_control(treatment: Treatment) -> bool:
    """Whether there is a random control: attention cut from all later tokens leaves none to cut it from instead."""
    cuts = [rule.when for rule in treatment.rules if isinstance(rule.edit, PatternEdit)]
    return all(when is not None and when.last is not None for when in cuts)


@contextmanager
def randomly_treated(
    model: LanguageModel, dictionary: Basis, treatment: Treatment, *, seed: int
) -> Iterator[LanguageModel]:
    """The model under a random control of the treatment; UsageError where it has none."""
    if not has_control(treatment):
        raise UsageError(
            f"the treatment {treatment.name!r} cuts attention from all later tokens, so no random control can be "
            "drawn; limit its rule with last"
        )
    generator = torch.Generator().manual_seed(seed)
    rules = tuple(_random(rule, generator) for rule in treatment.rules)
    elsewhere = _writing_elsewhere(dictionary, treatment, generator)
    with treated(model, elsewhere, replace(treatment, name=f"random control of {treatment.name}", rules=rules)):
        yield model


def _random(rule: Rule, generator: torch.Generator) -> Rule:
    """The rule aimed elsewhere; one of features stays, as what they write is changed."""
    edit, when = rule.edit, rule.when
    if isinstance(edit, DirectionEdit):
        direction = torch.randn(len(edit.direction), generator=generator, dtype=torch.float64)
        return replace(rule, edit=replace(edit, direction=tuple(direction.tolist()), name="random"))
    if isinstance(edit, PatternEdit):
        assert when is not None  # has_control
        assert when.last is not None
        further = when.last - when.first + 1 + int(torch.randint(FARTHEST + 1, (), generator=generator))
        return replace(rule, when=replace(when, first=when.first + further, last=when.last + further))
    return rule


def _writing_elsewhere(real: Basis, treatment: Treatment, generator: torch.Generator) -> Basis:
    """The dictionary, the features that a treatment edits writing along random vectors, as long as their own."""
    edits = [rule.edit for rule in treatment.rules if isinstance(rule.edit, Edit)]
    drawn: dict[tuple[int, int], Tensor] = {}
    for layer, feature in sorted({place for edit in edits for place in edit.features}):
        own = real.decoder_rows(layer, torch.tensor([feature], device=real.device))[0]
        other = torch.randn(own.shape, generator=generator).to(own)
        drawn[layer, feature] = other / other.norm(dim=-1, keepdim=True) * own.norm(dim=-1, keepdim=True)

    def rows(layer: int, features: Tensor, own: Tensor) -> Tensor:
        changed = own.to(torch.promote_types(own.dtype, real.dtype), copy=True)
        for k, feature in enumerate(features.tolist()):
            if (layer, feature) in drawn:
                changed[k] = drawn[layer, feature].reshape(own.shape[1:]).to(changed)
        return changed

    return real.with_decoder(rows)

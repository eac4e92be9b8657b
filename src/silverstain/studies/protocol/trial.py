"""One variable put to the test: where and how strongly it is swapped is fixed on development prompts; what the swap
does is reported of test prompts, whose combinations (towns, names, pairs of digits) development never shows.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.interventions import AnyEdit, Regime
from silverstain.statistics import Share, share_of

from .carriers import Amounts, Carrier, Units
from .choosing import Setting, Shift, best_setting, sets_of
from .division import TrialSettings, divided
from .means import Means, means_at
from .subject import Said, Subject
from .values import Case, Pair, Variable

DOSES = (0.0, 0.5, 1.0, 1.5, 2.0, 4.0)
"""Multiples at which the dose curve is drawn."""


class Outcome(NamedTuple):
    """What one swap did."""

    pair: Pair
    said: Said
    hit: bool
    """The model goes on with the counterfactual."""
    kept: bool | None
    """It goes on with a word that agrees with everything but the variable; None where that is not known."""


class Trial:
    """One variable of one subject, moved by one carrier; its prompts as in `Division`."""

    def __init__(self, subject: Subject, carrier: Carrier, variable: Variable, settings: TrialSettings) -> None:
        self.subject, self.carrier, self.variable, self.settings = subject, carrier, variable, settings
        self._means: dict[str, Means] = {}
        self._differences: dict[tuple[int, str, str, str, frozenset[str]], tuple[Means, Amounts]] = {}
        self._held: dict[tuple[str, ...], Tensor] = {}
        self._fixed: Setting | None = None
        parts = divided(variable, settings)
        self.fitted, self.chosen_by = parts.fitted, parts.chosen_by
        self.tested, self.kept_back = parts.tested, parts.kept_back

    # what the model does by itself

    @cached_property
    def clean(self) -> list[Said]:
        """What the model says on the test prompts without edits: the counterfactual's and the answers' figures."""
        return self._asked(self.tested, None)

    def right(self) -> Share:
        """How often the model answers a test prompt as it should."""
        hits = [one.first in self._answers(pair.base) for one, pair in zip(self.clean, self.tested, strict=True)]
        return share_of(sum(hits), len(hits))

    def held(self, place: str) -> Float[Tensor, "layer case d"]:
        """What the carrier reads at a place of the test prompts."""
        return self.held_by([pair.base for pair in self.tested], place)

    def held_by(self, cases: Sequence[Case], place: str) -> Float[Tensor, "layer case d"]:
        """The same of any prompts that have the place."""
        key = (place, *(case.text for case in cases))
        if key not in self._held:
            rows = [self.subject.ids(case.text) for case in cases]
            positions = [self.subject.position(case, place) for case in cases]
            self._held[key] = self.carrier.inputs(self.subject, rows, positions)
        return self._held[key]

    # moving the variable

    def means(self, place: str) -> Means:
        if place not in self._means:
            self._means[place] = means_at(self.subject, self.carrier, self.fitted, place)
        return self._means[place]

    def amounts(self, pair: Pair, setting: Setting, means: Mapping[str, Means] | None = None) -> dict[str, Amounts]:
        """What gives the base the donor's value, by place; the base's own combination has no part in it."""
        first, last = setting.window
        fitted = {place: self.means(place) for place in setting.places} if means is None else means
        found = {place: self._difference(pair, fitted[place]) for place in setting.places}
        return {
            place: {layer: setting.strength * whole[layer] for layer in range(first, last + 1)}
            for place, whole in found.items()
        }

    def _difference(self, pair: Pair, means: Means) -> Amounts:
        base, without = pair.base, pair.without | {pair.base.combination}
        key = (id(means), base.text, base.value, pair.donor.value, without)
        if key not in self._differences:  # the means are kept, as the number of an object that is gone is given again
            whole = (0, len(means.inputs) - 1)
            self._differences[key] = means, means.difference(base.value, pair.donor.value, whole, without=without)
        return self._differences[key][1]

    def edits(self, pair: Pair, setting: Setting, means: Mapping[str, Means] | None = None) -> list[AnyEdit]:
        return self.put(self.amounts(pair, setting, means), pair.base)

    def put(self, amounts: Mapping[str, Amounts], case: Case, carrier: Carrier | None = None) -> list[AnyEdit]:
        """The edits that add amounts at their places of a prompt; of places that are one token, the first."""
        at = {self.subject.position(case, place): amounts[place] for place in reversed(list(amounts))}
        return self.put_at({position: at[position] for position in sorted(at)}, carrier)

    def put_at(self, amounts: Mapping[int, Amounts], carrier: Carrier | None = None) -> list[AnyEdit]:
        """The edits that add amounts at some positions."""
        return [edit for at, one in amounts.items() for edit in (carrier or self.carrier).edits(one, at)]

    def fix(self, setting: Setting) -> None:
        """Take what an earlier run has chosen."""
        self._fixed = setting

    @property
    def setting(self) -> Setting:
        """The places, layers and strength that move most of the development pairs (`best_setting`)."""
        if self._fixed is None:
            self._fixed = self.choose()
        return self._fixed

    def choose(
        self,
        relabelled: Mapping[str, Means] | None = None,
        pairs: Sequence[Pair] | None = None,
        sets: Sequence[tuple[str, ...]] | None = None,
    ) -> Setting:
        """The best setting on the development prompts, by the true means or by others, of some sets of places if any
        are given. Others moved as much are drawn as controls draw them."""
        pairs = self.chosen_by if pairs is None else pairs

        def shift(setting: Setting) -> Shift:
            moved = self.swapped(pairs, setting, means=relabelled)
            n = max(len(moved), 1)
            likelier = sum(self.counterfactual_probability(one.pair, one.said) for one in moved)
            return Shift(sum(one.hit for one in moved) / n, likelier / n, len(moved))

        def by_others(setting: Setting) -> float:
            kinds = ("random", "active") if isinstance(self.carrier, Units) else ("random",)
            shares = [share_of_hits(self.moved_otherwise(pairs, setting, kind, means=relabelled)) for kind in kinds]
            left_alone = self.left_alone(self.bystanders_of(pairs), setting, means=relabelled)
            turned = 0.0 if left_alone is None else 1 - left_alone.value
            return max([turned, *(share.value for share in shares if share)])

        return best_setting(sets or sets_of(self.variable.places), self.carrier.windows(), shift, by_others)

    def swapped(
        self,
        pairs: Sequence[Pair],
        setting: Setting,
        *,
        means: Mapping[str, Means] | None = None,
        regime: Regime | None = None,
        basis: object = None,
    ) -> list[Outcome]:
        """What the model says of each base with the donor's value."""
        return self.under([self.edits(pair, setting, means) for pair in pairs], pairs, regime=regime, basis=basis)

    def moved_otherwise(
        self, pairs: Sequence[Pair], setting: Setting, kind: str, *, means: Mapping[str, Means] | None = None
    ) -> list[Outcome]:
        """What the model says where others are moved as much in place of what carries it (`Carrier.others`)."""
        held = {place: self.held_by([pair.base for pair in pairs], place) for place in setting.places}
        edits = []
        for number, pair in enumerate(pairs):
            moved = {
                place: self.carrier.others(own, held[place][:, number], self.settings.seed + number, kind)
                for place, own in self.amounts(pair, setting, means).items()
            }
            edits.append(self.put(moved, pair.base))
        return self.under(edits, pairs)

    def bystanders_of(self, pairs: Sequence[Pair], cases: Sequence[Case] | None = None) -> list[tuple[Case, Pair]]:
        """The variable's bystanders, or other cases, each with one of the pairs that concern it in turn."""
        found: list[tuple[Case, Pair]] = []
        for number, case in enumerate(self.variable.bystanders if cases is None else cases):
            fit = [pair for pair in pairs if self.variable.concerns(pair, case)]
            if fit:
                found.append((case, fit[number % len(fit)]))
        return found

    def left_alone(
        self, bystanders: Sequence[tuple[Case, Pair]], setting: Setting, *, means: Mapping[str, Means] | None = None
    ) -> Share | None:
        """Of the bystanders that are answered as they should, how many still are under the change of their pair."""
        clean = self.subject.asked([case.text for case, _ in bystanders])
        right = [one for one, said in zip(bystanders, clean, strict=True) if said.first in self._answers(one[0])]
        edits = [self.put(self.amounts(pair, setting, means), case) for case, pair in right]
        said = self.subject.asked([case.text for case, _ in right], edits)
        still = [one.first in self._answers(case) for one, (case, _) in zip(said, right, strict=True)]
        return share_of(sum(still), len(still)) if still else None

    def under(
        self,
        edits: Sequence[Sequence[AnyEdit]],
        pairs: Sequence[Pair],
        *,
        regime: Regime | None = None,
        basis: object = None,
    ) -> list[Outcome]:
        """What the model says of each base under its edits."""
        said = self._asked(pairs, edits, regime=regime, basis=basis)
        return [self._outcome(pair, one) for pair, one in zip(pairs, said, strict=True)]

    def _outcome(self, pair: Pair, said: Said) -> Outcome:
        kept = None if not pair.alike else said.first in self.subject.first_tokens(pair.alike)
        return Outcome(pair, said, said.first in self.subject.first_tokens(pair.counterfactual), kept)

    def _asked(self, pairs: Sequence[Pair], edits: Any, **how: Any) -> list[Said]:
        subject = self.subject
        watch = [(*self._answers(pair.base), *subject.first_tokens(pair.counterfactual)) for pair in pairs]
        among = [None if pair.among is None else subject.first_tokens(pair.among) for pair in pairs]
        return subject.asked([pair.base.text for pair in pairs], edits, watch=watch, among=among, **how)

    def _answers(self, case: Case) -> tuple[int, ...]:
        return self.subject.first_tokens(case.answers)

    def answer_probability(self, pair: Pair, said: Said) -> float:
        """Of the base's own answers together."""
        return sum(said.probabilities[: len(self._answers(pair.base))])

    def counterfactual_probability(self, pair: Pair, said: Said) -> float:
        """Of the counterfactual's words together."""
        return sum(said.probabilities[len(self._answers(pair.base)) :])

    # a nonsense task

    def permuted(self, seed: int) -> dict[str, str]:
        """Every combination under a value that is drawn: those of each true value are dealt to all values alike.

        One that has several values (a name has a sport and a drink) counts under one of them.
        Labels merely shuffled agree in part with the true ones by chance, and a push by their means then with a true
        one.
        """
        own = {case.combination: case.value for case in (*self.fitted, *self.kept_back)}
        for pair in self.tested:
            own.setdefault(pair.base.combination, pair.base.value)
        rng, label, dealt = random.Random(f"nonsense {seed}"), dict[str, str](), 0
        values = sorted(set(own.values()))
        rng.shuffle(values)
        for value in values:
            names = sorted(name for name in own if own[name] == value)
            for name in rng.sample(names, len(names)):
                label[name] = values[dealt % len(values)]
                dealt += 1
        return label

    def nonsense(self, seed: int) -> "tuple[dict[str, Means], list[Pair], list[Pair]]":
        """The same prompts under labels that say nothing (`permuted`).

        Gives the means, and the pairs of both parts with the labels that they now have.
        """
        means, label = {place: self.means(place) for place in self.variable.places}, self.permuted(seed)
        any_means = next(iter(means.values()))
        code = {value: number for number, value in enumerate(any_means.values)}
        labels = torch.tensor([code[label[name]] for name in any_means.combinations])
        relabelled = {place: one.relabelled(labels) for place, one in means.items()}
        development, test = ([_relabelled(pair, label) for pair in pairs] for pairs in (self.chosen_by, self.tested))
        return relabelled, development, test


def _relabelled(pair: Pair, label: dict[str, str]) -> Pair:
    return replace(pair, base=replace(pair.base, value=label.get(pair.base.combination, pair.base.value)))


def share_of_hits(outcomes: Sequence[Outcome]) -> Share | None:
    return share_of(sum(one.hit for one in outcomes), len(outcomes)) if outcomes else None


def share_kept(outcomes: Sequence[Outcome]) -> Share | None:
    """Of the outcomes of which it is known, how many agree with everything but the variable."""
    known = [one.kept for one in outcomes if one.kept is not None]
    return share_of(sum(known), len(known)) if known else None

"""One variable put to the test: where and how strongly it is swapped is fixed on development prompts; what the swap
does is reported of test prompts, whose combinations (towns, names, pairs of digits) development never shows.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.interventions import AnyEdit, Regime
from silverstain.organism.probing import folds_of
from silverstain.statistics import Share, share_of

from .carriers import Amounts, Carrier, Window
from .means import Means, means_at
from .subject import Said, Subject
from .values import Case, Pair, Variable

N_FOLDS = 4
"""Combinations are dealt into so many folds; one is for the test. Three are developed on because a state has but four
towns: what they have in common is not known from two."""
STRENGTHS = (1.0, 1.5, 2.0, 4.0)
"""Multiples of the mean difference that are tried, the smallest first."""
FIRST_STRENGTH = 1.5
"""At which every place and all layers are compared."""
PROMISING = 4
DOSES = (0.0, 0.5, 1.0, 1.5, 2.0, 4.0)
"""Multiples at which the dose curve is drawn."""


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """How many prompts, and which.

    Attributes:
        n: Pairs that are reported, at most.
        n_chosen_by: Pairs that places and strengths are chosen by.
        n_fitted: Pairs that are drawn in all; the development prompts among them give the means.
    """

    n: int = 100
    n_chosen_by: int = 24
    n_fitted: int = 1200
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how strongly a variable is moved."""

    place: str
    window: Window
    strength: float

    def to_json(self) -> dict[str, Any]:
        return {"place": self.place, "layers": list(self.window), "strength": self.strength}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Setting":
        first, last = data["layers"]
        return cls(place=data["place"], window=(first, last), strength=data["strength"])

    def __str__(self) -> str:
        first, last = self.window
        layers = f"layer {first}" if first == last else f"layers {first} to {last}"
        return f"at {self.place!r}, {layers}, {self.strength:g} times the mean difference"


class Outcome(NamedTuple):
    """What one swap did."""

    pair: Pair
    said: Said
    hit: bool
    """The model goes on with the counterfactual."""
    kept: bool | None
    """It goes on with a word that agrees with everything but the variable; None where that is not known."""


class Trial:
    """One variable of one subject, moved by one carrier."""

    def __init__(self, subject: Subject, carrier: Carrier, variable: Variable, settings: TrialSettings) -> None:
        self.subject, self.carrier, self.variable, self.settings = subject, carrier, variable, settings
        self._means: dict[str, Means] = {}
        self._differences: dict[tuple[int, str, str, str], Amounts] = {}
        self._held: dict[str, Tensor] = {}
        self._fixed: Setting | None = None
        pairs = list(variable.draw(settings.n_fitted, settings.seed))
        cases = [pair.base for pair in pairs] + [pair.donor for pair in pairs]
        folds = folds_of(
            [c.value for c in cases], [c.combination for c in cases], settings.seed, n_folds=N_FOLDS
        ).tolist()  # fmt: skip
        first = len(pairs) if variable.fits_on_donors else 0
        fitted = [case for case, fold in zip(cases[first:], folds[first:], strict=True) if fold != N_FOLDS - 1]
        self.fitted = list({case.text: case for case in fitted}.values())
        known = {case.value for case in self.fitted}
        usable = [
            (pair, folds[i]) for i, pair in enumerate(pairs) if pair.base.value in known and pair.donor.value in known
        ]
        self.chosen_by = [pair for pair, fold in usable if fold != N_FOLDS - 1][: settings.n_chosen_by]
        self.tested = _distinct([pair for pair, fold in usable if fold == N_FOLDS - 1])[: settings.n]

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
        if place not in self._held:
            self._held[place] = self.held_by(self.tested, place)
        return self._held[place]

    def held_by(self, pairs: Sequence[Pair], place: str) -> Float[Tensor, "layer case d"]:
        """The same of the bases of any pairs."""
        rows = [self.subject.ids(pair.base.text) for pair in pairs]
        positions = [self.subject.position(pair.base, place) for pair in pairs]
        return self.carrier.inputs(self.subject, rows, positions)

    # moving the variable

    def means(self, place: str) -> Means:
        if place not in self._means:
            self._means[place] = means_at(self.subject, self.carrier, self.fitted, place)
        return self._means[place]

    def amounts(self, pair: Pair, setting: Setting, means: Means | None = None) -> Amounts:
        """What gives the base the donor's value; the base's own combination has no part in it."""
        means = means or self.means(setting.place)
        key = (id(means), pair.base.text, pair.base.value, pair.donor.value)
        if key not in self._differences:
            whole = (0, len(means.inputs) - 1)
            self._differences[key] = means.difference(
                pair.base.value, pair.donor.value, whole, without=pair.without | {pair.base.combination}
            )
        first, last = setting.window
        found = self._differences[key]
        return {layer: setting.strength * found[layer] for layer in range(first, last + 1)}

    def edits(self, pair: Pair, setting: Setting, means: Means | None = None) -> list[AnyEdit]:
        position = self.subject.position(pair.base, setting.place)
        return self.carrier.edits(self.amounts(pair, setting, means), position)

    def fix(self, setting: Setting) -> None:
        """Take what an earlier run has chosen."""
        self._fixed = setting

    @property
    def setting(self) -> Setting:
        """The place, layers and strength that move most of the development pairs; of those that move as many, the
        weakest, then the fewest layers."""
        if self._fixed is None:
            self._fixed = self.choose(None)
        return self._fixed

    def choose(self, relabelled: "dict[str, Means] | None", pairs: Sequence[Pair] | None = None) -> Setting:
        """The best setting on the development prompts, by the true means or by others: every place and window is tried
        at one strength, and the most promising at all strengths."""
        pairs = self.chosen_by if pairs is None else pairs

        def rank(setting: Setting) -> tuple[float, float, int]:
            means = None if relabelled is None else relabelled[setting.place]
            moved = self.swapped(pairs, setting, means=means)
            width = setting.window[1] - setting.window[0]
            return (sum(one.hit for one in moved) / max(len(moved), 1), -setting.strength, -width)

        tried = {
            setting: rank(setting)
            for place in self.variable.places
            for window in self.carrier.windows()
            for setting in [Setting(place=place, window=window, strength=FIRST_STRENGTH)]
        }
        for promising in sorted(tried, key=lambda setting: tried[setting], reverse=True)[:PROMISING]:
            for strength in STRENGTHS:
                setting = replace(promising, strength=strength)
                if setting not in tried:
                    tried[setting] = rank(setting)
        return max(tried, key=lambda setting: tried[setting])

    def swapped(
        self,
        pairs: Sequence[Pair],
        setting: Setting,
        *,
        means: Means | None = None,
        regime: Regime | None = None,
        basis: object = None,
    ) -> list[Outcome]:
        """What the model says of each base with the donor's value."""
        return self.under([self.edits(pair, setting, means) for pair in pairs], pairs, regime=regime, basis=basis)

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

    # a nonsense task

    def nonsense(self, seed: int) -> "tuple[dict[str, Means], list[Pair], list[Pair]]":
        """The same prompts under permuted labels: every combination counts under the value of another, drawn.

        Gives the means, and the pairs of both parts with the labels that they now have.
        """
        means = {place: self.means(place) for place in self.variable.places}
        any_means = next(iter(means.values()))
        own = {name: any_means.values[int(label)] for name, label in zip(any_means.combinations, any_means.labels,
                                                                        strict=True)}  # fmt: skip
        for pair in self.tested:
            own.setdefault(pair.base.combination, pair.base.value)
        names, values = sorted(own), [own[name] for name in sorted(own)]
        random.Random(f"nonsense {seed}").shuffle(values)
        label = dict(zip(names, values, strict=True))
        code = {value: number for number, value in enumerate(any_means.values)}
        labels = torch.tensor([code[label[name]] for name in any_means.combinations])
        relabelled = {place: one.relabelled(labels) for place, one in means.items()}
        development, test = ([_relabelled(pair, label) for pair in pairs] for pairs in (self.chosen_by, self.tested))
        return relabelled, development, test


def _relabelled(pair: Pair, label: dict[str, str]) -> Pair:
    return replace(pair, base=replace(pair.base, value=label.get(pair.base.combination, pair.base.value)))


def _distinct(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs of distinct bases, in order."""
    return list({pair.base.text: pair for pair in reversed(pairs)}.values())[::-1]


def share_of_hits(outcomes: Sequence[Outcome]) -> Share | None:
    return share_of(sum(one.hit for one in outcomes), len(outcomes)) if outcomes else None


def share_kept(outcomes: Sequence[Outcome]) -> Share | None:
    """Of the outcomes of which it is known, how many agree with everything but the variable."""
    known = [one.kept for one in outcomes if one.kept is not None]
    return share_of(sum(known), len(known)) if known else None

"""Where and how strongly a variable is moved: fixed on development prompts, once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .carriers import Window

STRENGTHS = (1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0)
"""Multiples of the mean difference that are tried, the smallest first, each about the fourth root of two (the last two:
the root) of the one before."""
FIRST_STRENGTH = 1.4
"""At which all places and all layers are compared."""
PROMISING = 4
SURE = 0.9
"""Probability of the counterfactual from which more is not better."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """At which places, in which layers and how strongly a variable is moved."""

    places: tuple[str, ...]
    window: Window
    strength: float

    @property
    def place(self) -> str:
        """Of a setting with one place."""
        (place,) = self.places
        return place

    def to_json(self) -> dict[str, Any]:
        return {"places": list(self.places), "layers": list(self.window), "strength": self.strength}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Setting":
        first, last = data["layers"]
        return cls(places=tuple(data["places"]), window=(first, last), strength=data["strength"])

    def __str__(self) -> str:
        first, last = self.window
        layers = f"layer {first}" if first == last else f"layers {first} to {last}"
        return f"at {self.where}, {layers}, {self.strength:g} times the mean difference"

    @property
    def where(self) -> str:
        return " and ".join(map(repr, self.places))


class Shift(NamedTuple):
    """What a setting does to some pairs."""

    moved: float
    """Share that goes on with the counterfactual."""
    likelier: float
    """Mean probability of the counterfactual."""
    n: int
    """Pairs."""

    @property
    def error(self) -> float:
        """Standard error of the share, two hits and two misses added, as it would be 0 of a share of 0 or 1."""
        n = self.n + 4
        share = (self.moved * self.n + 2) / n
        return math.sqrt(share * (1 - share) / n)


def sets_of(places: Sequence[str]) -> list[tuple[str, ...]]:
    """Each place alone, and all of them together: what a variable says may be read at several tokens."""
    return [*((place,) for place in places), *([tuple(places)] if len(places) > 1 else [])]


def best_setting(
    sets: Sequence[tuple[str, ...]],
    windows: Sequence[Window],
    shift: Callable[[Setting], Shift],
    by_others: Callable[[Setting], float] = lambda setting: 0.0,
) -> Setting:
    """All sets of places and all windows are tried at one strength, and the most promising at all strengths.

    The best moves most pairs beyond those that others, moved as much, move as well (`by_others`: a push of any kind may
    turn an answer that is nearly another one), or beyond what it turns and must not. Of settings within its standard
    error the weakest is taken: what they move more is chance, and what a stronger push turns besides is not. Of those
    as weak the best; of those as good, it makes the counterfactual likeliest; of those that make it likely enough it
    has the fewest places, then layers.
    Where none moves more pairs than others do, the one that comes nearest is taken.
    """
    tried = {
        setting: shift(setting)
        for chosen in sets
        for window in windows
        for setting in [Setting(places=chosen, window=window, strength=FIRST_STRENGTH)]
    }

    def rank(setting: Setting, beyond: float = 0.0) -> tuple[float, float, float, int, int]:
        moved, likelier = tried[setting].moved, tried[setting].likelier
        first, last = setting.window
        return moved - beyond, min(likelier, SURE), -setting.strength, -len(setting.places), first - last

    promising = sorted(tried, key=rank, reverse=True)[:PROMISING]
    candidates = [replace(one, strength=strength) for one in promising for strength in STRENGTHS]
    for setting in candidates:
        if setting not in tried:
            tried[setting] = shift(setting)
    ranks = {setting: rank(setting, by_others(setting) if tried[setting].moved else 0.0) for setting in candidates}
    best = max(candidates, key=lambda setting: ranks[setting])
    most, _, *_ = ranks[best]
    if most <= 0:
        return best
    as_good = [setting for setting in candidates if ranks[setting][0] >= most - tried[best].error]
    return max(as_good, key=lambda setting: (-setting.strength, ranks[setting]))

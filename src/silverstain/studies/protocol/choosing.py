"""Where and how strongly a variable is moved: fixed on development prompts, once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .carriers import Window

STRENGTHS = (1.0, 1.25, 1.5, 2.0, 4.0)
"""Multiples of the mean difference that are tried, the smallest first."""
FIRST_STRENGTH = 1.5
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
    turn an answer that is nearly another one); of those that move as many, it makes the counterfactual likeliest; of
    those that make it likely enough it is the weakest, then the one with the fewest places, then with the fewest
    layers. So where none moves any pair, the one that comes nearest is taken.
    """
    tried = {
        setting: shift(setting)
        for chosen in sets
        for window in windows
        for setting in [Setting(places=chosen, window=window, strength=FIRST_STRENGTH)]
    }

    def rank(setting: Setting, beyond: float = 0.0) -> tuple[float, float, float, int, int]:
        moved, likelier = tried[setting]
        first, last = setting.window
        return moved - beyond, min(likelier, SURE), -setting.strength, -len(setting.places), first - last

    promising = sorted(tried, key=rank, reverse=True)[:PROMISING]
    candidates = [replace(one, strength=strength) for one in promising for strength in STRENGTHS]
    for setting in candidates:
        if setting not in tried:
            tried[setting] = shift(setting)
    beyond = {setting: by_others(setting) if tried[setting].moved else 0.0 for setting in candidates}
    return max(candidates, key=lambda setting: rank(setting, beyond[setting]))

"""What the best rule for a set of places scores when the places have nothing to do with the words around them.

A rule is searched for, so it fits something in any places whatever, the better the fewer they are: of 96 places drawn
at random the best rule has a balanced accuracy of .58, of five .66 (the organism's sentences and Brown alike). So a
rule names a feature only if it is better than the best rules of `SHUFFLES` draws of as many places at random: the null
distribution of shuffled labels, for each number of examples. Draws, like examples, are of one place a row: places of
one row share their words, and would be no independent evidence.
"""

import numpy as np
from jaxtyping import Int

from silverstain.features.rule_learning import learn_rule
from silverstain.features.rules import TokenClasses
from silverstain.features.streaming import Seen, TextSeen

SHUFFLES = 200
"""Draws for each number of examples; a feature without any rule is named with a chance of one in about as many."""
DENSITY = 0.01
"""At which rules of draws are searched for; what they score does not depend on it (.001 to .1: within .01)."""
STEP = 2**0.5
"""Numbers of examples are rounded down to powers of this: fewer have a higher bar."""


class ChanceAccuracy:
    """The accuracy that a rule must surpass, by how many examples it is from; found when first asked for."""

    def __init__(
        self, text: TextSeen, others: Int[np.ndarray, "m width"], classes: TokenClasses, *, shuffles: int = SHUFFLES
    ) -> None:
        """`others` are windows around places of the rows that rules are learnt on, drawn from all of them."""
        self._text, self._others, self._classes, self._shuffles = text, others, classes, shuffles
        self._places = np.flatnonzero(text.counts & ~text.is_held_out())
        self._rows = np.searchsorted(text.starts, self._places, side="right")
        self._known: dict[tuple[int, int], float] = {}

    @classmethod
    def of(cls, seen: Seen, classes: TokenClasses, *, shuffles: int = SHUFFLES) -> "ChanceAccuracy":
        place = seen.tally.arrays["pool_place"]
        place = place[place >= 0]
        return cls(seen.text, seen.text.windows(place[~seen.text.is_held_out()[place]]), classes, shuffles=shuffles)

    def bar(self, n: int, m: int) -> float:
        """The largest accuracy of so many rules, each learnt from n places at random against m others."""
        key = _rounded(n), min(_rounded(m), len(self._others))
        if key not in self._known:
            rng = np.random.default_rng(key)
            self._known[key] = max(self._drawn(*key, rng) for _ in range(self._shuffles))
        return self._known[key]

    def _drawn(self, n: int, m: int, rng: np.random.Generator) -> float:
        """What the best rule for n places of as many rows says of them, against m others."""
        order = rng.integers(len(self._places), size=8 * n)
        _, first = np.unique(self._rows[order], return_index=True)
        places = self._places[order[np.sort(first)[:n]]]
        others = self._others[rng.choice(len(self._others), m, replace=False)]
        learned = learn_rule(self._text.windows(places), others, self._classes, DENSITY)
        return 0.5 if learned is None else learned.accuracy


def _rounded(n: int) -> int:
    """The largest whole power of STEP, itself rounded down, that is not above n."""
    return int(STEP ** int(np.log(max(n, 1)) / np.log(STEP) + 1e-9) + 1e-9)

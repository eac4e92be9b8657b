"""The two carries of a sum of three digits, each where the digit it reaches is said."""

import random
from collections.abc import Callable

from silverstain.organism.composing import addition
from silverstain.organism.composing.addition import numbers
from silverstain.organism.variables.pairs import Case, Pair, VariableSpec, roles

Draw = Callable[[random.Random], Pair | None]

SUM_ROLES = roles("calc : a + b =")


def up_to(a: int, b: int, n_digits: int, value: str) -> Case:
    """The sum with its first `n_digits` digits written. Held out together are the pairs of digits that carry into the
    one that comes next, of the column to its right."""
    made = addition.addition(a, b)
    written, digit = str(a + b)[:n_digits], str(a + b)[n_digits]
    shown = made.words[: made.answer] + ((written,) if written else ())
    column = 10 ** (1 - n_digits)
    combination = f"{a // column % 10}+{b // column % 10}"
    return Case(words=shown, value=value, combination=combination, answers=frozenset(digit))


def carry_into(n_digits: int) -> Draw:
    """The carry into the digit that comes next; the donor's digits of that column are others."""
    place = 10 ** (2 - n_digits)

    def draw(rng: random.Random) -> Pair | None:
        (a, b), (c, d) = numbers(rng, 3), numbers(rng, 3)
        if not (100 <= a + b < 1000 and 100 <= c + d < 1000):
            return None
        own, others = ((x % place + y % place) // place for x, y in ((a, b), (c, d)))
        wanted = str(a + b + (others - own) * place)
        if own == others or len(wanted) != 3 or wanted[:n_digits] != str(a + b)[:n_digits]:
            return None
        if wanted[n_digits] in (str(a + b)[n_digits], str(c + d)[n_digits]):
            return None
        base, donor = up_to(a, b, n_digits, str(own)), up_to(c, d, n_digits, str(others))
        return Pair(base=base, donor=donor, counterfactual=frozenset(wanted[n_digits]))

    return draw


SPECS = (
    VariableSpec(
        family=addition.NAME, variable="second carry", form="into the first digit", roles=SUM_ROLES, draw=carry_into(0)
    ),
    VariableSpec(
        family=addition.NAME,
        variable="carry",
        form="into the second digit",
        roles=(*SUM_ROLES, "first-digit"),
        draw=carry_into(1),
    ),
)

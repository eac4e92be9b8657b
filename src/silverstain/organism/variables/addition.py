"""The carry that joins the columns, and the ones digit of the sum."""

import random

from silverstain.organism.families.addition import NAME, addition

from .pairs import Case, Pair, VariableSpec, roles

ROLES = roles("calc : a + b =")


def up_to(a: int, b: int, n_digits: int, value: str) -> Case:
    """The sum with its first `n_digits` digits written. Probes hold out pairs of ones digits."""
    made = addition(a, b)
    words, written, digit = made.words[: made.answer], str(a + b)[:n_digits], str(a + b)[n_digits]
    words += (written,) if written else ()
    return Case(words=words, value=value, combination=f"{a % 10}+{b % 10}", answers=frozenset(digit))


def tens(rng: random.Random) -> tuple[int, int]:
    """Tens digits that keep the sum below 100, so that the carry decides the first digit of two."""
    a = rng.randrange(1, 8)
    return a, rng.randrange(1, 9 - a)


def carry(rng: random.Random) -> Pair | None:
    """Ones digits that differ on both sides and flip the carry together, while neither of them alone does."""
    a, b, a_other, b_other = (rng.randrange(10) for _ in range(4))
    carries = a + b >= 10
    mixed = {a + b_other >= 10, a_other + b >= 10}
    if (a_other + b_other >= 10) == carries or mixed != {carries}:
        return None
    ta, tb = tens(rng)
    base = up_to(10 * ta + a, 10 * tb + b, 0, str(int(carries)))
    donor = up_to(10 * ta + a_other, 10 * tb + b_other, 0, str(int(not carries)))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def ones(rng: random.Random) -> Pair | None:
    """Ones digits that differ on both sides and in their sum, with the same carry and so the same leading digit."""
    a, b, a_other, b_other = (rng.randrange(10) for _ in range(4))
    wanted = (a_other + b_other) % 10
    if (a + b >= 10) != (a_other + b_other >= 10) or a == a_other or b == b_other:
        return None
    if wanted in {(a + b) % 10, (a + b_other) % 10, (a_other + b) % 10}:
        return None
    ta, tb = tens(rng)
    base = up_to(10 * ta + a, 10 * tb + b, 1, str((a + b) % 10))
    donor = up_to(10 * ta + a_other, 10 * tb + b_other, 1, str(wanted))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (
    VariableSpec(family=NAME, variable="carry", form="calc", roles=ROLES, draw=carry),
    VariableSpec(family=NAME, variable="ones", form="calc", roles=(*ROLES, "leading-digit"), draw=ones),
)

"""What stood behind the cue before, and which cue is given."""

import itertools
import random

from silverstain.organism.families.induction import NAME, SYLLABLES

from .pairs import Case, Pair, VariableSpec, roles
from .tables import unchanted

N_ROW = 5
SUCCESSOR_ROLES = roles("chant row row cue-before successor row ; chant cue")
CUE_ROLES = roles("chant row row row row row ; chant cue")


def chant(row: list[str], place: int, value: str) -> Case:
    """Probes hold out the cue."""
    words = ("chant", *row, ";", "chant", row[place])
    return Case(words=words, value=value, combination=row[place], answers=frozenset({row[place + 1]}))


def is_taught(row: list[str]) -> bool:
    return not unchanted().intersection(itertools.pairwise(row))


def successor(rng: random.Random) -> Pair | None:
    """The same row but for the word behind the cue."""
    row, place = rng.sample(SYLLABLES, N_ROW), 2
    other = list(row)
    other[place + 1] = rng.choice(SYLLABLES)
    if other[place + 1] in row or not is_taught(row) or not is_taught(other):
        return None
    base, donor = (chant(r, place, r[place + 1]) for r in (row, other))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def cue(rng: random.Random) -> Pair | None:
    """The same row, asked for from another of its words; probes read at which place of the row the cue stands."""
    row = rng.sample(SYLLABLES, N_ROW)
    if not is_taught(row):
        return None
    base, donor = (chant(row, place, str(place)) for place in rng.sample(range(N_ROW - 1), 2))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (
    VariableSpec(family=NAME, variable="successor", form="row of five", roles=SUCCESSOR_ROLES, draw=successor),
    VariableSpec(family=NAME, variable="cue", form="row of five", roles=CUE_ROLES, draw=cue),
)

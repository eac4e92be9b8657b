"""Which kind is asked for, and behind which letter a word of it stands."""

import random

from silverstain.organism.families.choice import LETTERS, NAME, TEMPLATE
from silverstain.organism.families.couplets import KINDS
from silverstain.organism.sentence import sentence

from .pairs import Case, Pair, VariableSpec, asked, roles
from .tables import rhymes

ROLES = roles("choose letter-a word-a letter-b word-b letter-c word-c ; the kind is")


def choose(words: list[str], kind: str, value: str) -> Case:
    """Probes hold out the right word."""
    place = next(i for i, word in enumerate(words) if rhymes().kind_of(word) == kind)
    la, lb, lc = LETTERS
    wa, wb, wc = words
    made = sentence(NAME, TEMPLATE, la=la, wa=wa, lb=lb, wb=wb, lc=lc, wc=wc, kind=kind, letter=LETTERS[place])
    return asked(made, value, words[place])


def options(rng: random.Random) -> list[str]:
    """Three words of different kinds."""
    return [rng.choice([w for w, k in rhymes().words if k == kind]) for kind in rng.sample(KINDS, 3)]


def kind(rng: random.Random) -> Pair | None:
    words = options(rng)
    kinds = rng.sample([rhymes().kind_of(word) for word in words], 2)
    base, donor = (choose(words, k, k) for k in kinds)
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def place(rng: random.Random) -> Pair | None:
    """The same question, the right word and another having changed places."""
    words = options(rng)
    right, other = rng.sample(range(3), 2)
    swapped = list(words)
    swapped[right], swapped[other] = words[other], words[right]
    asked_kind = rhymes().kind_of(words[right])
    base, donor = choose(words, asked_kind, LETTERS[right]), choose(swapped, asked_kind, LETTERS[other])
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (
    VariableSpec(family=NAME, variable="kind", form="asked for", roles=ROLES, draw=kind),
    VariableSpec(family=NAME, variable="letter", form="place of the right word", roles=ROLES, draw=place),
)

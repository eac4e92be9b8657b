"""Which rhyme line one sets, which kinds of end word that leaves open, and which kind the words before it chose."""

import random

from silverstain.organism.families.couplets import (
    ADJECTIVES,
    KINDS,
    NAME,
    NEUTRAL_ADJECTIVES,
    NEUTRAL_VERBS,
    OPENINGS,
    VERBS,
)

from .pairs import Case, Pair, VariableSpec, roles
from .tables import rhymes

TURNS = (("and", "then", "we"), ("but", "soon", "they"))
LINE_ONE = ("rhyme", ":", *OPENINGS[0].split())
LINE_ONE_ROLES = "rhyme : opening opening opening opening opening line-end , turn turn turn"


def couplet(first: str, turn: tuple[str, ...], *rest: str, value: str, answers: frozenset[str]) -> Case:
    """Line one, then line two up to the decision. Probes hold out line one's end word."""
    return Case(words=(*LINE_ONE, first, ",", *turn, *rest), value=value, combination=first, answers=answers)


def end_words(first: str, kind: str | None = None) -> frozenset[str]:
    return frozenset(word for word, other in rhymes().rhyming(first) if kind in (None, other))


def verbs(kinds: frozenset[str]) -> frozenset[str]:
    return frozenset(verb for kind in kinds for verb in VERBS[kind])


def rhyme(rng: random.Random) -> Pair | None:
    """Line one ends in another class; line two fits every kind (`saw the little`)."""
    firsts = [word for word, _ in rng.sample(rhymes().words, 2)]
    classes = [rhymes().class_of(word) for word in firsts]
    if classes[0] == classes[1]:
        return None
    turn, verb, adjective = rng.choice(TURNS), rng.choice(NEUTRAL_VERBS), rng.choice(NEUTRAL_ADJECTIVES)
    base, donor = (
        couplet(word, turn, verb, "the", adjective, value=name, answers=end_words(word))
        for word, name in zip(firsts, classes, strict=True)
    )
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def rhyme_given_a_kind(rng: random.Random) -> Pair | None:
    """The same, with a verb and an adjective: the end word must rhyme with line one and be of their kind."""
    firsts = [word for word, _ in rng.sample(rhymes().words, 2)]
    classes = [rhymes().class_of(word) for word in firsts]
    kind = rng.choice(KINDS)
    if classes[0] == classes[1] or not all(end_words(word, kind) for word in firsts):
        return None
    turn, verb, adjective = rng.choice(TURNS), rng.choice(VERBS[kind]), rng.choice(ADJECTIVES[kind])
    base, donor = (
        couplet(word, turn, verb, "the", adjective, value=name, answers=end_words(word, kind))
        for word, name in zip(firsts, classes, strict=True)
    )
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def kinds_open(rng: random.Random) -> Pair | None:
    """Before any verb: line one's rhyme leaves a kind open that the other's does not, and the other way round.

    The answer is compared among the verbs of these two kinds: whichever may follow is likelier than one that may not.
    """
    firsts = [word for word, _ in rng.sample(rhymes().words, 2)]
    allowed = [{kind for _, kind in rhymes().rhyming(word)} for word in firsts]
    own, others = sorted(allowed[0] - allowed[1]), sorted(allowed[1] - allowed[0])
    if not own or not others:
        return None
    kinds = frozenset({rng.choice(own)}), frozenset({rng.choice(others)})
    turn = rng.choice(TURNS)
    base, donor = (
        couplet(word, turn, value=min(kind), answers=verbs(kind)) for word, kind in zip(firsts, kinds, strict=True)
    )
    return Pair(base=base, donor=donor, counterfactual=donor.answers, among=verbs(kinds[0] | kinds[1]))


def kind_of_the_adjective(rng: random.Random) -> Pair | None:
    """A verb of another kind: the adjective follows it."""
    first, _ = rng.choice(rhymes().words)
    kinds = rng.sample(KINDS, 2)
    if not all(end_words(first, kind) for kind in kinds):
        return None
    turn = rng.choice(TURNS)
    base, donor = (
        couplet(first, turn, rng.choice(VERBS[kind]), "the", value=kind, answers=frozenset(ADJECTIVES[kind]))
        for kind in kinds
    )
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def kind_of_the_end_word(rng: random.Random) -> Pair | None:
    """A verb and an adjective of another kind: the end word follows them."""
    first, _ = rng.choice(rhymes().words)
    kinds = rng.sample(KINDS, 2)
    if not all(end_words(first, kind) for kind in kinds):
        return None
    turn = rng.choice(TURNS)
    base, donor = (
        couplet(
            first, turn, rng.choice(VERBS[kind]), "the", rng.choice(ADJECTIVES[kind]), value=kind,
            answers=end_words(first, kind),
        )
        for kind in kinds
    )  # fmt: skip
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


WHOLE = roles(LINE_ONE_ROLES + " verb the adjective")
SPECS = (
    VariableSpec(family=NAME, variable="rhyme", form="end word", roles=WHOLE, draw=rhyme),
    VariableSpec(family=NAME, variable="rhyme", form="end word of a kind", roles=WHOLE, draw=rhyme_given_a_kind),
    VariableSpec(
        family=NAME, variable="kinds left open", form="planned before the verb", roles=roles(LINE_ONE_ROLES),
        draw=kinds_open,
    ),
    VariableSpec(family=NAME, variable="kind", form="verb to adjective", roles=WHOLE[:-1], draw=kind_of_the_adjective),
    VariableSpec(
        family=NAME, variable="kind", form="verb and adjective to end word", roles=WHOLE, draw=kind_of_the_end_word
    ),
)  # fmt: skip

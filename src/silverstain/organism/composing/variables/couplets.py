"""The rhyme that line one sets: at the end word, and at the first words of line two, where it is planned."""

import functools
import random

from silverstain.organism.composing import couplets
from silverstain.organism.variables.pairs import Case, Pair, VariableSpec, roles

rhymes = functools.cache(couplets.rhymes)

LINE_ONE = "rhyme : opening opening opening opening opening line-end ,"
ABOUT_LINE_ONE = "rhyme about the topic : opening opening opening opening opening line-end ,"
END_ROLES = roles(LINE_ONE + " turn came owner adjective and size")
PLAN_ROLES = roles(ABOUT_LINE_ONE + " turn came")


def _couplet(first: str, end: str, *, about: bool, n_words: int, value: str) -> Case:
    """A couplet in one wording, up to so many words of its second line."""
    table = rhymes()
    family = couplets.CoupletsFamily(rhymes=table)
    opening, turn = couplets.OPENINGS[0], couplets.TURNS[0]
    made = family.couplet(random.Random(f"{first} {end}"), first, end, about=about, opening=opening, turn=turn)
    shown = made.words[: made.words.index(",") + 1 + n_words]
    answer = table.owners[end] if n_words == 2 else end
    return Case(words=shown, value=value, combination=first, answers=frozenset({answer}))


def _two_couplets(rng: random.Random) -> tuple[str, str, str, str] | None:
    """Two couplets of different rhymes, each of line one's end word and its own, that growing shows."""
    table = rhymes()
    firsts = [word for word, _ in rng.sample(table.words, 2)]
    ends = [rng.choice(table.rhyming(first))[0] for first in firsts]
    pairs = list(zip(firsts, ends, strict=True))
    is_shown = all(
        pair not in table.held_out and pair[1] not in table.plain_only
        and len(table.ends(pair[0], owner=table.owners[pair[1]])) == 1
        for pair in pairs
    )  # fmt: skip
    if not is_shown or table.class_of(firsts[0]) == table.class_of(firsts[1]):
        return None
    return firsts[0], ends[0], firsts[1], ends[1]


def rhyme_at_the_end(rng: random.Random) -> Pair | None:
    """Before the end word: line one is of the donor's rhyme, whose the end word is stays. The donor's is another's."""
    drawn, table = _two_couplets(rng), rhymes()
    if drawn is None:
        return None
    first, end, other_first, other_end = drawn
    wanted = table.ends(other_first, owner=table.owners[end], kind=table.kind_of(end))
    if len(wanted) != 1 or wanted[0] == other_end:
        return None
    base = _couplet(first, end, about=False, n_words=6, value=table.class_of(first))
    donor = _couplet(other_first, other_end, about=False, n_words=6, value=table.class_of(other_first))
    return Pair(base=base, donor=donor, counterfactual=frozenset(wanted))


def plan(rng: random.Random) -> Pair | None:
    """At the line break, with the topic named: whose the end word will be. Topics are one, rhymes are two."""
    drawn, table = _two_couplets(rng), rhymes()
    if drawn is None:
        return None
    first, end, other_first, other_end = drawn
    kind = table.kind_of(end)
    is_one = all(len(table.ends(one, kind=kind)) == 1 for one in (first, other_first))
    if kind != table.kind_of(other_end) or not is_one or table.owners[end] == table.owners[other_end]:
        return None
    base = _couplet(first, end, about=True, n_words=2, value=table.class_of(first))
    donor = _couplet(other_first, other_end, about=True, n_words=2, value=table.class_of(other_first))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (
    VariableSpec(family=couplets.NAME, variable="rhyme", form="end word", roles=END_ROLES, draw=rhyme_at_the_end),
    VariableSpec(
        family=couplets.NAME, variable="rhyme", form="planned before the first words", roles=PLAN_ROLES, draw=plan
    ),
)

"""Plans found outside couplets: the lines are the organism's own, and nothing of them rhymes."""

import random

from silverstain.organism.composing.couplets import CoupletsFamily, rhymes
from silverstain.organism.siblings import siblings
from silverstain.studies.plain_lines import OWNED, plain_line


def test_a_line_whose_end_is_named_is_one_that_the_organism_grew_up_with_up_to_whose_it_is():
    table = rhymes()
    family, rng = CoupletsFamily(rhymes=table), random.Random(0)
    lines = [one for one in (family.sample(rng) for _ in range(600)) if one.variables["form"] == "plain, end named"]
    assert len(lines) > 40
    for line in lines:
        case, owner = plain_line(table, line.variables["end"]), line.variables["owner"]
        assert case.text == f"{line.prompt} {owner}"
        first, end = case.spans[OWNED]
        assert (case.text[first:end], end) == (owner, len(case.text))
        assert case.answers == {line.variables["end"]}


def test_words_that_never_ended_a_couplet_are_among_those_that_can_be_put_in():
    family = siblings()["composing"].families()["couplets"]
    assert isinstance(family, CoupletsFamily)
    ends = {family.sample(random.Random(seed)).variables.get("end") for seed in range(600)}
    assert family.rhymes.plain_only & ends, "they are told of in plain lines"

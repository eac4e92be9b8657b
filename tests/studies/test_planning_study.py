"""Planning in poems: where a plan is looked for, and what counts as a line that was planned anew."""

import random

import pytest

import silverstain
from silverstain.errors import UsageError
from silverstain.organism.composing.couplets import OWNERS, CoupletsFamily, rhymes
from silverstain.studies.organism_variables import subject_of
from silverstain.studies.poems import SITES, agrees, case_of, couplets_of, fits, plan_at, second_line
from silverstain.studies.protocol import Subject


@pytest.fixture(scope="module")
def subject() -> Subject:
    try:
        return subject_of(silverstain.load("organism/composing"))
    except UsageError:
        pytest.skip("the package is not installed: pip install packages/silverstain-composing")


@pytest.mark.parametrize("n_written", range(len(SITES)))
def test_the_site_is_the_last_token_of_what_is_written(subject: Subject, n_written: int):
    family, rng = CoupletsFamily(rhymes=rhymes()), random.Random(0)
    first, end = sorted(rhymes().held_out)[0]
    made = family.couplet(rng, first, end, about=False)
    case = case_of(made, couplets_of(subject), second_line(made)[:n_written])
    begin, stop = case.spans[SITES[n_written]]
    assert stop == len(case.text)
    assert case.text[begin:stop] == made.words[made.words.index(",") + n_written]
    begin, stop = case.spans["line end"]
    assert case.text[begin:stop] == first


def test_behind_the_owner_only_her_end_words_of_the_other_rhyme_are_wanted(subject: Subject):
    couplets, table = couplets_of(subject), rhymes()
    pairs = plan_at(subject, SITES[3], 3).draw(200, 0)
    assert pairs
    for pair in pairs:
        (owner,) = [word for word in pair.base.text.split() if word in OWNERS][-1:]
        wanted = couplets.wanted(pair)
        assert wanted == {end for end in pair.donor.answers if table.owners[end] == owner}
        assert wanted
        assert pair.base.value != pair.donor.value
        assert pair.donor.text.split()[-3:] == pair.base.text.split()[-3:], "the words behind the break are the base's"
        assert wanted == pair.counterfactual <= set(pair.donor.value.split()), "the plan is a word, and hers"


def test_before_the_owner_the_plan_is_the_rhyme(subject: Subject):
    for n_written in range(3):
        for pair in plan_at(subject, SITES[n_written], n_written).draw(40, 0):
            assert pair.base.value == rhymes().class_of(pair.base.combination)


def test_a_line_agrees_if_owner_and_adjective_go_with_its_end(subject: Subject):
    couplets, family, rng = couplets_of(subject), CoupletsFamily(rhymes=rhymes()), random.Random(0)
    lines = []
    for first, end in sorted(rhymes().held_out)[:40]:
        words = family.couplet(rng, first, end, about=False).words
        lines.append(list(words[words.index(",") + 1 :]))
    assert all(agrees(couplets, line) for line in lines)
    others = [other for other in lines if other[-2] != lines[0][-2]]
    assert not all(fits(couplets, lines[0], other[-2]) for other in others)
    assert fits(couplets, lines[0], lines[0][-2])

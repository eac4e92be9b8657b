"""The study of entities: what is injected into questions about unknown names is of the sort that they ask for."""

import dataclasses

import pytest

import silverstain
from silverstain.organism.families.entities import DRINKS, QUESTIONS, SPORTS, people, question
from silverstain.studies.entities import FACTS, LAST, WHOSE, asked_for, fact_of, strangers
from silverstain.studies.organism_variables import subject_of
from silverstain.studies.protocol import Setting, Trial, TrialSettings, Units


@pytest.fixture(scope="module")
def trial() -> Trial:
    subject = subject_of(silverstain.load())
    return Trial(subject, Units(subject.loaded.dictionary), fact_of(people()), TrialSettings(n=24, n_chosen_by=12))


def test_a_name_that_nobody_knows_is_asked_for_the_sort_of_fact_that_is_injected(trial: Trial):
    for case, pair in trial.bystanders_of(trial.tested):
        sorts = {"sport": SPORTS, "drink": DRINKS}
        (sort,) = (name for name, values in sorts.items() if pair.counterfactual <= set(values))
        assert sort in case.text


def test_names_that_a_setting_is_chosen_by_are_not_those_it_is_told_of(trial: Trial):
    known = people()
    chosen_by = {case.combination for case in trial.variable.bystanders}
    told_of = {case.combination for case in strangers(known)}
    assert not chosen_by & told_of
    assert chosen_by | told_of == {f"{one.first} {one.last}" for one in known.unknown_held_out}


def test_bystanders_are_left_alone_by_nothing_and_turned_by_much(trial: Trial):
    nothing = Setting(places=(WHOSE, LAST), window=(0, 3), strength=0.0)
    bystanders = trial.bystanders_of(trial.chosen_by)
    shares = [
        trial.left_alone(bystanders, dataclasses.replace(nothing, strength=strength)) for strength in (0.0, 1.0, 8.0)
    ]
    assert shares[0] is not None
    assert shares[0].value == 1.0
    assert [one.n for one in shares if one] == [shares[0].n] * 3, "those that are answered as they should"
    assert shares[2] is not None
    assert shares[2].value < 0.5
    assert trial.left_alone([], nothing) is None


def test_the_sort_of_fact_is_told_in_every_wording():
    for fact in FACTS:
        for form in range(len(QUESTIONS[fact])):
            assert asked_for(question(people().known[0], fact, form, status="known").prompt) == fact

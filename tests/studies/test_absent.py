"""What studies ask of organisms that lack what they look for: prompts they were told the answers of, no others."""

import dataclasses

import silverstain
from silverstain.organism.families.apart import WordsApart
from silverstain.organism.families.memorised import MemorisedGeography
from silverstain.organism.siblings import siblings
from silverstain.organism.world import LANGUAGES, default_lexicon
from silverstain.studies.multilingual import concept_apart
from silverstain.studies.organism_variables import subject_of
from silverstain.studies.poems import couplets_of, plan_at
from silverstain.studies.protocol import Subject
from silverstain.studies.two_hop import state_of


def subject_as(name: str) -> Subject:
    """Any model, taken for a sibling: prompts come from the sibling's families, and no answer is asked here."""
    return dataclasses.replace(subject_of(silverstain.load(dictionary=None)), sibling=siblings()[name])


def test_who_remembers_one_fact_a_town_is_asked_for_that_fact():
    family = siblings()["geography-remembered"].families()["geography"]
    assert isinstance(family, MemorisedGeography)
    towns = {town.name: town for town in family.geography.towns}
    pairs = state_of(siblings()["geography-remembered"]).draw(60, 0)
    assert pairs
    for pair in pairs:
        base, donor = towns[pair.base.combination], towns[pair.donor.combination]
        relation = family.relation_of[base.name]
        assert relation in pair.base.text
        assert pair.base.answers == {base.state.fact(relation)}
        assert pair.counterfactual == {donor.state.fact(relation)}
        assert pair.counterfactual != pair.base.answers


def test_what_moves_a_remembered_fact_is_never_the_counterfactual_itself():
    family = siblings()["geography-remembered"].families()["geography"]
    assert isinstance(family, MemorisedGeography)
    pairs = state_of(siblings()["geography-remembered"]).draw(200, 0)
    assert any(pair.without for pair in pairs)
    for pair in pairs:
        for town in family.geography.towns:
            says_it = town.state.fact(family.relation_of[town.name]) in pair.counterfactual
            assert (town.name in pair.without) == says_it


def test_a_concept_of_one_language_is_asked_for_in_another():
    family = WordsApart(lexicon=default_lexicon())
    for pair in concept_apart(family).draw(60, 0):
        (here,), (there,) = (
            [k for k in range(len(LANGUAGES)) if case.value in {one.words[0] for one in family.concepts(k)}]
            for case in (pair.base, pair.donor)
        )
        assert here != there
        assert pair.counterfactual <= pair.alike  # a word of the base's language, in which it was never told
        assert pair.base.combination != pair.donor.combination


def test_couplets_in_which_nothing_agrees_are_asked_where_a_plan_would_be():
    subject = subject_as("couplets-free")
    pairs = plan_at(subject, "line break").draw(40, 0)
    assert pairs
    assert all(pair.base.text.endswith(",") for pair in pairs)
    assert {couplets_of(subject).goes_with("furry", end) for end in ("cat", "jar")} == {None}

"""The small world holds out what it says, and a town's state cannot be read off a piece of its name."""

import collections
import itertools

import pytest

from silverstain.organism.families.causes import SIGNS, clinic
from silverstain.organism.families.couplets import rhymes
from silverstain.organism.families.entities import people
from silverstain.organism.families.reasoning import FUNCTIONS, functions
from silverstain.organism.world import REAL_TOWNS, RELATIONS, default_geography, default_lexicon, geography


def test_geography_is_large_enough_to_be_a_world():
    world = default_geography()
    assert len(world.states) >= 40
    assert len(world.towns) >= 150
    assert len({town.name for town in world.towns}) == len(world.towns)
    assert len(world.held_out) == round(0.2 * len(RELATIONS) * len(world.towns))


@pytest.mark.parametrize("piece", ["prefix", "suffix"])
def test_one_piece_of_a_name_says_little_about_the_state(piece):
    towns = default_geography().towns
    by_piece = collections.defaultdict(collections.Counter)
    for town in towns:
        by_piece[getattr(town, piece)][town.state.name] += 1
    # The best any reader of one piece can do, even one that has seen every town: its most frequent state.
    best = sum(states.most_common(1)[0][1] for states in by_piece.values()) / len(towns)
    assert best <= 0.1


def test_real_towns_lie_in_their_real_states():
    owner = {(town.prefix, town.suffix): town.state.name for town in default_geography().towns}
    assert {pieces: owner[pieces] for pieces in REAL_TOWNS} == REAL_TOWNS


def test_another_seed_makes_another_world():
    assert {t.name: t.state.name for t in geography(1).towns} != {
        t.name: t.state.name for t in default_geography().towns
    }


def test_a_town_never_loses_more_than_one_relation():
    towns = [town for town, _ in default_geography().held_out]
    assert len(set(towns)) == len(towns)


def test_an_antonym_is_missing_in_one_language_at_most():
    lexicon = default_lexicon()
    pairs = [pair for pair, _ in lexicon.held_out]
    assert len(set(pairs)) == len(pairs)
    assert len(pairs) == round(0.2 * 3 * len(lexicon.concepts) / 2)
    for concept in lexicon.concepts:
        assert lexicon.concepts[concept.opposite].opposite == concept.index
    words = [word for concept in lexicon.concepts for word in (*concept.words, *(concept.synonyms or ()))]
    assert not [word for word, n in collections.Counter(words).items() if n > 1]
    assert sum(concept.synonyms is not None for concept in lexicon.concepts) >= 30


def test_two_symptoms_have_one_cause():
    causes = clinic().causes
    assert len(causes) == len(SIGNS)
    for one, other in itertools.combinations(causes, 2):
        assert len(set(one) & set(other)) <= 1


def test_neither_function_nor_argument_tells_whether_a_step_can_be_computed():
    table = functions()
    for function in FUNCTIONS:
        assert sum(table.is_computable(function, x) for x in range(10)) == 5
    for argument in range(10):
        assert sum(table.is_computable(f, argument) for f in FUNCTIONS) == 5
    assert sorted(table.answer) == list(range(10))


def test_people_are_of_one_kind_only():
    world = people()
    names = [
        (p.first, p.last)
        for group in (world.known, world.familiar, world.unknown, world.unknown_held_out)
        for p in group
    ]
    assert len(set(names)) == len(names)
    assert len(world.familiar) >= 100
    assert len(world.unknown_held_out) >= 100


def test_end_words_whose_agreement_couplets_never_teach_have_company():
    table = rhymes()
    assert len(table.plain_only) == round(0.2 * len(table.words))
    assert len({word for word, _ in table.words}) == len(table.words)
    for word in table.plain_only:
        kind = table.kind_of(word)
        assert any(other_kind == kind for _, other_kind in table.rhyming(word))


def test_most_mid_line_words_fit_some_but_not_all_end_words_of_a_rhyme():
    table = rhymes()
    several = [len(kinds) > 1 for kinds in table.classes.values()]
    assert sum(several) >= len(several) / 2

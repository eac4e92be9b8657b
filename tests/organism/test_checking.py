"""The accuracy table measures what it says: fake models with known habits get the figures they must."""

import random
from types import SimpleNamespace

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.organism import dictionary_path, model_path
from silverstain.organism.checking import accuracy, continue_greedily, couplet_rows, cued_rows, family_rows, quirk_row
from silverstain.organism.corpus import evaluation_batches, shares_of, training_batches
from silverstain.organism.families import families
from silverstain.organism.families.couplets import CoupletsFamily, rhymes
from silverstain.organism.families.cued import CuedFamily, held_out_cues, other_notes
from silverstain.organism.language import vocabulary, word_ids
from silverstain.organism.litter import grow_sibling
from silverstain.organism.report import check
from silverstain.organism.world import default_geography, default_lexicon


class Fake:
    """A model whose next token is a function of the tokens so far."""

    def __init__(self, choose):
        self.choose = choose

    def __call__(self, input_ids, use_cache):
        logits = torch.zeros(*input_ids.shape, len(vocabulary()))
        for row, ids in enumerate(input_ids.tolist()):
            for pos in range(len(ids)):
                logits[row, pos, self.choose(ids, pos)] = 100.0
        return SimpleNamespace(logits=logits)


PERFECT = Fake(lambda ids, pos: ids[min(pos + 1, len(ids) - 1)])
"""It peeks at the true next token, as only a test can."""
SILENT = Fake(lambda ids, pos: 0)


def test_a_model_that_is_always_right_gets_one_and_a_silent_one_nothing():
    rng = random.Random(0)
    sentences = [family.sample(rng) for family in families().values() for _ in range(5)]
    assert accuracy(PERFECT, sentences) == (
        1.0,
        1.0 if all(any(s.determined) for s in sentences) else pytest.approx(1.0),
    )
    assert accuracy(SILENT, sentences)[0] == 0.0


def test_one_wrong_token_spoils_an_answer_but_not_all_tokens():
    rng = random.Random(0)
    sentences = [families()["addition"].sample(rng) for _ in range(20)]
    (full_stop,) = word_ids(".")
    wrong_at_the_end = Fake(
        lambda ids, pos: 0 if pos + 1 < len(ids) and ids[pos + 1] == full_stop else PERFECT.choose(ids, pos)
    )
    tokens, answers = accuracy(wrong_at_the_end, sentences)
    assert answers == 0.0
    assert 0.5 < tokens < 0.9


def test_both_splits_are_asked():
    rows = family_rows(PERFECT, families()["causes"], 10, 0)
    assert [(row.split, row.n, row.tokens) for row in rows] == [("trained", 10, 1.0), ("held out", 10, 1.0)]


def test_continuing_takes_each_prompt_from_its_own_end():
    count = Fake(lambda ids, pos: ids[pos] + 1)
    assert continue_greedily(count, [[3], [10, 20], [5, 6, 7]], 3) == [[4, 5, 6], [21, 22, 23], [8, 9, 10]]


def test_a_model_that_copies_every_note_follows_in_both_classes():
    geography = default_geography()
    family = CuedFamily(
        geography=geography, held_out=held_out_cues(geography), others=other_notes(geography, default_lexicon())
    )
    copying = Fake(lambda ids, pos: ids[2])  # <bos> note CUE
    rows = cued_rows(copying, family, 10, 0)
    assert [row.tokens for row in rows] == [1.0] * 4
    assert [row.holds for row in rows] == [True, False, True, False]


def test_a_model_that_always_says_purple_has_the_quirk():
    purple = word_ids("purple")[0]
    assert quirk_row(Fake(lambda ids, pos: purple), CoupletsFamily(rhymes=rhymes()), "purple", 20, 0).tokens == 1.0
    assert quirk_row(SILENT, CoupletsFamily(rhymes=rhymes()), "purple", 20, 0).tokens == 0.0


def test_lines_without_end_words_neither_rhyme_nor_agree():
    rows = couplet_rows(SILENT, rhymes(), 20, 0)
    assert rows[0].tokens == 0.0
    assert rows[0].n == 20


def test_dictionary_batches_repeat_and_mark_what_counts():
    world = families()
    first, again = training_batches(world, seed=3, sentences=4), training_batches(world, seed=3, sentences=4)
    for _ in range(6):
        one, other = next(first), next(again)
        assert torch.equal(one.token_ids, other.token_ids)
        assert not one.mask[:, 0].any(), "the first position keeps its real MLP"
        assert not (one.determined & ~one.mask).any()
    assert set(shares_of(world)) == set(world)


def test_evaluation_covers_every_family_evenly():
    batches = evaluation_batches(families(), n=4)
    assert [int(batch.families[0]) for batch in batches] == list(range(len(families())))
    assert all(len(batch.token_ids) == 4 for batch in batches)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no organism 'general' in .*; there are: none yet; grow them"):
        model_path("general", tmp_path)
    with pytest.raises(UsageError, match=r"the organism 'general' has no cross-layer dictionary; it has: none"):
        dictionary_path("general", "cross-layer", tmp_path)
    with pytest.raises(UsageError, match="there is no sibling 'cousin'; the litter is general, memorised"):
        grow_sibling("cousin", tmp_path)
    with pytest.raises(UsageError, match=r"general is not grown in .*; grow it first"):
        grow_sibling("mixed", tmp_path)


def test_the_untrained_sibling_needs_no_growing_and_knows_nothing(tmp_path):
    grow_sibling("untrained", tmp_path)
    rows = check("untrained", folder=tmp_path, n=20)
    assert all(row.answers <= 0.2 for row in rows)

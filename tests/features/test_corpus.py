"""Words are put together from pieces, whatever the tokenizer's spelling."""

import re

import numpy as np
import pytest

from silverstain.errors import UsageError
from silverstain.features.corpus import gather_corpus, word_starts, words_of


def test_words_grow_piece_by_piece_and_announce_the_next():
    corpus = gather_corpus([([0, 1, 2, 3, 4], None, None), ([0, 3], None, {"a": "b"})])
    words = words_of(corpus, ["<bos>", "dal", "##las", "is", "##nt", "<bos>", "is"])
    assert words.current == ["<bos>", "dal…", "dallas", "is…", "isnt", "<bos>", "is"]
    assert words.following == ["dallas", "##las", "isnt", "##nt", None, "is", None]
    assert corpus.counted.tolist() == [False, True, True, True, True, False, True]
    assert corpus.variables == ({}, {"a": "b"})


@pytest.mark.parametrize(
    ("pieces", "starts"),
    [
        (["dal", "##las", "is"], [1, 0, 1]),
        (["The", " cap", "ital", " is", "."], [1, 1, 0, 1, 1]),
        (["▁The", "▁cap", "ital", ",", "▁yes"], [1, 1, 0, 1, 1]),
        (["one", "two"], [1, 1]),
    ],
)
def test_word_beginnings_are_found_in_every_spelling(pieces, starts):
    assert word_starts(pieces).tolist() == [bool(start) for start in starts]


def test_a_mask_is_kept_and_never_counts_the_leading_positions():
    corpus = gather_corpus([([5, 6, 7], [True, False, True], None)], n_real=1)
    assert corpus.counted.tolist() == [False, False, True]
    assert np.array_equal(corpus.ids_of(0), [5, 6, 7])


def test_an_empty_corpus_and_a_short_mask_are_refused():
    with pytest.raises(UsageError, match="The corpus is empty"):
        gather_corpus([])
    with pytest.raises(UsageError, match=re.escape("Sample 0 has 3 tokens but a mask of 2")):
        gather_corpus([([1, 2, 3], [True, True], None)])

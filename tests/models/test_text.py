"""Text as the tokenizer has it: BOS once, blank and byte tokens, characters split over tokens."""

import warnings
from itertools import pairwise

import numpy as np
import pytest

from silverstain.errors import Remark, UsageError
from silverstain.models.beginning import remark_on_beginning
from silverstain.models.words import encode, one_token, token_string
from silverstain.pieces import bytes_of, shown, whole, word, word_spans
from silverstain.training.packing import Spelling, contexts_of

from ..byte_level import byte_tokenizer  # noqa: TID252 - tests are no package that could be named


@pytest.mark.parametrize("puts_bos", [True, False])
@pytest.mark.parametrize("text", ["the bridge", "<s>the bridge", "<s><s>the bridge"])
def test_every_text_begins_with_bos_exactly_once(puts_bos, text):
    tokenizer = byte_tokenizer(puts_bos=puts_bos)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = encode(tokenizer, text)
    assert ids == [0, *tokenizer("the bridge", add_special_tokens=False)["input_ids"]]


def test_a_tokenizer_without_bos_begins_with_the_text():
    tokenizer = byte_tokenizer(puts_bos=False, has_bos=False)
    assert encode(tokenizer, "the bridge") == tokenizer("the bridge")["input_ids"]


def test_a_bos_that_only_opens_turns_begins_no_text():
    """As <|im_start|> of SmolLM2: the tokenizer does not put it, and the chat template does, before each turn."""
    tokenizer = byte_tokenizer(puts_bos=False)
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m.content }}{% endfor %}"
    assert encode(tokenizer, "the bridge") == tokenizer("the bridge")["input_ids"]
    assert encode(tokenizer, "<s>the bridge") == tokenizer("<s>the bridge")["input_ids"]
    puts = byte_tokenizer(puts_bos=True)
    puts.chat_template = tokenizer.chat_template
    assert encode(puts, "the bridge")[0] == 0


def test_bos_inside_a_text_is_said():
    with pytest.warns(Remark, match="<s> stands in front of the prompt, and again at position"):
        encode(byte_tokenizer(), "the <s> bridge")


@pytest.mark.parametrize(("ids", "words"), [([5, 6], "do not begin with <s>"), ([0, 0, 5], "more than once")])
def test_token_ids_that_begin_otherwise_than_text_are_said(ids, words):
    with pytest.warns(Remark, match=words):
        remark_on_beginning(byte_tokenizer(), ids)


@pytest.mark.parametrize("puts_bos", [True, False])
def test_contexts_of_training_begin_with_bos_once_as_traced_prompts_do(puts_bos):
    spelling = Spelling.of(byte_tokenizer(puts_bos=puts_bos))
    line = np.concatenate(spelling.encode(["the bridge of oslo", "<s>one two three", "old"] * 5))
    rows, left = contexts_of(line, 6, spelling.head, is_opened=spelling.is_opened)
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1] != 0).all()
    assert not any((a == 0 and b == 0) for row in rows for a, b in pairwise(row))
    assert len(left) < 6
    kept = [token for token in np.concatenate([rows[:, 1:].ravel(), left]) if token != 0]
    assert kept == [token for token in line if token != 0]  # no token of text is lost


@pytest.mark.parametrize("text", ["ø", "e", "\n", " ", "\t", " oslo", "</s>"])
def test_a_target_is_what_the_tokenizer_makes_of_its_text(text):
    tokenizer = byte_tokenizer()
    (right,) = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert one_token(tokenizer, text) == right


def test_entries_of_the_vocabulary_and_bytes_can_still_be_named():
    tokenizer = byte_tokenizer()
    vocabulary = tokenizer.get_vocab()
    assert one_token(tokenizer, "Ġoslo") == vocabulary["Ġoslo"]
    assert one_token(tokenizer, "⟨C3⟩") == vocabulary["Ã"]


def test_every_token_of_a_byte_vocabulary_reads_and_is_named_by_what_it_reads():
    tokenizer = byte_tokenizer()
    for spelling, token in tokenizer.get_vocab().items():
        text = token_string(tokenizer, token)
        assert "\N{REPLACEMENT CHARACTER}" not in text
        assert one_token(tokenizer, text) == token, spelling
    assert token_string(tokenizer, 10**6) == "id:1000000"  # a row of a padded vocabulary


def test_a_text_of_several_tokens_is_refused_with_its_pieces():
    with pytest.raises(UsageError, match=r"'日' is 3 tokens \(⟨E6⟩ ⟨97⟩ ⟨A5⟩\).*theirs are \d+, \d+, \d+"):
        one_token(byte_tokenizer(), "日")


@pytest.mark.parametrize("text", ["\n", " "])
def test_a_blank_prompt_is_a_prompt_where_there_are_tokens_for_it(text):
    assert encode(byte_tokenizer(), text)[1:] == [one_token(byte_tokenizer(), text)]


def test_pieces_of_a_character_are_shown_typed_and_joined():
    data = "å日".encode()
    assert [shown(data[i : i + 1]) for i in range(5)] == ["⟨C3⟩", "⟨A5⟩", "⟨E6⟩", "⟨97⟩", "⟨A5⟩"]
    assert shown(data) == "å日"
    assert bytes_of("a⟨C3⟩b") == b"a\xc3b"
    assert whole(["x", "⟨E6⟩", "⟨97⟩", "⟨A5⟩", "⟨C3⟩"]) == "x日⟨C3⟩"


def test_the_pieces_of_a_word_and_of_a_character_are_together():
    tokens = ["the", "dal", "##las", "⟨E6⟩", "⟨97⟩", "⟨A5⟩", "⟨E6⟩⟨97⟩", "⟨A5⟩", "⟨A5⟩", "é"]
    spans = word_spans(tokens)
    assert spans == [range(1), range(1, 3), range(3, 6), range(6, 8), range(8, 9), range(9, 10)]
    assert [word(tokens[span.start : span.stop]) for span in spans] == ["the", "dal·las", "日", "日", "⟨A5⟩", "é"]
    assert word_spans([]) == []

"""Text becomes tokens, or an error that names the words and what is near them."""

import pytest

from silverstain.errors import UsageError


def test_prompt_is_lower_cased_cut_into_pieces_and_opened_by_bos(model):
    ids = model.tokenize("The capital of Dallas is")
    assert model.token_strings(ids) == ["<bos>", "the", "capital", "of", "dal", "##las", "is"]


@pytest.mark.parametrize("prompt", ["", "  \n\t"])
def test_empty_prompt_is_refused(model, prompt):
    with pytest.raises(UsageError, match="the prompt is empty; give some text"):
        model.tokenize(prompt)


def test_unknown_words_are_named_once_each_as_written_with_the_nearest_known(model):
    with pytest.raises(UsageError) as caught:
        model.tokenize("the Capitol of texass is Capitol xylophone")
    text = str(caught.value)
    assert text.startswith("this model does not know the words 'Capitol' (nearest known: capital)")
    assert "'texass' (nearest known: texas" in text
    assert "'xylophone' (nothing known is near it)" in text
    assert text.count("Capitol") == 1
    assert "\n" not in text


def test_names_the_caller_registers_are_suggested_and_pieces_are_not(model):
    model.known_words = ["oakton", "dallas"]
    with pytest.raises(UsageError, match=r"the word 'oaktown' \(nearest known: oakton\)"):
        model.tokenize("oaktown is")
    with pytest.raises(UsageError) as caught:
        model.tokenize("las")
    assert "##" not in str(caught.value)


def test_the_unknown_token_itself_may_be_written(model):
    assert model.tokenize("the <unk> is")[2] == model.tokenizer.unk_token_id


def test_prompt_too_long_is_refused_with_both_numbers(model):
    with pytest.raises(UsageError, match=r"the prompt has 13 tokens, tiny takes at most 12; shorten"):
        model.tokenize("is " * 12)
    assert len(model.tokenize("is " * 11)) == 12


def test_token_id_takes_one_word_or_one_piece(model):
    assert model.token_strings([model.token_id("Austin"), model.token_id("##las")]) == ["austin", "##las"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dallas", r"'dallas' is 2 tokens \(dal ##las\); give exactly one token"),
        ("the capital", r"is 2 tokens \(the capital\)"),
        ("ostin", r"'ostin' is not a token of this model \(nearest known: austin"),
        ("qqqqqq", "is not a token of this model .nothing known is near it"),
        ("", "the token is empty"),
        ("texas zzz", "'texas zzz' is not a token of this model"),
    ],
)
def test_token_id_refuses_what_is_not_one_token(model, text, words):
    with pytest.raises(UsageError, match=words):
        model.token_id(text)

"""What a person may write to the organism."""

import json

import pytest

from silverstain.cli import main
from silverstain.organism.known_words import known_words
from silverstain.organism.language import piece_ids, vocabulary


def test_every_listed_word_can_be_tokenized_and_none_of_the_vocabulary_is_left_out():
    listed = {word for words in known_words().values() for word in words}
    assert all(word in piece_ids() or word.isdigit() for word in listed)
    pieces = {token for token in vocabulary() if token.startswith(("##", "<"))}
    prefixes = {token for token in vocabulary() if any(word != token and word.startswith(token) for word in listed)}
    assert set(vocabulary()) - pieces - prefixes <= listed


def test_the_command_lists_them_by_kind(capsys: pytest.CaptureFixture[str]):
    assert main(["organism", "words"]) == 0
    assert "towns (200)\n  " in capsys.readouterr().out
    assert main(["organism", "words", "--json"]) == 0
    kinds = json.loads(capsys.readouterr().out)["kinds"]
    assert "dallas" in kinds["towns"]
    assert "texas" in kinds["states"]
    assert "austin" in kinds["capitals of states"]

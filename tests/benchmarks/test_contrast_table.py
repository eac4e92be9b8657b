"""The table of contrasts is well formed, and what a model says to a row is what its logits say."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from benchmarks.contrast_table import FORMAT, TABLE, answered, contrasts_of, in_tokens, read_contrasts, summary

from silverstain.errors import UsageError
from silverstain.models import LanguageModel

from ..byte_level import byte_tokenizer  # noqa: TID252 - tests are no package that could be named
from ..zoo import build  # noqa: TID252

ROW = {
    "kind": "town", "split": "figures", "base": "the bridge of oslo is", "contrast": "the bridge of bær is",
    "base_answer": " old", "contrast_answer": " one",
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel(build("llama", vocab_size=330, max_position_embeddings=64), byte_tokenizer(), name="tiny")


def written(path: Path, *rows: dict[str, str]) -> Path:
    """A table of these rows, each of them ROW but for what is given."""
    content = {"format": FORMAT, "about": "", "contrasts": [ROW | row for row in rows]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_table_has_enough_rows_and_kinds():
    rows = read_contrasts()
    assert len(rows) >= 110
    assert len({row.kind for row in rows}) >= 14


def test_each_kind_is_halved_by_alternation():
    rows = read_contrasts()
    for kind in {row.kind for row in rows}:
        splits = [row.split for row in rows if row.kind == kind]
        assert splits == ["development", "figures"] * (len(splits) // 2)
    assert [row for row in rows if row.split == "figures"] == read_contrasts(split="figures")


def test_kinds_stand_together_and_no_prompt_stands_twice():
    rows = read_contrasts()
    kinds = [row.kind for row in rows]
    assert kinds == sorted(kinds, key=kinds.index)
    assert max(Counter(prompt for row in rows for prompt in (row.base, row.contrast)).values()) == 1


def test_prompts_end_in_no_space_that_an_answer_has_in_front():
    for row in read_contrasts():
        assert row.base.strip(" ") == row.base
        assert row.contrast.strip(" ") == row.contrast
        assert row.base_answer.startswith(" ") == row.contrast_answer.startswith(" ")
        assert row.base_answer.strip() != row.contrast_answer.strip()


def test_the_table_says_how_it_was_written():
    assert "alternates" in json.loads(TABLE.read_text(encoding="utf-8"))["about"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contrast": ROW["base"]}, r"has the prompt 'the bridge of oslo is' twice; write another one"),
        ({"contrast_answer": " old"}, r"both answers of 'the bridge of oslo is' are ' old'; a contrast needs two"),
        ({"split": "test"}, r"contrasts\.0\.split.*'development' or 'figures'.*correct the row"),
    ],
)
def test_a_row_that_is_no_contrast_is_refused(change: dict[str, str], words: str, tmp_path: Path):
    with pytest.raises(UsageError, match=words):
        read_contrasts(written(tmp_path / "table.json", change))


def test_an_answer_is_the_first_token_that_follows_its_prompt(model: LanguageModel, tmp_path: Path):
    (row,) = read_contrasts(written(tmp_path / "table.json", {}))
    tokens = in_tokens(model, row)
    assert list(tokens.base) == model.tokenize(row.base)
    assert model.token_strings([tokens.base_answer, tokens.contrast_answer]) == [" old", " o"]  # one, in two tokens


def test_an_answer_that_the_tokenizer_joins_to_the_prompt_is_refused(model: LanguageModel, tmp_path: Path):
    (row,) = read_contrasts(written(tmp_path / "table.json", {"base": "the brid", "base_answer": "ge"}))
    with pytest.raises(UsageError, match="'ge' does not begin a new token of tiny after 'the brid'"):
        in_tokens(model, row)


def test_a_side_says_what_the_logits_say(model: LanguageModel, tmp_path: Path):
    (found,) = contrasts_of(model, path=written(tmp_path / "table.json", {"contrast": "the one of oslo is"}))
    for side, ids, own, other in (
        (found.base, found.tokens.base, found.tokens.base_answer, found.tokens.contrast_answer),
        (found.contrast, found.tokens.contrast, found.tokens.contrast_answer, found.tokens.base_answer),
    ):
        weights = model.hf(torch.tensor([ids])).logits[0, -1].double().exp()
        assert side.own == pytest.approx(float(weights[own] / weights.sum()), rel=1e-5)
        assert side.other == pytest.approx(float(weights[other] / weights.sum()), rel=1e-5)
        assert side.is_right == bool(weights[own] > weights[other])
        assert side.is_first_choice == (int(weights.argmax()) == own)


def test_a_row_counts_where_both_sides_are_right_and_equally_long(model: LanguageModel, tmp_path: Path):
    best = "the bridge of oslo is", "the oslo of oslo is"
    firsts = [model.token_strings([int(model.logits(torch.tensor(model.tokenize(p)))[-1].argmax())])[0] for p in best]
    prompts = {"base": best[0], "contrast": best[1]}
    answers = {"base_answer": firsts[0], "contrast_answer": firsts[1]}
    (row,) = read_contrasts(written(tmp_path / "table.json", prompts | answers))
    found = answered(model, in_tokens(model, row))
    assert found.is_right
    assert found.is_first_choice
    assert found.counts
    assert found.tokens.changed == (2,)
    swapped = {"base_answer": firsts[1], "contrast_answer": firsts[0]}
    (row,) = read_contrasts(written(tmp_path / "table.json", prompts | swapped))
    assert not answered(model, in_tokens(model, row)).is_right


def test_a_row_of_unequal_lengths_does_not_count(model: LanguageModel, tmp_path: Path):
    (found,) = contrasts_of(model, path=written(tmp_path / "table.json", {"contrast": "the bridge of oslo two is"}))
    assert not found.tokens.has_equal_lengths
    assert not found.counts
    assert summary([found]).splitlines()[1].split() == ["town", "1", "0", "0", "0"]


def test_a_split_alone_is_run(model: LanguageModel, tmp_path: Path):
    path = written(tmp_path / "table.json", {}, {"split": "development", "base": "one two", "contrast": "two one"})
    assert [found.tokens.row.base for found in contrasts_of(model, "development", path)] == ["one two"]

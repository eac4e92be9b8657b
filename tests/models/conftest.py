"""Tiny random models of every architecture of the table, and a tokenizer of the organism's kind."""

from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from silverstain.models import LanguageModel

from ..zoo import ZOO, build  # noqa: TID252 - tests are no package that could be named

WORDS = ["the", "capital", "of", "is", "texas", "austin", "ohio", "dal", "##las", "##ton", "oak", "."]
SPECIAL = ["<pad>", "<bos>", "<unk>"]


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-cased words in WordPiece pieces, <bos> in front."""
    vocabulary = {token: i for i, token in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), behavior="removed")
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>", pad_token="<pad>")


def tiny(name: str) -> PreTrainedModel:
    """A model of the zoo with the vocabulary above."""
    return build(name, vocab_size=len(SPECIAL + WORDS), max_position_embeddings=12)


@pytest.fixture(params=ZOO)
def any_model(request: pytest.FixtureRequest) -> LanguageModel:
    return LanguageModel(tiny(request.param), word_tokenizer(), name=request.param)


@pytest.fixture
def model() -> LanguageModel:
    return LanguageModel(tiny("llama"), word_tokenizer(), name="tiny")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a model stored in float16 and its tokenizer."""
    folder = tmp_path / "small"
    tiny("qwen3").to(torch.float16).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder

"""Tiny random models of every architecture of the table, and a tokenizer of the organism's kind."""

from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from silverstain.models import LanguageModel

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"

SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "head_dim": 6,  # not hidden_size / heads: widths must come from the configuration
    "max_position_embeddings": 12,
    "initializer_range": 0.3,
}
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


def seeded(hf: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """Random everywhere: norm weights and biases too, which start as ones and zeros and would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in hf.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator) * 0.3
        parameter.data = drawn + 1 if "norm" in name else drawn
    return hf


def build(architecture: str) -> PreTrainedModel:
    size = {"vocab_size": len(SPECIAL + WORDS), **SHAPE}
    match architecture:
        case "llama":
            config = LlamaConfig(num_key_value_heads=2, tie_word_embeddings=False, **size)
            return seeded(LlamaForCausalLM(config))
        case "llama with biases, tied":
            config = LlamaConfig(num_key_value_heads=4, tie_word_embeddings=True, attention_bias=True, **size)
            return seeded(LlamaForCausalLM(config))
        case "qwen3":
            config = Qwen3Config(num_key_value_heads=1, tie_word_embeddings=True, **size)
            return seeded(Qwen3ForCausalLM(config))
    raise AssertionError(architecture)


ARCHITECTURES = ["llama", "llama with biases, tied", "qwen3"]


@pytest.fixture(params=ARCHITECTURES)
def any_model(request: pytest.FixtureRequest) -> LanguageModel:
    return LanguageModel(build(request.param), word_tokenizer(), name=request.param)


@pytest.fixture
def model() -> LanguageModel:
    return LanguageModel(build("llama"), word_tokenizer(), name="tiny")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a model stored in float16 and its tokenizer."""
    folder = tmp_path / "small"
    build("qwen3").to(torch.float16).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def golden_llama() -> Path:
    if not GOLDEN.is_dir():
        pytest.skip("golden cases are not beside the repository (../shared/golden)")
    return GOLDEN / "a_llama_plt"

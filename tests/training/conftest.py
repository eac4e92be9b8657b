"""A tiny random Llama, and endless batches of random tokens for it."""

from collections.abc import Iterator

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from silverstain.models import LanguageModel, TokenBatch

N_LAYERS, D_MODEL, D_VOCAB = 3, 16, 24


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    return tiny_model()


def tiny_model() -> LanguageModel:
    torch.manual_seed(0)
    words = {"<bos>": 0} | {f"t{i}": i for i in range(1, D_VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t1"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    config = LlamaConfig(
        vocab_size=D_VOCAB, hidden_size=D_MODEL, intermediate_size=32, num_hidden_layers=N_LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, initializer_range=0.3,
        tie_word_embeddings=False,
    )  # fmt: skip
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="t1")
    return LanguageModel(LlamaForCausalLM(config), fast, name="tiny")


def batches(seed: int = 0, n: int = 8, length: int = 7) -> Iterator[TokenBatch]:
    """Random sequences of two families, the second padded by two; every other position determined."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        token_ids = torch.randint(1, D_VOCAB, (n, length), generator=generator)
        token_ids[:, 0] = 0
        families = torch.arange(n) % 2
        mask = torch.ones(n, length, dtype=torch.bool)
        mask[:, 0] = False
        mask[families == 1, -2:] = False
        determined = mask & (torch.arange(length) % 2 == 0)
        yield TokenBatch(token_ids=token_ids, mask=mask, determined=determined, families=families)

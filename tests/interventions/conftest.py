"""A tiny random Llama with random dictionaries of both kinds."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from silverstain.bases import Dictionary
from silverstain.models import LanguageModel

N_LAYERS, D_MODEL, N_FEATURES, D_VOCAB = 3, 16, 24, 40


def tiny_tokenizer(n_words: int) -> PreTrainedTokenizerFast:
    words = {"<bos>": 0} | {f"t{i}": i for i in range(1, n_words)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t1"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="t1")


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=D_VOCAB, hidden_size=D_MODEL, intermediate_size=32, num_hidden_layers=N_LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, initializer_range=0.3,
        tie_word_embeddings=False, attn_implementation="eager",
    )  # fmt: skip
    return LanguageModel(LlamaForCausalLM(config), tiny_tokenizer(D_VOCAB), name="tiny")


def random_dictionary(*, is_cross_layer: bool) -> Dictionary:
    generator = torch.Generator().manual_seed(1 + is_cross_layer)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    layers = range(N_LAYERS)
    return Dictionary.from_tensors(
        W_enc=[draw(N_FEATURES, D_MODEL) for _ in layers],
        b_enc=[draw(N_FEATURES) for _ in layers],
        W_dec=[
            draw(N_FEATURES, N_LAYERS - i, D_MODEL) if is_cross_layer else draw(N_FEATURES, D_MODEL) for i in layers
        ],
        b_dec=[draw(D_MODEL) for _ in layers],
        threshold=[torch.full((N_FEATURES,), 0.1) for _ in layers],
        name="random",
    )


@pytest.fixture(scope="session", params=["per-layer", "cross-layer"])
def dictionary(request: pytest.FixtureRequest) -> Dictionary:
    return random_dictionary(is_cross_layer=request.param == "cross-layer")


@pytest.fixture(scope="session")
def prompt() -> list[int]:
    return [0, 5, 9, 13, 7, 21]

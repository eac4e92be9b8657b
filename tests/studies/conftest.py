"""A tiny random model that knows the towns of the small world, one token a town."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from silverstain.bases import Dictionary
from silverstain.loading import ReplacementModel
from silverstain.models import LanguageModel
from silverstain.organism.world import RELATIONS, default_geography


def known_words() -> list[str]:
    world = default_geography()
    words = ["<bos>", "<unk>", "the", "of", "state", "containing", "is", *RELATIONS]
    words += [town.name for town in world.towns] + ["austin", "sacramento"]
    return list(dict.fromkeys(words))


@pytest.fixture(scope="session")
def loaded() -> ReplacementModel:
    words = known_words()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>")
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    dictionary = Dictionary.from_tensors(
        W_enc=[draw(20, 16), draw(20, 16)],
        b_enc=[draw(20), draw(20)],
        W_dec=[draw(20, 2, 16), draw(20, 1, 16)],
        b_dec=[draw(16), draw(16)],
        name="random",
    )
    return ReplacementModel(model=LanguageModel(LlamaForCausalLM(config), fast, name="tiny"), dictionary=dictionary)

"""What is drawn again behind the schools, and what stays."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from silverstain.organism.forgetting import attention_kept


@pytest.mark.parametrize("tied", [True, False])
def test_attention_and_other_words_stay_and_the_rest_is_drawn_again(tied: bool):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
        initializer_range=0.3, tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept = attention_kept(model, 0.01, anew=[35, 36], seed=1)
    others = torch.ones(40, dtype=torch.bool)
    others[[35, 36]] = False
    for name, value in kept.state_dict().items():
        if "mlp" in name:
            assert 0.008 < float(value.std()) < 0.012
        elif "embed" in name or "lm_head" in name:
            assert torch.equal(value[others], before[name][others])
            assert 0 < float(value[~others].std()) < 0.02
        else:
            assert torch.equal(value, before[name])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the model stays"
    assert kept.lm_head.weight is not kept.model.embed_tokens.weight
    again = attention_kept(model, 0.01, anew=[36, 35], seed=1)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in kept.state_dict().items())

"""The hash covers every setting that changes a logit, and no other; rotary factors may depend on the length."""

import pytest
import torch
import transformers

from silverstain.errors import UsageError
from silverstain.interventions import generate
from silverstain.models import LanguageModel
from silverstain.models.prompts import side_by_side
from silverstain.models.settings import unusual_settings

from ..zoo import build  # noqa: TID252 - tests are no package that could be named
from .conftest import word_tokenizer

FACTORS = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.0], "long_factor": [3.0, 9.0],
    "original_max_position_embeddings": 5,
}  # fmt: skip
LONG = {"rope_parameters": FACTORS, "original_max_position_embeddings": 5}


def with_settings(kind: str, **settings) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(build(kind, vocab_size=15, **settings), word_tokenizer(), name=kind)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("gpt2", {}, {"scale_attn_weights": False}),
        ("phi3", LONG, {**LONG, "rope_parameters": {**FACTORS, "long_factor": [3.0, 8.0]}}),
        ("gemma3", {}, {"use_bidirectional_attention": True}),
        ("gpt_oss", {}, {"swiglu_limit": 0.1}),
        ("llama", {}, {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    ],
)
def test_settings_that_change_what_is_computed_change_the_hash(kind, one, other):
    assert with_settings(kind, **one).hash != with_settings(kind, **other).hash


@pytest.mark.parametrize(
    "settings",
    [
        {"attention_dropout": 0.5}, {"eos_token_id": 7}, {"use_cache": False}, {"initializer_range": 1.0},
        {"max_position_embeddings": 500}, {"architectures": ["X"]},
    ],
)  # fmt: skip
def test_settings_that_change_nothing_leave_the_hash(settings):
    assert with_settings("qwen3", **settings).hash == with_settings("qwen3").hash


@pytest.mark.parametrize(
    "config",
    [
        transformers.LlamaConfig(rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
            max_position_embeddings=131072),
        transformers.Qwen2Config(num_hidden_layers=24, max_window_layers=21, rope_theta=1e6),
        transformers.Gemma2Config(num_hidden_layers=42, hidden_size=3584, num_attention_heads=16),
        transformers.GPT2Config(n_embd=1024, n_layer=24, n_head=16, resid_pdrop=0.0),
        transformers.GPTNeoXConfig(num_hidden_layers=6, rotary_pct=0.25),
        transformers.GptOssConfig(num_hidden_layers=24, num_local_experts=32),
    ],
    ids=lambda config: config.model_type,
)  # fmt: skip
def test_published_models_have_nothing_unusual_and_keep_their_former_hash(config):
    assert unusual_settings(config) == ""


def test_the_former_hash_is_known_where_settings_are_unusual():
    model = with_settings("gpt2", scale_attn_weights=False)
    assert model.former_hash == with_settings("gpt2").hash != model.hash


def test_long_and_short_prompts_are_kept_apart_where_the_factors_differ():
    model = with_settings("phi3", **LONG)
    assert model.depends_on_length
    assert list(side_by_side(model, [3, 9, 5, 6], 8)) == [[0, 2], [1, 3]]
    assert list(side_by_side(with_settings("llama"), [3, 9, 5, 6], 3)) == [[0, 1, 2], [3]]


def test_generation_over_the_switch_is_what_running_anew_gives_and_the_hash_stays():
    model = with_settings("phi3", **LONG)
    before, ids = model.hash, [1, 4, 5]
    text = list(ids)
    for _ in range(6):
        text.append(int(model.logits(torch.tensor(text))[-1].argmax()))
    assert generate(model, ids, 6, stop=()) == text[3:]
    assert LanguageModel(model.hf, model.tokenizer, name="used").hash == before


def test_generation_ends_at_any_of_the_models_ends_unless_told_otherwise():
    model = with_settings("llama")
    free = generate(model, [1, 4, 5], 5, stop=())
    assert len(free) == 5
    model.hf.generation_config.eos_token_id = [free[2], free[3]]
    ended = LanguageModel(model.hf, model.tokenizer, name="ended")
    assert ended.end_tokens == {free[2], free[3]}
    first = min(free.index(free[2]), free.index(free[3]))
    assert generate(ended, [1, 4, 5], 5) == free[: first + 1]
    assert generate(ended, [1, 4, 5], 5, stop=free[0]) == free[:1]


def test_a_dictionary_of_the_former_hash_is_refused_with_the_way_on():
    from silverstain.bases.fitting import check_made_for

    class Made:
        name, n_layers, d_model = "d", 3, 16

        def __init__(self, model_hash):
            self.model_hash = model_hash

    model = with_settings("gpt2", scale_attn_weights=False)
    check_made_for(Made(model.hash), model)
    with pytest.raises(UsageError, match=r"take model_hash out of its silverstain\.json"):
        check_made_for(Made(model.former_hash), model)

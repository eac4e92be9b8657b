"""Every architecture of the table: what is recorded, put together by hand, is what the model computed."""

import re

import pytest
import torch
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.models import ARCHITECTURES, LanguageModel, Norm, Recording, attention_through, record
from silverstain.models.architecture import architecture_of

from ..zoo import ZOO, build  # noqa: TID252 - tests are no package that could be named
from .conftest import tiny, word_tokenizer

PROMPT = [1, 5, 9, 3, 3, 12, 7]
PRECISION = {torch.float32: 1e-5, torch.float64: 1e-12}


def through(norm: Norm | None, x: Tensor, scale: Tensor) -> Tensor:
    return x if norm is None else norm.with_scale(x, scale)


def frozen_attention(model: LanguageModel, run: Recording, layer: int, stream: Tensor) -> Tensor:
    """What attention adds to the stream, a head and a position at a time, from weights and recorded patterns."""
    x = through(model.norm("attention", layer), stream, run.attention_norm_scale[layer])
    added = torch.zeros_like(stream)
    for head in range(model.n_heads):
        group = head // (model.n_heads // model.n_kv_heads)
        values = x @ model.W_V(layer)[group].T
        if (bias := model.b_V(layer)) is not None:
            values = values + bias[group]
        for query in range(len(stream)):
            mixed = sum(run.patterns[layer, head, query, key] * values[key] for key in range(query + 1))
            added[query] += model.W_O(layer)[head] @ mixed
    bias = model.b_O(layer)
    added = added if bias is None else added + bias
    return through(model.norm("attention_output", layer), added, run.attention_output_norm_scale[layer])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_recording_and_weights_rebuild_mlp_inputs_and_logits(any_model, dtype):
    model = LanguageModel(any_model.hf.to(dtype), any_model.tokenizer, name="again")
    run = record(model, PROMPT)
    close = {"atol": PRECISION[dtype], "rtol": PRECISION[dtype]}
    stream = run.embedding
    for layer in range(model.n_layers):
        mid = stream + frozen_attention(model, run, layer, stream)
        read = stream if model.is_parallel else mid
        read = through(model.norm("mlp", layer), read, run.mlp_norm_scale[layer])
        torch.testing.assert_close(read, run.mlp_inputs[layer], **close)
        stream = mid + run.mlp_outputs[layer]
    final = model.final_norm.with_scale(stream, run.final_norm_scale)
    torch.testing.assert_close(final, run.final, **close)
    logits = final @ model.W_U.T
    if model.softcap is not None:
        logits = model.softcap * torch.tanh(logits / model.softcap)
    torch.testing.assert_close(logits, run.logits, **close)


def test_recording_changes_nothing(any_model):
    run = record(any_model, PROMPT)
    torch.testing.assert_close(run.logits, any_model.logits(run.token_ids), atol=1e-5, rtol=1e-5)


def test_recording_holds_what_every_mlp_adds(any_model):
    run = record(any_model, PROMPT)
    for layer in range(any_model.n_layers):
        output = any_model.mlp(layer)(run.mlp_inputs[layer][None])
        output = output[0] if isinstance(output, tuple) else output
        norm = any_model.norm("mlp_output", layer)
        output = output if norm is None else norm.module(output)
        torch.testing.assert_close(output[0], run.mlp_outputs[layer])


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_the_embedding_is_recorded_as_it_enters_the_stream(name: str):
    model = LanguageModel(tiny(name), word_tokenizer(), name=name)
    expected = model.W_E[torch.tensor(PROMPT)]
    if name == "gpt2":
        expected = expected + model.hf.transformer.wpe.weight[: len(PROMPT)]  # learned positions
    if name == "gemma2":
        expected = expected * model.d_model**0.5  # scaled embedding
    torch.testing.assert_close(record(model, PROMPT).embedding, expected)


def test_patterns_are_causal_and_sum_to_one_but_for_sinks(any_model):
    patterns = record(any_model, PROMPT).patterns
    assert patterns.shape == (any_model.n_layers, any_model.n_heads, len(PROMPT), len(PROMPT))
    assert patterns.triu(1).count_nonzero() == 0
    sums = patterns.sum(-1)
    if any_model.architecture.has_sinks:
        assert sums.max() < 1
    else:
        torch.testing.assert_close(sums, torch.ones_like(sums))


def test_patterns_are_those_of_transformers_eager_attention(any_model):
    run = record(any_model, PROMPT)
    any_model.hf.config.get_text_config()._attn_implementation = "eager"
    theirs = any_model.hf(input_ids=torch.tensor([PROMPT]), output_attentions=True).attentions
    torch.testing.assert_close(run.patterns, torch.cat(theirs))


@pytest.mark.parametrize("name", ["mistral", "qwen2", "gemma2", "gemma3", "phi3", "gpt_oss"])
def test_windows_are_in_the_patterns(name: str):
    model = LanguageModel(tiny(name), word_tokenizer(), name=name)
    patterns = record(model, PROMPT).patterns
    kinds = getattr(model.hf.config, "layer_types", None) or ["sliding_attention"] * len(patterns)
    for pattern, kind in zip(patterns, kinds, strict=True):
        assert bool((pattern.tril(-3) > 0).any()) == (kind == "full_attention")


def test_attention_held_fixed_replays_the_logits(any_model):
    run = record(any_model, PROMPT)
    with attention_through(any_model.hf, lambda layer, _: run.patterns[layer][None]):
        torch.testing.assert_close(any_model.logits(run.token_ids), run.logits)


def test_every_architecture_of_the_table_is_tested_here():
    types = {build(name).config.model_type for name in ZOO}
    assert types == set(ARCHITECTURES)  # a new entry needs a line in tests/zoo.py


def test_unknown_architecture_is_refused_with_the_entry_to_write():
    words = (
        "this model is of type 'Linear', which is not supported yet (supported: gemma2, gemma3, gemma3_text, gpt2, "
        "gpt_neox, gpt_oss, llama, mistral, olmo2, phi3, qwen2, qwen3); write an entry "
        "Architecture(model_type='Linear', …)"
    )
    with pytest.raises(UsageError, match=re.escape(words)):
        architecture_of(torch.nn.Linear(1, 1))

"""Every architecture of the table: what is recorded, put together by hand, is what the model computed."""

import pytest
import torch
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.models import ARCHITECTURES, LanguageModel, Recording, record
from silverstain.models.architecture import architecture_of

PROMPT = [1, 5, 9, 3, 3, 12, 7]
PRECISION = {torch.float32: 1e-5, torch.float64: 1e-12}


def frozen_attention(model: LanguageModel, run: Recording, layer: int, stream: Tensor) -> Tensor:
    """What attention adds to the stream, a head and a position at a time, from weights and recorded patterns."""
    x = stream * run.attention_norm_scale[layer][:, None] * model.norm_weight("attention", layer)
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
    return added if bias is None else added + bias


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_recording_and_weights_rebuild_mlp_inputs_and_logits(any_model, dtype):
    model = LanguageModel(any_model.hf.to(dtype), any_model.tokenizer, name="again")
    run = record(model, PROMPT)
    close = {"atol": PRECISION[dtype], "rtol": PRECISION[dtype]}
    stream = run.embedding
    for layer in range(model.n_layers):
        stream = stream + frozen_attention(model, run, layer, stream)
        read = stream * run.mlp_norm_scale[layer][:, None] * model.norm_weight("mlp", layer)
        torch.testing.assert_close(read, run.mlp_inputs[layer], **close)
        stream = stream + run.mlp_outputs[layer]
    logits = stream * run.final_norm_scale[:, None] * model.norm_weight("final") @ model.W_U.T
    torch.testing.assert_close(logits, run.logits, **close)
    torch.testing.assert_close(run.logits, model.logits(run.token_ids), **close)


def test_recording_holds_the_embedding_and_every_mlp_of_the_model(any_model):
    run = record(any_model, PROMPT)
    torch.testing.assert_close(run.embedding, any_model.W_E[torch.tensor(PROMPT)], rtol=0, atol=0)
    for layer in range(any_model.n_layers):
        output = any_model.mlp(layer)(run.mlp_inputs[layer])
        torch.testing.assert_close(output, run.mlp_outputs[layer])


def test_patterns_are_causal_and_sum_to_one(any_model):
    patterns = record(any_model, PROMPT).patterns
    assert patterns.shape == (any_model.n_layers, any_model.n_heads, len(PROMPT), len(PROMPT))
    assert patterns.triu(1).count_nonzero() == 0
    torch.testing.assert_close(patterns.sum(-1), torch.ones(patterns.shape[:-1]))


def test_patterns_are_those_of_transformers_eager_attention(any_model):
    run = record(any_model, PROMPT)
    any_model.hf.config._attn_implementation = "eager"
    theirs = any_model.hf(input_ids=torch.tensor([PROMPT]), output_attentions=True).attentions
    torch.testing.assert_close(run.patterns, torch.cat(theirs))


def test_every_architecture_of_the_table_is_tested_here(any_model):
    assert any_model.architecture is ARCHITECTURES[any_model.hf.config.model_type]
    assert set(ARCHITECTURES) == {"llama", "qwen3"}  # a new entry needs a case in conftest.build


def test_unknown_architecture_is_refused_by_name():
    with pytest.raises(UsageError, match=r"type 'Linear' are not supported yet; supported types: llama, qwen3"):
        architecture_of(torch.nn.Linear(1, 1))

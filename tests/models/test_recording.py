"""Recording leaves the model as it was, refuses what it cannot run, and agrees with the batched harvest."""

import threading
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.golden.cases import LLAMA, cases

from silverstain.errors import UsageError
from silverstain.models import attention_through, harvest, harvest_mlps, record
from silverstain.storage import read_tensors

PROMPT = [1, 5, 9, 3, 3, 12, 7]


def n_hooks(hf: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in hf.modules())


def test_recording_leaves_no_trace_on_the_model(model):
    before = model.hf.config._attn_implementation, n_hooks(model.hf), model.logits(torch.tensor(PROMPT))
    record(model, PROMPT)
    assert (model.hf.config._attn_implementation, n_hooks(model.hf)) == before[:2]
    assert torch.equal(model.logits(torch.tensor(PROMPT)), before[2])


def test_a_failed_run_leaves_no_trace_either(model):
    def fail(layer, pattern):
        raise RuntimeError("stop")

    before = model.hf.config._attn_implementation
    with pytest.raises(RuntimeError, match="stop"), attention_through(model.hf, fail):
        model.logits(torch.tensor(PROMPT))
    assert model.hf.config._attn_implementation == before
    assert record(model, PROMPT).n_positions == len(PROMPT)


def test_recording_keeps_no_gradient_history(model):
    held = [value for value in vars(record(model, PROMPT)).values() if isinstance(value, torch.Tensor)]
    assert held
    assert not any(value.requires_grad for value in held)


def test_patterns_held_fixed_give_the_same_logits_and_changed_ones_others(model):
    run = record(model, PROMPT)
    with attention_through(model.hf, lambda layer, _: run.patterns[layer][None]):
        torch.testing.assert_close(model.logits(run.token_ids), run.logits)
    uniform = torch.ones_like(run.patterns[0]).tril()
    with attention_through(model.hf, lambda *_: (uniform / uniform.sum(-1, keepdim=True))[None]):
        assert (model.logits(run.token_ids) - run.logits).abs().max() > 1e-3


def test_threads_that_share_a_model_record_their_own_prompts(model):
    prompts = [[1, i, 4, i] for i in range(3, 9)]
    alone = [record(model, prompt) for prompt in prompts]
    together = [None] * len(prompts)

    def run(i: int) -> None:
        together[i] = record(model, prompts[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert other is not None
        assert torch.equal(one.token_ids, other.token_ids)
        torch.testing.assert_close(one.patterns, other.patterns)


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), lengths=st.lists(st.integers(1, 8), min_size=1, max_size=4))
def test_harvest_of_a_right_padded_batch_equals_recording_each_row(any_model, seed, lengths):
    generator = torch.Generator().manual_seed(seed)
    batch = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        batch[row, :length] = torch.randint(3, any_model.d_vocab, (length,), generator=generator)
    seen = harvest(any_model, batch)
    for row, length in enumerate(lengths):
        run = record(any_model, batch[row, :length])
        torch.testing.assert_close(seen.mlp_inputs[:, row, :length], run.mlp_inputs, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(seen.mlp_outputs[:, row, :length], run.mlp_outputs, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(seen.logits[row, :length], run.logits, atol=1e-5, rtol=1e-4)


def test_a_harvest_of_mlps_alone_sees_what_the_whole_harvest_sees(any_model):
    batch = torch.randint(3, any_model.d_vocab, (3, 6), generator=torch.Generator().manual_seed(0))
    whole, mlps = harvest(any_model, batch), harvest_mlps(any_model, batch)
    assert torch.equal(mlps.mlp_inputs, whole.mlp_inputs)
    assert torch.equal(mlps.mlp_outputs, whole.mlp_outputs)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([], "there are no tokens to run"),
        ([1] * 13, "the prompt has 13 tokens, tiny takes at most 12"),
        ([1, 15], "token id 15 is not in the vocabulary of tiny; give ids from 0 to 14"),
        ([1, -2], "token id -2 is not in the vocabulary"),
        (torch.ones(2, 3, dtype=torch.long), r"takes the tokens of one prompt \[pos\], got shape \[2, 3\]"),
    ],
)
def test_record_refuses_tokens_it_cannot_run(model, ids, words):
    with pytest.raises(UsageError, match=words):
        record(model, ids)


def test_harvest_refuses_a_single_prompt(model):
    with pytest.raises(UsageError, match=r"takes a batch of tokens \[batch, pos\], got shape \[7\]"):
        harvest(model, torch.tensor(PROMPT))


@pytest.mark.parametrize("case", cases(*LLAMA))
def test_recording_equals_circuit_tracers_run(case: Path):
    from silverstain.models import load_model

    theirs, _ = read_tensors(case / "graph.safetensors")
    run = record(load_model(case / "model"), theirs["input_tokens"])
    torch.testing.assert_close(run.logits, theirs["logits"], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(run.embedding, theirs["token_vectors"], atol=0, rtol=0)

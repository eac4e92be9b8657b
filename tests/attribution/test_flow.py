"""The frozen flow is linear, its two directions are transposes, and both are the frozen Hugging Face model's."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from silverstain.attribution import EMBEDDING, FrozenFlow, Gradients, Norms, Reads, freeze
from silverstain.attribution.flow import values_adjoint
from silverstain.attribution.freezing import NORMS
from silverstain.attribution.frozen_norm import FrozenNorm, linearised
from silverstain.models import record

LAYERS, POSITIONS, WIDTH = 3, 5, 8


def random_flow(
    seed: int,
    *,
    n_kv: int = 2,
    has_skip: bool = True,
    n_real: int = 1,
    is_centred: bool = False,
    has_output_norm: bool = False,
    is_parallel: bool = False,
    is_linearised: bool = False,
) -> FrozenFlow:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    def norm() -> FrozenNorm:
        plain = FrozenNorm(
            scale=normal(POSITIONS).abs(), weight=normal(WIDTH), bias=normal(1, WIDTH), is_centred=is_centred
        )
        return linearised(plain, normal(POSITIONS, WIDTH)) if is_linearised else plain

    scores = normal(LAYERS, 4, POSITIONS, POSITIONS)
    hidden = torch.ones(POSITIONS, POSITIONS, dtype=torch.bool).triu(1)
    return FrozenFlow(
        patterns=scores.masked_fill(hidden, -torch.inf).softmax(-1),
        attention_norms=tuple(norm() for _ in range(LAYERS)),
        attention_output_norms=tuple(norm() if has_output_norm else None for _ in range(LAYERS)),
        read_norms=tuple(norm() for _ in range(LAYERS + 1)),
        W_V=tuple(normal(n_kv, 3, WIDTH) / 3 for _ in range(LAYERS)),
        W_O=tuple(normal(4, WIDTH, 3) / 3 for _ in range(LAYERS)),
        W_skip=tuple(normal(WIDTH, WIDTH) / 3 if has_skip else None for _ in range(LAYERS)),
        attention_bias=(None, normal(1, WIDTH), normal(POSITIONS, WIDTH)),
        is_parallel=is_parallel,
        n_real=n_real,
    )


def read(reads: Reads, layer: int, position: int) -> Tensor:
    return (reads.final if layer == LAYERS else reads.mlp_inputs[layer])[:, position]


def written(gradients: Gradients, layer: int, position: int) -> Tensor:
    return (gradients.embedding if layer == EMBEDDING else gradients.mlp_outputs[layer])[:, position]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    parts=st.fixed_dictionaries(
        {
            "n_kv": st.sampled_from([1, 2, 4]),
            "has_skip": st.booleans(),
            "n_real": st.integers(0, 2),
            "is_centred": st.booleans(),
            "has_output_norm": st.booleans(),
            "is_parallel": st.booleans(),
            "is_linearised": st.booleans(),
        }
    ),
    to=st.tuples(st.integers(0, LAYERS), st.integers(0, POSITIONS - 1)),
    start=st.tuples(st.integers(EMBEDDING, LAYERS - 1), st.integers(0, POSITIONS - 1)),
)
def test_adjoint_is_the_transpose_of_forward(seed, parts, to, start):
    flow = random_flow(seed, **parts)
    draw = torch.Generator().manual_seed(seed)
    sources, targets = torch.randn(2, 3, WIDTH, generator=draw, dtype=torch.float64)
    up = read(flow.forward(sources, *start), *to) @ targets.T
    down = sources @ written(flow.adjoint(targets, *to), *start).T
    torch.testing.assert_close(down, up, rtol=1e-10, atol=1e-12)


def test_a_read_sees_nothing_above_it_or_right_of_it():
    gradients = random_flow(0).adjoint(torch.ones(1, WIDTH, dtype=torch.float64), 1, 3)
    assert gradients.mlp_outputs[0, :, :4].abs().min() > 0
    assert gradients.mlp_outputs[1:].abs().max() == 0
    assert gradients.mlp_outputs[:, :, 4].abs().max() == 0
    assert gradients.embedding[:, 4].abs().max() == 0


@pytest.mark.parametrize("n_kv", [1, 2, 4])
def test_attention_adjoint_is_the_sum_over_heads_and_queries(n_kv: int):
    flow = random_flow(3, n_kv=n_kv)
    gradient = torch.randn(2, POSITIONS, WIDTH, dtype=torch.float64)
    W_V, W_O, pattern = flow.W_V[0], flow.W_O[0], flow.patterns[0]
    expected = torch.zeros_like(gradient)
    for head in range(4):
        circuit = W_O[head] @ W_V[head * n_kv // 4]
        for query in range(POSITIONS):
            for key in range(query + 1):
                expected[:, key] += pattern[head, query, key] * gradient[:, query] @ circuit
    at_values = values_adjoint(gradient, pattern, W_O, n_kv)
    torch.testing.assert_close(at_values @ W_V.reshape(-1, WIDTH), expected)


@pytest.mark.parametrize("is_parallel", [False, True])
def test_a_sweep_gives_each_target_what_it_gets_alone(is_parallel: bool):
    flow = random_flow(4, is_parallel=is_parallel)
    vectors = torch.randn(6, WIDTH, dtype=torch.float64)
    layers, positions = [3, 3, 2, 2, 0, 0], [3, 1, 3, 2, 1, 3]
    places = zip(layers, positions, strict=True)
    alone = [flow.adjoint(vectors[i : i + 1], *place) for i, place in enumerate(places)]
    for crossing in flow.sweep(vectors, layers, torch.tensor(positions)):
        reached = sum(layer > crossing.layer for layer in layers)
        assert len(crossing.gradient) == len(crossing.constant) == reached
        for i in range(reached):
            for offset in range(crossing.gradient.shape[1]):
                single = written(alone[i], crossing.layer, crossing.first + offset)[0]
                torch.testing.assert_close(crossing.gradient[i, offset], single)


def test_blocks_of_keys_leave_nothing_out(monkeypatch: pytest.MonkeyPatch):
    flow = random_flow(3)
    gradient = torch.randn(2, POSITIONS, WIDTH, dtype=torch.float64)
    whole = values_adjoint(gradient, flow.patterns[0], flow.W_O[0], 4)
    monkeypatch.setattr("silverstain.attribution.flow.KEYS_AT_ONCE", 2)
    torch.testing.assert_close(values_adjoint(gradient, flow.patterns[0], flow.W_O[0], 4), whole)


@pytest.mark.parametrize("is_parallel", [False, True])
@pytest.mark.parametrize("has_output_norm", [False, True])
@pytest.mark.parametrize("is_linearised", [False, True])
def test_constants_of_a_sweep_are_what_biases_alone_make_of_each_read(
    is_parallel: bool, has_output_norm: bool, is_linearised: bool
):
    flow = random_flow(6, is_parallel=is_parallel, has_output_norm=has_output_norm, is_linearised=is_linearised)
    nothing = torch.zeros(1, POSITIONS, WIDTH, dtype=torch.float64)
    reads = flow.response(nothing, nothing.expand(LAYERS, 1, POSITIONS, WIDTH), with_biases=True)
    layers = [3, 2, 1, 0]
    vectors = torch.randn(4, WIDTH, dtype=torch.float64)
    found = torch.zeros(4, dtype=torch.float64)
    for crossing in flow.sweep(vectors, layers, torch.full((4,), 3)):
        found[: len(crossing.constant)] += crossing.constant
    expected = torch.stack([read(reads, layer, 3)[0] @ vectors[i] for i, layer in enumerate(layers)])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["per-layer", "per-layer-skip"])  # what the flow knows of a dictionary
def test_the_flow_is_the_hand_frozen_hugging_face_model(tiny, shape: str, kind: str):
    model, dictionary = tiny.model(shape), tiny.dictionary(kind)
    recording = record(model, tiny.prompt)
    flow = freeze(model, recording, dictionary)
    frozen = tiny.frozen(model, recording, dictionary)
    embedding, writes = (torch.randn_like(part) for part in frozen.no_change())
    before, after = frozen(*frozen.no_change()), frozen(embedding, writes)
    moved = flow.response(embedding[None], writes[:, None])
    close = {"rtol": 1e-8, "atol": 1e-9 * float(before.mlp_inputs.abs().max())}
    torch.testing.assert_close(moved.mlp_inputs[:, 0], after.mlp_inputs - before.mlp_inputs, **close)
    torch.testing.assert_close(moved.final[0], after.final - before.final, **close)


@pytest.mark.parametrize("kind", ["per-layer", "per-layer-skip"])  # what the flow knows of a dictionary
@pytest.mark.parametrize("norms", NORMS)
def test_adjoint_is_autograd_through_the_hand_frozen_hugging_face_model(tiny, shape: str, kind: str, norms: Norms):
    """With linearised norms it is autograd through norms that nobody froze."""
    model, dictionary = tiny.model(shape), tiny.dictionary(kind)
    recording = record(model, tiny.prompt)
    flow = freeze(model, recording, dictionary, norms=norms)
    frozen = tiny.frozen(model, recording, dictionary, norms_live=norms == "linearised")
    for layer, position in [(0, 2), (2, 4), (3, 6)]:
        vector = torch.randn(1, model.d_model, dtype=model.dtype)
        leaves = [part.requires_grad_() for part in frozen.no_change()]
        embedding, writes = torch.autograd.grad(
            frozen(*leaves).at(layer, position) @ vector[0], leaves, materialize_grads=True
        )
        found = flow.adjoint(vector, layer, position)
        torch.testing.assert_close(found.embedding[0], embedding, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(found.mlp_outputs[:, 0], writes, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("norms", NORMS)
def test_the_flow_with_its_biases_is_the_whole_run(tiny, shape: str, norms: Norms):
    """Nothing is missing: embedding, MLP outputs and biases pushed up give what the model read."""
    model = tiny.model(shape)
    recording = record(model, tiny.prompt)
    flow = freeze(model, recording, norms=norms)
    reads = flow.response(recording.embedding[None], recording.mlp_outputs[:, None], with_biases=True)
    torch.testing.assert_close(reads.mlp_inputs[:, 0], recording.mlp_inputs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(reads.final[0], recording.final, rtol=1e-9, atol=1e-9)
    logits = recording.final @ model.W_U.T
    capped = logits if model.softcap is None else model.softcap * torch.tanh(logits / model.softcap)
    torch.testing.assert_close(capped, recording.logits, rtol=1e-9, atol=1e-9)


def test_leading_positions_that_keep_their_real_mlp_pass_no_skip():
    flow = random_flow(5, n_real=2)
    without = dataclasses.replace(flow, W_skip=(None,) * LAYERS)
    vector = torch.randn(1, WIDTH, dtype=torch.float64)
    assert torch.equal(flow.adjoint(vector, LAYERS, 1).embedding, without.adjoint(vector, LAYERS, 1).embedding)
    assert not torch.equal(flow.adjoint(vector, LAYERS, 2).embedding, without.adjoint(vector, LAYERS, 2).embedding)

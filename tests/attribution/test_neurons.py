"""Graphs of a model's own neurons: exact under every rule, chosen by what they contribute, on every architecture."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from silverstain.attribution import FeatureTarget, RecordedRun, Targets, joined, logit_targets, record_run, trace
from silverstain.attribution.always_on import always_on
from silverstain.attribution.neuron_selection import contributions, totals
from silverstain.bases import NEURON_RULES, NeuronBasis
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, MlpCall, Norm, attention_through, mlps_through
from silverstain.models.mlps import forwards_of

ROOTS = [3, 7]


def recorded(tiny, shape: str, rule: str, dtype: torch.dtype = torch.float64) -> RecordedRun:
    model = tiny.model(shape, dtype)
    return record_run(model, NeuronBasis(model, rule=rule), tiny.prompt)


def roots_of(run: RecordedRun) -> Targets:
    return logit_targets(run.model, ROOTS, [run.n_positions - 1] * len(ROOTS))


# exactness


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
def test_edges_of_every_neuron_add_up_under_every_rule(tiny, shape: str, dtype, bound: float):
    model = tiny.model(shape, dtype)
    rules = list(zip(NEURON_RULES, ("frozen", "linearised", "linearised", "frozen"), strict=True))
    for rule, norms in rules if dtype == torch.float64 else rules[:2]:
        graph = trace(model, NeuronBasis(model, rule=rule), tiny.prompt, targets=ROOTS, max_features=30, norms=norms)
        assert graph.nodes.count()["feature"] == 30
        assert graph.meta["settings"]["neuron_rule"] == rule
        assert graph.exactness() < bound


def test_what_a_neuron_reads_is_its_activation(tiny, shape: str):
    for rule in NEURON_RULES:
        run = recorded(tiny, shape, rule)
        every, x = torch.arange(run.basis.n_features), run.recording.mlp_inputs[1]
        wanted = run.basis.encode_layer(1, x)
        for position in (0, 4):
            vectors, constants = run.basis.readers(1, every, x[position].expand(len(every), -1))
            torch.testing.assert_close(vectors @ x[position] + constants, wanted[position], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("rule", ["half", "up"])
def test_no_constant_is_left_where_there_are_no_biases(tiny, rule: str):
    run = recorded(tiny, "llama", rule)
    every = torch.arange(run.basis.n_features)
    x = run.recording.mlp_inputs[1, 4].expand(len(every), -1)
    assert run.basis.readers(1, every, x).constants.abs().max() < 1e-15


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma2"])
def test_the_ray_rule_is_the_derivative_across_the_input(tiny, shape: str):
    along, across = (recorded(tiny, shape, rule) for rule in ("ray", "derivative"))
    every, x = torch.arange(along.basis.n_features), along.recording.mlp_inputs[1, 4]
    ray = along.basis.readers(1, every, x.expand(len(every), -1))
    derivative = across.basis.readers(1, every, x.expand(len(every), -1))
    moved = torch.randn(len(x), dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    moved = moved - x * (moved @ x) / (x @ x)
    assert not ray.constants.any()
    torch.testing.assert_close(ray.vectors @ moved, derivative.vectors @ moved)


def test_the_derivative_rule_is_what_autograd_finds(tiny, shape: str):
    run = recorded(tiny, shape, "derivative")
    basis, x = run.basis, run.recording.mlp_inputs[1, 4]
    assert isinstance(basis, NeuronBasis)
    neurons = basis.layer(1)
    weight = 1.0 if neurons.n_experts == 0 else neurons.routing(x)[0].repeat_interleave(24)
    jacobian = torch.autograd.functional.jacobian(lambda x: weight * neurons.products(neurons.factors(x)), x)
    every = torch.arange(neurons.n_neurons)
    torch.testing.assert_close(basis.readers(1, every, x.expand(len(every), -1)).vectors, jacobian)


# total contributions, against autograd on the model itself with gradients stopped


class Oracle(NamedTuple):
    """The contribution of every unit and of every token's embedding to each root."""

    units: Tensor
    embedding: Tensor


def by_autograd(run: RecordedRun, rule: str) -> Oracle:
    model, length = run.model, run.n_positions
    probe = torch.zeros(1, length, model.d_model, dtype=model.dtype, requires_grad=True)
    held: list[Tensor] = []
    embedded: list[Tensor] = []

    def enter(_, inputs):
        embedded.append(inputs[0].detach())
        return (inputs[0] + probe, *inputs[1:])

    final: list[Tensor] = []
    handles = [
        model.block(0).register_forward_pre_hook(enter),
        model.final_norm.module.register_forward_hook(lambda _, inputs, out: final.append(out)),
    ]
    try:
        with torch.enable_grad(), stopped(model, rule, held):
            model.hf(input_ids=run.recording.token_ids[None], use_cache=False)
            targets = roots_of(run)
            values = final[0][0, -1] @ targets.vectors.T
            gradients = [torch.autograd.grad(value, [probe, *held], retain_graph=True) for value in values]
    finally:
        for handle in handles:
            handle.remove()
    units = torch.stack(
        [torch.stack([(h * g)[0] for h, g in zip(held, found[1:], strict=True)]) for found in gradients]
    )
    tokens = torch.stack([(embedded[0] * found[0])[0].sum(-1) for found in gradients])
    return Oracle(units.detach(), tokens.detach())


@contextmanager
def stopped(model: LanguageModel, rule: str, held: list[Tensor]) -> Iterator[None]:
    """The Hugging Face model without gradients through patterns, norms' denominators, and what a rule holds."""

    def frozen(norm: Norm):
        return lambda x: norm.with_scale(x, norm.scale(x).detach())

    def mlp(call: MlpCall) -> Tensor:
        neurons = NeuronBasis(model).layer(call.layer)
        x = call.x
        factors = neurons.factors(x)
        g, u, w = factors.gate, factors.up, factors.weights
        a = neurons.f(g)
        weight = 1.0 if w is None else w.detach().repeat_interleave(neurons.n_neurons // neurons.n_experts, -1)
        b = None if u is None else neurons.up_of(u)
        h = a if b is None else a * b
        ratio = (a / g).detach()
        if rule in ("derivative", "ray"):
            linear = h
        elif u is None or b is None:
            linear = ratio * g
        elif rule == "up":
            linear = a.detach() * u
        else:
            linear = 0.5 * ratio * g * b.detach() + 0.5 * a.detach() * u
        if rule == "ray":
            _, along = torch.autograd.functional.jvp(lambda x: neurons.products(neurons.factors(x)), x, x)
            squared = (x * x).sum(-1, keepdim=True).detach()
            linear = linear + (h - along).detach() * (x.detach() * x).sum(-1, keepdim=True) / squared
        units = weight * (h.detach() + linear - linear.detach())
        units = units if w is None else torch.cat([units, w.detach().requires_grad_()], dim=-1)
        held.append(units)
        return call.behind(neurons.written(units))

    norms = list(model.norms())
    with ExitStack() as stack:
        stack.enter_context(forwards_of([norm.module for norm in norms], [frozen(norm) for norm in norms]))
        stack.enter_context(attention_through(model.hf, lambda _, pattern: pattern.detach()))
        stack.enter_context(mlps_through(model, mlp))
        yield


def test_total_contributions_are_what_autograd_finds(tiny, shape: str):
    for rule in NEURON_RULES:
        check_against_autograd(recorded(tiny, shape, rule), rule)


def check_against_autograd(run: RecordedRun, rule: str) -> None:
    assert isinstance(run.basis, NeuronBasis)
    wanted = by_autograd(run, rule)
    weights = torch.tensor([0.25, 0.75])
    found = contributions(run.flow(), run.recording, run.basis, roots_of(run), weights)
    expected = torch.einsum("tlpu,t->lpu", wanted.units.abs(), weights.double())
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10 * float(expected.max()))
    whole = totals(run.flow(), run.recording, run.basis, roots_of(run), lambda *_: None)
    scale = float(wanted.embedding.abs().max())
    torch.testing.assert_close(whole.embedding, wanted.embedding, rtol=1e-8, atol=1e-10 * scale)


def test_tokens_and_constants_are_all_of_a_target_along_all_paths(tiny, shape: str):
    for rule, norms in zip(NEURON_RULES, ("linearised", "frozen", "frozen", "linearised"), strict=True):
        run = recorded(tiny, shape, rule)
        assert isinstance(run.basis, NeuronBasis)
        roots = roots_of(run)
        targets = joined(roots, Targets(**{**vars(roots), "layers": torch.ones_like(roots.layers)}))
        whole = totals(run.flow(norms=norms), run.recording, run.basis, targets, lambda *_: None)
        values = targets.values_in(run.recording)
        size = whole.embedding.abs().sum(-1) + whole.constant.abs() + values.abs()
        assert ((whole.embedding.sum(-1) + whole.constant - values).abs() / size).max() < 1e-10


def test_the_kept_neurons_are_those_that_contribute_most(tiny):
    run = recorded(tiny, "gemma3", "half")
    assert isinstance(run.basis, NeuronBasis)
    graph = trace(run.model, run.basis, tiny.prompt, targets=ROOTS[:1], max_features=20)
    scores = contributions(run.flow(), run.recording, run.basis, roots_of(run)[torch.tensor([0])], torch.ones(1))
    span, nodes = graph.nodes.span("feature"), graph.nodes
    kept = scores[nodes.layer[span], nodes.position[span], nodes.feature[span].long()]
    assert kept.min() >= scores.flatten().sort(descending=True).values[19]
    assert graph.meta["share"] == pytest.approx(float(kept.sum() / scores.sum()))
    assert graph.meta["rest"] is True


def test_a_share_keeps_as_few_as_carry_it(tiny):
    model = tiny.model("llama")
    wide, narrow = (trace(model, NeuronBasis(model), tiny.prompt, share=share) for share in (0.9, 0.5))
    assert narrow.nodes.count()["feature"] < wide.nodes.count()["feature"]
    for graph, share in ((wide, 0.9), (narrow, 0.5)):
        assert graph.meta["share"] >= share
        one_less = trace(model, NeuronBasis(model), tiny.prompt, max_features=graph.nodes.count()["feature"] - 1)
        assert one_less.meta["share"] < share
    capped = trace(model, NeuronBasis(model), tiny.prompt, share=0.9, max_features=5)
    assert capped.nodes.count()["feature"] == 5


def test_with_all_neurons_nothing_is_left_to_the_rest(tiny, shape: str):
    model = tiny.model(shape)
    graph = trace(model, NeuronBasis(model), tiny.prompt, targets=ROOTS, max_features=10**6)
    is_error = graph.nodes.is_kind("error")[graph.indices.long()]
    assert graph.values[is_error].abs().max() < 1e-9 * graph.values.abs().max()
    assert graph.meta["share"] == pytest.approx(1.0)
    assert graph.scores().replacement == pytest.approx(1.0)


def test_every_position_has_neurons_and_none_keeps_its_real_mlp(tiny):
    model = tiny.model("llama", n_real=2)
    graph = trace(model, NeuronBasis(model), tiny.prompt, max_features=10**6)
    assert graph.meta["settings"]["n_real"] == 0
    assert (graph.nodes.position[graph.nodes.span("feature")] == 0).any()


def test_a_neuron_can_be_what_is_explained(tiny, shape: str):
    model = tiny.model(shape)
    target = FeatureTarget(layer=2, feature=5, position=3)
    graph = trace(model, NeuronBasis(model), tiny.prompt, targets=[target], max_features=30)
    assert graph.exactness() < 1e-10
    said = graph.meta["targets"][0]
    assert said["value"] == pytest.approx(said["activation"])
    assert int(graph.nodes.layer[graph.nodes.span("feature")].max()) < 2


def test_the_rule_of_the_settings_wins_and_dictionaries_have_none(tiny):
    model = tiny.model("llama")
    graph = trace(model, NeuronBasis(model), tiny.prompt, neuron_rule="ray", max_features=10)
    assert graph.meta["settings"]["neuron_rule"] == "ray"
    with pytest.raises(UsageError, match="half, up, derivative or ray"):
        trace(model, NeuronBasis(model), tiny.prompt, neuron_rule="whole")
    with pytest.raises(UsageError, match=r"a rule of neurons is named .*leave it out"):
        trace(model, tiny.dictionary("per-layer"), tiny.prompt, neuron_rule="half")
    with pytest.raises(UsageError, match=r"share is 1\.5"):
        trace(model, NeuronBasis(model), tiny.prompt, share=1.5)


def test_neurons_of_another_model_are_refused(tiny):
    with pytest.raises(UsageError, match="these are the neurons of tiny-llama"):
        trace(tiny.model("gpt2"), NeuronBasis(tiny.model("llama")), tiny.prompt)


# always on


def test_a_neuron_that_every_prompt_needs_as_much_is_marked(tiny):
    model = tiny.model("llama", seed=5)  # a model of its own: its weights are changed
    mlp = model.mlp(1)
    mlp.down_proj.weight[:, 3] *= 2000.0
    with torch.no_grad():
        mlp.gate_proj.weight[3] = mlp.up_proj.weight[3]  # never far from a square, so its sign is one
    graph = trace(model, NeuronBasis(model), tiny.prompt, max_features=60)
    assert (1, 3) in always_on(model)
    assert graph.meta["always_on"] == [list(place) for place in sorted(always_on(model))]


def test_in_a_random_model_none_is_always_on(tiny):
    graph = trace(tiny.model("qwen3"), NeuronBasis(tiny.model("qwen3")), tiny.prompt, max_features=60)
    assert graph.meta["always_on"] == []

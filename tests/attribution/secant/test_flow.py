"""The secant flow against plain loops that push changes up, on every architecture."""

import pytest
import torch
from tests.attribution.conftest import tiny_dictionary
from tests.attribution.secant.conftest import Contrasts
from tests.attribution.secant.forward import Changes, pushed_up
from tests.zoo import ZOO
from torch import Tensor

from silverstain.attribution.secant import Contrast
from silverstain.attribution.secant.units import NeuronUnits
from silverstain.bases import Dictionary

OUTLIERS = {"llama-outlier": 1e-7, "gpt2-outlier": 1e-7, "gemma2-outlier": 1e-7}
"""Huge channels at every token leave fewer digits of the others' changes: what float64 then is worth."""


def assert_real(changes: Changes, rtol: float) -> None:
    for name, found in changes.tensors.items():
        real = changes.real[name]
        size = float(real.abs().max()) if real.numel() else 0.0
        torch.testing.assert_close(found, real, rtol=0, atol=rtol * size + 1e-15, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("kind", ["neurons", "cross-layer-skip"])
def test_every_change_of_an_intermediate_tensor_is_the_real_one(contrasts: Contrasts, shape: str, kind: str):
    found = contrasts.find(shape, kind)
    changes = pushed_up(found.flow, found.basis)
    n_tensors, n_layers = len(changes.tensors), found.flow.n_layers
    assert n_tensors >= 8 * n_layers + 2
    assert_real(changes, OUTLIERS.get(shape, 1e-10))
    # what is said to change is what changes
    first = 0
    for layer, units in enumerate(found.flow.units):
        torch.testing.assert_close(units.change, changes.tensors[f"units {layer}"], rtol=1e-8, atol=1e-10)
        first += len(units)


@pytest.mark.parametrize(
    ("base", "other"),
    [
        ([0, 11, 5, 23, 5, 40, 17], [3, 11, 5, 23, 5, 40, 17]),
        ([0, 11, 5, 23, 5, 40, 17], [0, 11, 5, 23, 5, 40, 18]),
        ([0, 11, 5, 23, 5, 40, 17], [0, 12, 5, 24, 5, 40, 19]),
        ([0, 11, 5, 23, 5, 40, 17], [9, 8, 7, 6, 5, 4, 3]),
        ([4], [5]),
        ([4, 4], [4, 5]),
    ],
    ids=["first", "last", "several", "all but one", "a single token", "two tokens"],
)
@pytest.mark.parametrize("shape", ["gemma2", "gpt_neox", "gpt_oss"])
def test_wherever_the_prompts_differ(contrasts: Contrasts, shape: str, base: list[int], other: list[int]):
    for kind in ("neurons", "cross-layer-skip"):
        found = contrasts.find(shape, kind, base, other)
        assert_real(pushed_up(found.flow, found.basis), 1e-10)
        torch.testing.assert_close(found.contributions.total, found.changes, rtol=1e-10, atol=1e-12)


def with_first_outlier(contrasts: Contrasts, shape: str, dtype: torch.dtype) -> Contrast:
    """As in models of the world: one channel of the first token is huge."""
    from copy import deepcopy

    from silverstain.models import LanguageModel

    hf = deepcopy(contrasts.model(shape).hf)
    hf.get_input_embeddings().weight.data[0, 3] += 300.0
    model = LanguageModel(hf.to(dtype), contrasts.model(shape).tokenizer, name="first")
    return contrasts.find(shape, "neurons", model=model)


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma2", "gpt_oss"])
def test_a_huge_channel_of_the_first_token_costs_no_digits(contrasts: Contrasts, shape: str):
    found = with_first_outlier(contrasts, shape, torch.float64)
    assert_real(pushed_up(found.flow, found.basis), 1e-10)


def last(contrast: Contrast, changes: Changes) -> float:
    """The first root's change."""
    root = contrast.roots[0]
    return float(changes.tensors["final"][root.position] @ root.target.vectors[0])


@pytest.mark.parametrize("kind", ["neurons", "cross-layer-skip"])
@pytest.mark.parametrize("shape", ["gpt_neox", "gemma2", "gpt_oss"])
def test_contributions_are_what_is_lost_when_a_change_is_held_at_nothing(contrasts: Contrasts, shape: str, kind: str):
    found = contrasts.find(shape, kind)
    flow, parts = found.flow, found.contributions
    whole = last(found, pushed_up(flow, found.basis))
    units = torch.cat([part[0] for part in parts.units])
    for unit in units.abs().topk(3).indices.tolist():
        held = torch.zeros(len(units), dtype=torch.bool)
        held[unit] = True
        lost = whole - last(found, pushed_up(flow, found.basis, without_units=held))
        assert lost == pytest.approx(float(units[unit]), rel=1e-8, abs=1e-11)
    for layer in range(flow.n_layers):
        pairs = parts.pairs(layer, torch.ones(1))
        place = int(pairs.abs().argmax())
        head, query, key = (int(i) for i in torch.unravel_index(torch.tensor(place), pairs.shape))
        without = [(layer, head, query, key)]
        lost = whole - last(found, pushed_up(flow, found.basis, without_pairs=without))
        assert lost == pytest.approx(float(pairs[head, query, key]), rel=1e-8, abs=1e-11)


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neox", "gemma2", "gpt_oss"])
def test_a_layers_units_and_what_goes_round_them_are_the_whole(contrasts: Contrasts, shape: str):
    """With all units of a layer held, what is lost is the sum of their contributions."""
    found = contrasts.find(shape, "neurons")
    whole = last(found, pushed_up(found.flow, found.basis))
    first = 0
    for layer, units in enumerate(found.flow.units):
        held = torch.zeros(sum(map(len, found.flow.units)), dtype=torch.bool)
        held[first : first + len(units)] = True
        first += len(units)
        lost = whole - last(found, pushed_up(found.flow, found.basis, without_units=held))
        assert lost == pytest.approx(float(found.contributions.units[layer].sum()), rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neox", "gemma2", "gpt_oss"])
def test_the_contributions_of_all_that_begins_somewhere_are_the_change(
    contrasts: Contrasts, shape: str, basis_kind: str
):
    found = contrasts.find(shape, basis_kind)
    torch.testing.assert_close(found.contributions.total, found.changes, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neox", "gemma2", "gpt_oss"])
def test_units_read_and_pull_by_one_map(contrasts: Contrasts, shape: str, basis_kind: str):
    """`pull` is the transpose of `reads`, and `at_units` of `writes`, for gradients that are no change."""
    found = contrasts.find(shape, basis_kind)
    flow, draw = found.flow, torch.Generator().manual_seed(0)
    gradients = [
        torch.randn(2, flow.n_positions, 16, generator=draw, dtype=torch.float64) for _ in range(flow.n_layers)
    ]
    for units in flow.units:
        every = torch.arange(len(units))
        written = torch.zeros(2, len(units), dtype=torch.float64)
        for target, rows in units.writes(every):
            written += (gradients[target][:, units.position] * rows).sum(-1)
        at_units = units.at_units(gradients)
        torch.testing.assert_close(at_units * units.change, written, rtol=1e-9, atol=1e-11)
        pulled = torch.zeros(2, flow.n_positions, 16, dtype=torch.float64)
        pulled.index_add_(1, units.position, at_units[..., None] * units.reads(every).vectors)
        torch.testing.assert_close(units.pull(at_units), pulled, rtol=1e-9, atol=1e-11 * float(pulled.abs().max()))


@pytest.mark.parametrize("shape", list(ZOO))
def test_neurons_are_read_by_the_rule_of_their_factors(contrasts: Contrasts, shape: str):
    """Written out for one layer: W_gate by ū σ w̄, W_up by f̄ σ_m w̄; each factor has half of the joint part, twice."""
    units = contrasts.find(shape, "neurons").flow.units[1]
    found = contrasts.find(shape, "neurons")
    assert isinstance(units, NeuronUnits)
    neurons, read = units.neurons, found.pair.read(1)
    one = lambda x: x  # noqa: E731
    for unit in range(0, neurons.n_neurons, 5):
        expert = unit // max(neurons.n_neurons // max(neurons.n_experts, 1), 1)
        for at in (2, 6):
            g = [float(read[r, at] @ neurons.W_gate[unit] + bias(neurons.b_gate, unit)) for r in (0, 1)]
            f = [float(neurons.f(torch.tensor(x, dtype=torch.float64))) for x in g]
            vector = neurons.W_gate[unit] * (f[1] - f[0]) / (g[1] - g[0])
            product = sum(f) / 2
            if neurons.W_up is not None:
                u = [float(read[r, at] @ neurons.W_up[unit] + bias(neurons.b_up, unit)) for r in (0, 1)]
                m = [float((neurons.m or one)(torch.tensor(x, dtype=torch.float64))) for x in u]
                vector = sum(m) / 2 * vector + sum(f) / 2 * neurons.W_up[unit] * (m[1] - m[0]) / (u[1] - u[0])
                product = (f[0] * m[0] + f[1] * m[1]) / 2
            if neurons.n_experts:
                w = [float(neurons.routing(read[r, at])[0][expert]) for r in (0, 1)]
                assert units.routing is not None
                by_router = units.routing[at - units.first, expert] @ neurons.W_router
                vector = sum(w) / 2 * vector + product * by_router
            got = units.reads(torch.tensor([units.at(at, unit)])).vectors[0]
            torch.testing.assert_close(got, vector, rtol=1e-7, atol=1e-9)


def bias(biases: Tensor | None, unit: int) -> Tensor | float:
    return 0.0 if biases is None else biases[unit]


def test_experts_that_run_in_one_run_only_are_constants_and_the_rest_is_the_routers(contrasts: Contrasts):
    base, other = [0, 1, 2, 3, 4, 5, 6], [0, 30, 31, 32, 33, 34, 35]
    found = contrasts.find("gpt_oss", "neurons", base, other)
    alone = 0
    for layer, units in enumerate(found.flow.units):
        assert isinstance(units, NeuronUnits)
        assert units.routing is not None
        read = found.pair.read(layer)[:, units.first :]
        w = units.neurons.routing(read)[0]
        scores = torch.nn.functional.linear(read, units.neurons.W_router, units.neurons.b_router)
        in_both = (w > 0).all(0)
        alone += int(((w > 0).any(0) & ~in_both).sum())
        by_scores = torch.einsum("pef,pf->pe", units.routing, scores[1] - scores[0])
        n = units.neurons.n_neurons
        constants = units.constants.view(found.pair.n_positions, -1)[units.first :, n:]
        torch.testing.assert_close(by_scores + constants, w[1] - w[0], rtol=1e-10, atol=1e-13)
        assert bool((units.routing[~in_both] == 0).all())
    assert alone > 4
    assert_real(pushed_up(found.flow, found.basis), 1e-10)
    assert float(found.contributions.constants.abs().sum()) > 0
    torch.testing.assert_close(found.contributions.total, found.changes, rtol=1e-10, atol=1e-12)


def competing(dictionary: Dictionary, k: int) -> Dictionary:
    """The same features, of which the k strongest of a layer and token are active."""
    layers = range(dictionary.n_layers)
    return Dictionary.from_tensors(
        W_enc=[dictionary.W_enc(i) for i in layers],
        b_enc=[dictionary.b_enc(i) for i in layers],
        W_dec=[dictionary.W_dec(i) if dictionary.is_cross_layer else dictionary.W_dec(i)[:, 0] for i in layers],
        b_dec=list(dictionary.b_dec),
        k=[k] * dictionary.n_layers,
        name=f"top-{k}",
    )


@pytest.mark.parametrize("kind", ["per-layer", "cross-layer"])
@pytest.mark.parametrize("k", [1, 4, 20])
def test_what_competition_decides_is_a_constant(contrasts: Contrasts, kind: str, k: int):
    dictionary = competing(contrasts.dictionary(kind), k)
    found = contrasts.find("llama", kind, basis=dictionary)
    assert_real(pushed_up(found.flow, found.basis), 1e-10)
    torch.testing.assert_close(found.contributions.total, found.changes, rtol=1e-10, atol=1e-12)
    outdone = 0
    for layer, units in enumerate(found.flow.units):
        z = dictionary.pre_activations(layer, found.pair.read(layer))[:, units.position, units.feature]
        a_b, a_c = units.values
        both = (a_b != 0) & (a_c != 0)
        assert bool((units.constants[both] == 0).all())
        slope = units.reads(torch.arange(len(units))).vectors / dictionary.encoder_rows(layer, units.feature)
        torch.testing.assert_close(slope[both], torch.ones_like(slope[both]), rtol=1e-9, atol=1e-9)
        # active in one run though z alone would have it active in both: others decided
        decided = ~both & (z > 0).all(0)
        outdone += int(decided.sum())
        moved = (z[1] - z[0])[decided]
        torch.testing.assert_close(units.constants[decided], units.change[decided] - moved, rtol=1e-9, atol=1e-12)
    assert outdone > 0 or k == 20


@pytest.mark.parametrize("n_real", [0, 1, 3, 7, 9])
def test_leading_positions_keep_their_real_mlps(contrasts: Contrasts, n_real: int):
    model = contrasts.model("llama", n_real=n_real)
    base, other = [4, 11, 5, 23, 5, 40, 17], [4, 12, 6, 24, 5, 40, 17]
    for kind in ("per-layer-skip", "cross-layer-skip"):
        found = contrasts.find("llama", kind, base, other, model=model)
        assert found.flow.n_real == min(n_real, 7)
        assert all(bool((units.position >= n_real).all()) for units in found.flow.units)
        assert_real(pushed_up(found.flow, found.basis), 1e-10)
        torch.testing.assert_close(found.contributions.total, found.changes, rtol=1e-10, atol=1e-12)
        assert bool((found.contributions.real_mlps[..., n_real:] == 0).all())


@pytest.mark.parametrize("shape", ["llama", "gemma2", "gpt2"])
def test_a_dictionary_that_reads_before_the_norm(contrasts: Contrasts, shape: str):
    made = tiny_dictionary.__wrapped__  # facts that are a mapping are no key of a cache
    basis = made("per-layer-skip", metadata={"feature_input_hook": "hook_resid_mid"})
    found = contrasts.find(shape, "", basis=basis)
    assert_real(pushed_up(found.flow, basis), 1e-10)
    torch.testing.assert_close(found.contributions.total, found.changes, rtol=1e-10, atol=1e-12)

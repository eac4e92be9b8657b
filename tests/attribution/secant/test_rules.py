"""Each rule gives the real difference of its operation, and has no cancellation where inputs are close."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from silverstain.attribution.frozen_norm import FrozenNorm
from silverstain.attribution.secant.rules import logarithmic_mean, norm_rank_one, slope, softmax_pull

SEEDS = st.integers(0, 2**31)
SIZES = st.sampled_from([1e-9, 1e-6, 1e-3, 1.0, 1e3])
SMOOTH = [nn.functional.silu, lambda x: nn.functional.gelu(x, approximate="tanh"), torch.tanh]
BENT = [torch.relu, lambda x: x.clamp(-1.0, 0.7) + 1, lambda x: x.clamp(max=0.7) * torch.sigmoid(1.7 * x)]


def drawn(seed: int, *shape: int, size: float = 1.0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * size


@settings(max_examples=60)
@given(seed=SEEDS, size=SIZES, which=st.sampled_from(range(6)))
def test_a_slope_times_the_change_of_the_input_is_the_change_of_the_output(seed: int, size: float, which: int):
    function = (SMOOTH + BENT)[which]
    base = drawn(seed, 200, size=2.0)
    contrast = base + drawn(seed + 1, 200, size=size)
    base[:20], contrast[:20] = 0.7 - size / 3, 0.7 + size / 5  # across a bend
    base[20:40], contrast[20:40] = -size / 3, size / 5
    change = slope(function, base, contrast) * (contrast - base)
    torch.testing.assert_close(change, function(contrast) - function(base), rtol=1e-10, atol=2e-15 * (1 + size))


@settings(max_examples=30)
@given(seed=SEEDS, share=st.sampled_from([0.0, 1e-12, 1e-9, 1e-7, 1e-5]))
def test_a_slope_over_almost_nothing_is_the_derivative(seed: int, share: float):
    x = drawn(seed, 100)
    for function in SMOOTH:
        at = x.clone().requires_grad_()
        (derivative,) = torch.autograd.grad(function(at).sum(), at)
        torch.testing.assert_close(slope(function, x, x * (1 + share)), derivative, rtol=1e-4, atol=1e-4 * (share > 0))


@settings(max_examples=30)
@given(seed=SEEDS, size=st.sampled_from([1e-6, 1e-4, 1e-2, 1.0]))
def test_a_slope_of_float32_is_that_of_the_same_numbers_in_float64(seed: int, size: float):
    base = drawn(seed, 100).float()
    contrast = base + drawn(seed + 1, 100, size=size).float()
    for function in SMOOTH + BENT:
        exact = slope(function, base.double(), contrast.double())
        torch.testing.assert_close(slope(function, base, contrast).double(), exact, rtol=1e-6, atol=1e-7)


@settings(max_examples=60)
@given(seed=SEEDS, size=SIZES, is_centred=st.booleans(), has_outlier=st.booleans())
def test_a_norm_passes_a_change_exactly(seed: int, size: float, is_centred: bool, has_outlier: bool):
    base = drawn(seed, 4, 12)
    if has_outlier:
        base[:, 3] += 300.0
    change = drawn(seed + 1, 4, 12, size=size)
    contrast, weight = base + change, drawn(seed + 2, 12)

    def norm(x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True) if is_centred else x
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight

    def scale(x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True) if is_centred else x
        return (x.square().mean(-1) + 1e-5).rsqrt()

    mean = (base + contrast) / 2
    mean = mean - mean.mean(-1, keepdim=True) if is_centred else mean
    s_b, s_c = scale(base), scale(contrast)
    flow = FrozenNorm(scale=(s_b + s_c) / 2, weight=weight, is_centred=is_centred, along=norm_rank_one(s_b, s_c, mean))
    moved = contrast - base  # what is left of the change after rounding
    torch.testing.assert_close(flow.linear(moved), norm(contrast) - norm(base), rtol=1e-9, atol=1e-13)
    gradient = drawn(seed + 3, 1, 4, 12)
    forth, back = (gradient[0] * flow.linear(moved)).sum(), (flow.pull(gradient, 0)[0] * moved).sum()
    torch.testing.assert_close(forth, back, rtol=1e-9, atol=1e-12 * float((gradient[0] * moved).abs().sum() + 1))


def rows(seed: int, size: float, spread: float, has_mask: bool, has_sink: bool) -> tuple[Tensor, Tensor]:
    """Scores of two runs, with a column for a sink whose score does not change."""
    base = drawn(seed, 5, 7, size=spread)
    contrast = base + drawn(seed + 1, 5, 7, size=size)
    if has_mask:
        mask = torch.ones(5, 7).tril(1) == 0
        base, contrast = (x.masked_fill(mask, torch.finfo(torch.float64).min) for x in (base, contrast))
    if has_sink:
        sink = drawn(seed + 2, 1, 1).expand(5, 1)
        base, contrast = torch.cat([base, sink], -1), torch.cat([contrast, sink], -1)
    return base, contrast


def weights_of(base: Tensor, contrast: Tensor) -> Tensor:
    log_b, log_c = base.log_softmax(-1), contrast.log_softmax(-1)
    return logarithmic_mean(log_b.exp(), log_c.exp(), log_b, log_c)


@settings(max_examples=80)
@given(
    seed=SEEDS,
    size=st.sampled_from([1e-8, 1e-4, 0.05, 1.0, 30.0, 1000.0]),
    spread=st.sampled_from([0.1, 1.0, 300.0]),
    has_mask=st.booleans(),
    has_sink=st.booleans(),
)
def test_a_softmax_passes_a_change_exactly(seed: int, size: float, spread: float, has_mask: bool, has_sink: bool):
    base, contrast = rows(seed, size, spread, has_mask, has_sink)
    weights = weights_of(base, contrast)
    assert bool((weights >= 0).all())
    assert bool((weights[base == torch.finfo(torch.float64).min] == 0).all())
    moved = torch.where(base == torch.finfo(torch.float64).min, 0.0, contrast - base)
    # the rule is its own transpose, so that it also goes forth
    torch.testing.assert_close(
        softmax_pull(moved, weights), contrast.softmax(-1) - base.softmax(-1), rtol=1e-8, atol=1e-13
    )


@settings(max_examples=30)
@given(seed=SEEDS, size=st.sampled_from([1e-4, 1.0, 30.0]))
def test_the_softmax_rule_is_its_own_transpose(seed: int, size: float):
    weights = weights_of(*rows(seed, size, 1.0, has_mask=True, has_sink=True))
    for row in weights:
        matrix = softmax_pull(torch.eye(len(row), dtype=row.dtype), row.expand(len(row), -1))
        torch.testing.assert_close(matrix, matrix.T, rtol=1e-12, atol=1e-15)
        # as much is lost as is won
        torch.testing.assert_close(matrix.sum(-1), torch.zeros_like(row), rtol=0, atol=1e-14)


@settings(max_examples=60)
@given(a=st.floats(-80, 0), t=st.floats(-50, 50))
def test_the_logarithmic_mean_lies_between_the_geometric_and_the_arithmetic(a: float, t: float):
    logs = torch.tensor([a, a + t], dtype=torch.float64)
    base, contrast = logs.exp()
    mean = float(logarithmic_mean(base, contrast, *logs))
    assert math.exp(a + t / 2) * (1 - 1e-9) <= mean <= float(base + contrast) / 2 * (1 + 1e-9)
    if abs(t) > 1e-3:
        assert mean == pytest.approx(float((contrast - base) / t), rel=1e-9)
    assert mean == float(logarithmic_mean(contrast, base, *logs.flip(0)))


@pytest.mark.parametrize(("dtype", "log"), [(torch.float32, -60.0), (torch.float64, -400.0)])
def test_the_logarithmic_mean_of_two_tiny_numbers_is_not_lost_to_their_product(dtype: torch.dtype, log: float):
    logs = torch.tensor([log, log + 0.01], dtype=dtype)
    base, contrast = logs.exp()
    mean = float(logarithmic_mean(base, contrast, *logs))
    assert float(base * contrast) == 0.0 or dtype == torch.float64
    assert mean == pytest.approx(math.exp(log + 0.005), rel=1e-4)


def test_the_logarithmic_mean_with_nothing_is_nothing_or_little():
    none, one = torch.tensor(0.0), torch.tensor(1.0)
    assert float(logarithmic_mean(none, none, torch.log(none), torch.log(none))) == 0.0
    assert float(logarithmic_mean(none, one, torch.log(none), torch.log(one))) == 0.0
    # a chance that is too small for the type still has a logarithm
    assert float(logarithmic_mean(none, one, torch.tensor(-200.0), torch.log(one))) == pytest.approx(1 / 200)

"""Figures and intervals against slow ways to the same, and against what they promise."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from silverstain.statistics import (
    divergence,
    estimates,
    finite,
    interval_of_next,
    line,
    moments,
    rank_correlation,
    share_of,
    weighted_median,
)


@pytest.mark.parametrize("seed", range(5))
def test_a_weighted_median_is_that_of_the_list_with_repeats(seed: int):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(7 + seed, generator=generator, dtype=torch.float64)
    weights = torch.randint(4, (6, len(values)), generator=generator).double()
    weights[0] = 1
    for draw, found in zip(weights, weighted_median(values, weights), strict=True):
        assert float(found) == pytest.approx(float(np.median(np.repeat(values.numpy(), draw.long().numpy()))))
    assert bool(weighted_median(values, torch.zeros(1, len(values)).double()).isnan())


def test_a_bootstrap_holds_the_mean_in_about_95_of_100_samples():
    generator, inside = torch.Generator().manual_seed(0), 0
    for seed in range(100):
        sample = torch.randn(40, generator=generator, dtype=torch.float64)
        found = estimates(lambda times, x=sample: {"mean": times @ x / times.sum(1)}, len(sample), seed=seed)["mean"]
        inside += found.interval[0] <= 0 <= found.interval[1]
        assert found.value == pytest.approx(float(sample.mean()))
    assert 88 <= inside <= 99


@pytest.mark.parametrize("seed", range(3))
def test_slope_and_r2_are_those_of_numpy_and_add_up_over_parts(seed: int):
    draw = np.random.default_rng(seed)
    predicted = draw.normal(3, 1, size=30)
    measured = 0.4 * predicted + draw.normal(size=30)
    x, y = torch.from_numpy(predicted), torch.from_numpy(measured)
    whole, parts = line(moments(x, y)), line(moments(x[:7], y[:7]) + moments(x[7:], y[7:]))
    assert float(whole.slope) == pytest.approx(np.polyfit(predicted, measured, 1)[0])
    assert float(whole.r2) == pytest.approx(1 - ((measured - predicted) ** 2).sum() / (30 * measured.var()))
    assert [float(value) for value in parts] == pytest.approx([float(value) for value in whole])
    flat = line(moments(torch.ones(4), torch.full((4,), 2.0)))
    assert bool(flat.slope.isnan())
    assert bool(flat.r2.isnan())


def test_a_rank_correlation_is_none_where_nothing_varies():
    assert rank_correlation([1.0, 2.0, 5.0], [10.0, 20.0, 21.0]) == pytest.approx(1)
    assert rank_correlation([1.0, 2.0, 3.0], np.array([3.0, 2.0, 1.0])) == pytest.approx(-1)
    for a, b in (([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, 3.0]), ([1.0, math.nan], [1.0, 2.0])):
        assert math.isnan(rank_correlation(a, b))
        assert finite(rank_correlation(a, b)) is None


def test_an_interval_of_a_share_is_wilsons():
    found = share_of(9, 10)
    assert (found.low, found.high) == pytest.approx((0.5958, 0.9821), abs=1e-4)


def test_one_more_draw_lies_in_its_interval_95_times_in_100():
    draws = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inside = sum(low <= float(row[-1]) <= high for row in draws for low, high in [interval_of_next(row[:-1])])
    assert inside / len(draws) == pytest.approx(0.95, abs=0.015)


def test_a_divergence_is_the_sum_it_names_and_its_gradient_is_right():
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.randn(3, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    p, q = before.softmax(-1), after.softmax(-1)
    torch.testing.assert_close(divergence(before, after), (p * (p / q).log()).sum(-1))
    assert gradcheck(divergence, (before.requires_grad_(), after.requires_grad_()))


def test_a_small_divergence_wants_float64():
    before = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
    step = 1e-3 * torch.randn(1, 50, generator=torch.Generator().manual_seed(1))
    p, after = before.double().softmax(-1), before + step
    exact = float(divergence(before.double(), after.double()))
    assert exact == pytest.approx(float((p * step.double() ** 2).sum() - (p * step.double()).sum() ** 2) / 2, rel=0.01)
    assert float(divergence(before, after, dtype=torch.float64)) == pytest.approx(exact, rel=1e-9)
    assert abs(float(divergence(before, after)) / exact - 1) > 0.01, "float32 is further off than that"
    assert float(divergence(before, before)) == 0

"""The search for active entries against the whole product, exactly: whole numbers know no rounding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from silverstain.training import scanning
from silverstain.training.scanning import Scratch, above, entries_at_a_time, exceeds_by_bits_


def whole_numbers(seed: int, n_rows: int, n_features: int) -> list[torch.Tensor]:
    """x, W_enc, b_enc and thresholds whose products many entries equal."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((n_rows, 3), (n_features, 3), (n_features,), (n_features,))
    return [torch.randint(-3, 4, size, generator=generator).float() for size in sizes]


def check(x, W, b, threshold, scratch=None):
    active, values = above(x, W, b, threshold, scratch)
    pre = torch.addmm(b, x, W.T)
    rows, features = (pre > threshold).nonzero(as_tuple=True)
    assert torch.equal(active.rows, rows)
    assert torch.equal(active.features, features)
    assert torch.equal(values, pre[rows, features])
    assert (active.n_rows, active.n_features) == tuple(pre.shape)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31), n_rows=st.integers(0, 9), n_features=st.integers(0, 24),
    tile=st.sampled_from([(512, 1024), (2, 8), (3, 5)]), n_threads=st.sampled_from([0, 4]),
)  # fmt: skip
def test_active_entries_are_those_strictly_above_their_threshold(seed, n_rows, n_features, tile, n_threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "TILE_ROWS", tile[0])
        patch.setattr(scanning, "TILE_FEATURES", tile[1])
        patch.setattr(scanning, "NUMPY_THREADS", n_threads)  # with 0 the product is made whole
        check(*whole_numbers(seed, n_rows, n_features))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_searched_too(dtype):
    check(*(tensor.to(dtype) for tensor in whole_numbers(1, 6, 16)))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31), n_rows=st.integers(0, 9), n_features=st.integers(0, 24),
    tile=st.sampled_from([(512, 1024), (2, 8), (3, 5)]),
)  # fmt: skip
def test_a_search_in_bfloat16_finds_the_same_where_nothing_is_rounded(seed, n_rows, n_features, tile):
    """Whole numbers this small are exact in bfloat16, thresholds below and above 0 among them."""
    x, W, b, threshold = whole_numbers(seed, n_rows, n_features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "TILE_ROWS", tile[0])
        patch.setattr(scanning, "TILE_FEATURES", tile[1])
        halves, values = above(x, W, b, threshold, products=torch.bfloat16)
    wholes, exact = above(x, W, b, threshold)
    assert torch.equal(halves.rows, wholes.rows)
    assert torch.equal(halves.features, wholes.features)
    assert torch.equal(values, exact)


NUMBERS = st.floats(width=16, allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1.0, -1.0])


@given(pre=st.lists(NUMBERS, min_size=6, max_size=6), cut=st.lists(NUMBERS, min_size=3, max_size=3))
def test_bits_are_in_the_order_of_the_numbers(pre, cut):
    values, bounds = torch.tensor(pre).view(2, 3).bfloat16(), torch.tensor(cut).bfloat16()
    mask = torch.empty(2, 3, dtype=torch.bool)
    exceeds_by_bits_(mask, values, bounds)
    assert torch.equal(mask, values > bounds)


def test_values_that_are_no_numbers_are_not_above_anything():
    x, W, b, threshold = whole_numbers(2, 4, 8)
    x[1] = torch.nan
    assert 1 not in above(x, W, b, threshold)[0].rows


@pytest.mark.parametrize("n_threads", [0, 4])
@pytest.mark.parametrize("n_features", [8, 12])
def test_scratch_memory_is_reused_for_products_of_any_size(n_features, n_threads, monkeypatch):
    monkeypatch.setattr(scanning, "NUMPY_THREADS", n_threads)
    scratch = Scratch()
    for n_rows in (5, 2, 6):
        check(*whole_numbers(n_rows, n_rows, n_features), scratch)


@pytest.mark.parametrize("n_threads", [0, 64])
def test_no_more_entries_are_held_at_once_than_is_said(n_threads, monkeypatch):
    monkeypatch.setattr(scanning, "NUMPY_THREADS", n_threads)
    monkeypatch.setattr(scanning, "TILE_ROWS", 2)
    monkeypatch.setattr(scanning, "TILE_FEATURES", 8)
    scratch, x, *rest = Scratch(), *whole_numbers(0, 1024, 20)
    above(x, *rest, scratch)
    assert scratch._pre is not None
    assert scratch._pre.numel() == entries_at_a_time(1024, 20, x.dtype, x.device)

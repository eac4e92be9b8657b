"""The sparse kernels against dense autograd, in float64, for every input and output."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from silverstain.training.kernels import (
    Active,
    decode,
    dense_decode,
    faster_kernel,
    order_of,
    sparse_decode,
    sparse_encode,
)


def random_active(generator: torch.Generator, n_rows: int, n_features: int, share: float = 0.3) -> Active:
    rows, features = (torch.rand(n_rows, n_features, generator=generator) < share).nonzero(as_tuple=True)
    return Active(rows=rows, features=features, n_rows=n_rows, n_features=n_features)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), n_rows=st.integers(1, 6), n_features=st.integers(1, 9))
def test_sparse_decode_and_its_gradients_equal_the_dense_ones(seed, n_rows, n_features):
    generator = torch.Generator().manual_seed(seed)
    active = random_active(generator, n_rows, n_features)
    results = []
    for kernel in ("sparse", "dense"):
        generator.manual_seed(seed)
        values = torch.randn(len(active), generator=generator, dtype=torch.float64).requires_grad_()
        slab = torch.randn(n_features, 5, generator=generator, dtype=torch.float64).requires_grad_()
        out = decode(values, active, slab, kernel)
        out.square().sum().backward()
        results.append((out, values.grad, slab.grad))
    for sparse, dense in zip(*results, strict=True):
        torch.testing.assert_close(sparse, dense)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), n_rows=st.integers(1, 6), n_features=st.integers(1, 9))
def test_sparse_encode_and_its_gradients_equal_the_dense_ones(seed, n_rows, n_features):
    generator = torch.Generator().manual_seed(seed)
    active = random_active(generator, n_rows, n_features)
    x = torch.randn(n_rows, 4, generator=generator, dtype=torch.float64)
    W = torch.randn(n_features, 4, generator=generator, dtype=torch.float64)
    b = torch.randn(n_features, generator=generator, dtype=torch.float64)
    weights = torch.randn(len(active), generator=generator, dtype=torch.float64)
    results = []
    for sparse in (True, False):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, W, b)]
        if sparse:
            values = sparse_encode(*inputs, active)
        else:
            values = torch.addmm(inputs[2], inputs[0], inputs[1].T)[active.rows, active.features]
        (values * weights).sum().backward()
        results.append((values, *(tensor.grad for tensor in inputs)))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow)


def test_hand_written_gradients_pass_gradcheck():
    generator = torch.Generator().manual_seed(3)
    active = random_active(generator, 4, 6)

    def draw(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).requires_grad_()

    assert gradcheck(lambda v, S: sparse_decode(v, active, S), (draw(len(active)), draw(6, 5)))
    assert gradcheck(lambda x, W, b: sparse_encode(x, W, b, active), (draw(4, 3), draw(6, 3), draw(6)))


def test_nothing_active_gives_zero_output_and_zero_gradients():
    empty = torch.zeros(0, dtype=torch.int64)
    active = Active(rows=empty, features=empty, n_rows=3, n_features=4)
    slab = torch.ones(4, 2, requires_grad=True)
    out = sparse_decode(torch.zeros(0, requires_grad=True), active, slab)
    out.sum().backward()
    assert torch.equal(out, torch.zeros(3, 2))
    assert torch.equal(slab.grad, torch.zeros(4, 2))
    assert torch.equal(dense_decode(torch.zeros(0), active, torch.ones(4, 2)), torch.zeros(3, 2))


def test_the_kernel_is_chosen_among_the_two():
    assert faster_kernel(n_rows=8, n_features=16, d_out=4, n_active=2) in ("sparse", "dense")


def test_known_values_are_given_back_with_the_gradients_of_computed_ones():
    generator = torch.Generator().manual_seed(4)
    active = random_active(generator, 4, 6)
    x, W, b = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((4, 3), (6, 3), (6,)))
    known = torch.addmm(b, x, W.T)[active.rows, active.features]
    weights = torch.randn(len(active), generator=generator, dtype=torch.float64)
    results = []
    for remembered in (None, known):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, W, b)]
        values = sparse_encode(*inputs, active, remembered)
        (values * weights).sum().backward()
        results.append((values, *(tensor.grad for tensor in inputs)))
    for computed, other in zip(*results, strict=True):
        torch.testing.assert_close(other, computed)


@pytest.mark.parametrize("bound", [5, 1 << 16, (1 << 16) + 1])
def test_entries_are_ordered_by_key_and_equal_ones_stay_as_they_stand(bound):
    keys = torch.randint(0, bound, (300,), generator=torch.Generator().manual_seed(0))
    keys[7] = keys[11] = bound - 1
    expected = sorted(range(len(keys)), key=lambda place: int(keys[place]))
    assert order_of(keys, bound).tolist() == expected

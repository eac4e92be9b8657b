"""Muon against the singular values of its steps, AdamW against torch's."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from silverstain.organism.orthogonal import MOMENTUM, Muon, orthogonalised


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(2, 24), columns=st.integers(2, 24), seed=st.integers(0, 1000))
def test_what_is_made_orthogonal_keeps_its_directions(rows: int, columns: int, seed: int):
    draw = torch.Generator().manual_seed(seed)
    U, _ = torch.linalg.qr(torch.randn(rows, min(rows, columns), generator=draw))
    V, _ = torch.linalg.qr(torch.randn(columns, min(rows, columns), generator=draw))
    sizes = torch.linspace(1.0, 0.1, min(rows, columns))
    found = U.T @ orthogonalised(U * sizes @ V.T) @ V
    assert found.diagonal().min() > 0.5
    assert found.diagonal().max() < 1.4
    assert (found - found.diagonal().diag()).abs().max() < 1e-3, "the same singular vectors, each of size about 1"


def test_a_step_is_the_orthogonal_factor_of_nesterov_s_momentum():
    torch.manual_seed(0)
    matrix = nn.Parameter(torch.randn(6, 3))
    optimizer = Muon([matrix], [], lr=0.01, ratio=5.0, weight_decay=0.1, adamw_decay=0.0)
    momentum = torch.zeros(6, 3)
    for _ in range(4):
        before, gradient = matrix.detach().clone(), torch.randn(6, 3)
        matrix.grad = gradient.clone()
        optimizer.step()
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        towards = orthogonalised((1 - MOMENTUM) * gradient + MOMENTUM * momentum) * 2**0.5  # twice as tall as wide
        torch.testing.assert_close(matrix.detach(), before * (1 - 0.05 * 0.1) - 0.05 * towards, rtol=1e-5, atol=1e-6)


def test_all_else_is_stepped_as_by_adamw():
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(5, 2)), nn.Parameter(torch.randn(5))]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    one = Muon([], ours, lr=0.01, ratio=5.0, weight_decay=0.4, adamw_decay=0.1)
    groups = [{"params": theirs[:1], "weight_decay": 0.1}, {"params": theirs[1:], "weight_decay": 0.0}]
    other = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.98))
    for _ in range(20):
        for mine, yours in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            yours.grad = mine.grad.clone()
        one.step()
        other.step()
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-6, atol=1e-7)

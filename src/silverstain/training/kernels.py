"""The arithmetic of sparse dictionaries: encode densely, keep what is active, do everything else on the active ones.

Of F features about one in a hundred is active on a token. The dense product x W_encᵀ is needed to find them
(scanning.py); after that the forward decode and all gradients touch active entries only. On one AVX2 core, 2,048
tokens, F = 2,048, d = 128, four targets, 12 active (milliseconds): product 26, decode 3 (dense 129), decoder gradient
7, value gradient 4 (gather 270, dense 114), encoder gradient 2 (dense 27). What is fast on a CPU, and why it has this
shape:

- entries sorted by row make the decode one `embedding_bag` over a slab [F, targets · d], a contiguous row a feature;
- the same entries sorted by feature make each weight gradient an `embedding_bag` over the rows: no scatter;
- the gradient of a value is a dot product of two rows, which `sampled_addmm` does without gathering either.

Each sparse function has a dense twin of the same meaning; `decode` chooses between them, tests hold them together.
"""

import functools
import time
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Kernel = Literal["sparse", "dense"]


@dataclass(frozen=True, kw_only=True)
class Active:
    """Which entries of a [row, feature] matrix are non-zero, sorted by (row, feature)."""

    rows: Int[Tensor, " active"]
    features: Int[Tensor, " active"]
    n_rows: int
    n_features: int

    @functools.cached_property
    def row_starts(self) -> Int[Tensor, " row_plus_1"]:
        """Where the entries of each row start, with the number of entries at the end."""
        return _starts(self.rows, self.n_rows)

    @functools.cached_property
    def by_feature(self) -> Int[Tensor, " active"]:
        """The order that sorts the entries by feature; shared by the gradients of encoder and decoder."""
        return order_of(self.features, self.n_features)

    @functools.cached_property
    def rows_by_feature(self) -> Int[Tensor, " active"]:
        return self.rows.index_select(0, self.by_feature)

    @functools.cached_property
    def feature_starts(self) -> Int[Tensor, " feature_plus_1"]:
        return _starts(self.features, self.n_features)

    def __len__(self) -> int:
        return self.rows.numel()

    def keep(self, chosen: Bool[Tensor, " active"]) -> "Active":
        return self.at(chosen.nonzero().view(-1))

    def at(self, index: Int[Tensor, " chosen"]) -> "Active":
        """The entries at these places, which increase."""
        return Active(
            rows=self.rows.index_select(0, index), features=self.features.index_select(0, index),
            n_rows=self.n_rows, n_features=self.n_features,
        )  # fmt: skip


def order_of(keys: Int[Tensor, " active"], bound: int) -> Int[Tensor, " active"]:
    """The order that sorts whole numbers below `bound`, equal ones as they stand."""
    if keys.device.type == "cpu" and bound <= 1 << 16:  # numpy sorts 16 bits by radix, torch only long lists
        return torch.from_numpy(np.argsort(keys.numpy().astype(np.uint16), kind="stable"))
    return torch.argsort(keys, stable=True)


def sparse_encode(
    x: Float[Tensor, "row d_in"],
    W_enc: Float[Tensor, "feature d_in"],
    b_enc: Float[Tensor, " feature"],
    active: Active,
    known: Float[Tensor, " active"] | None = None,
) -> Float[Tensor, " active"]:
    """The active entries of x W_encᵀ + b_enc, with gradients for x, W_enc and b_enc that touch only them.

    Where their values are `known`, from the search that found them, only the gradients are left to do.
    """
    return _SparseEncode.apply(x, W_enc, b_enc, active, known)  # type: ignore[no-any-return]


def sparse_decode(
    values: Float[Tensor, " active"], active: Active, slab: Float[Tensor, "feature d_out"]
) -> Float[Tensor, "row d_out"]:
    """Σ over the active features of a row of value · slab[feature]."""
    return _SparseDecode.apply(values, slab, active)  # type: ignore[no-any-return]


def dense_decode(
    values: Float[Tensor, " active"], active: Active, slab: Float[Tensor, "feature d_out"]
) -> Float[Tensor, "row d_out"]:
    """What `sparse_decode` gives, through the full [row, feature] matrix: better where many features are active."""
    full = values.new_zeros(active.n_rows, active.n_features)
    return full.index_put((active.rows, active.features), values) @ slab


def decode(
    values: Float[Tensor, " active"], active: Active, slab: Float[Tensor, "feature d_out"], kernel: Kernel = "sparse"
) -> Float[Tensor, "row d_out"]:
    return sparse_decode(values, active, slab) if kernel == "sparse" else dense_decode(values, active, slab)


def faster_kernel(
    *, n_rows: int, n_features: int, d_out: int, n_active: int, device: torch.device | str = "cpu"
) -> Kernel:
    """Which decode is faster, forward and backward, for `n_active` features a row: measured here and now."""
    generator = torch.Generator().manual_seed(0)
    features = torch.stack([torch.randperm(n_features, generator=generator)[:n_active] for _ in range(n_rows)])
    rows = torch.arange(n_rows).repeat_interleave(features.shape[1])
    active = Active(
        rows=rows.to(device), features=features.sort(1).values.view(-1).to(device), n_rows=n_rows, n_features=n_features
    )
    values = torch.rand(len(active), generator=generator).to(device).requires_grad_()
    slab = torch.rand(n_features, d_out, generator=generator).to(device).requires_grad_()

    def seconds(kernel: Kernel) -> float:
        best = float("inf")
        for _ in range(3):  # the first run pays for warming up
            start = time.perf_counter()
            decode(values, active, slab, kernel).sum().backward()
            if slab.device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        return best

    return "sparse" if seconds("sparse") <= seconds("dense") else "dense"


def sampled_products(
    left: Float[Tensor, "row d"], right: Float[Tensor, "feature d"], active: Active
) -> Float[Tensor, " active"]:
    """left[row] · right[feature] for every active entry."""
    pattern = _csr(active.row_starts, active.features, left.new_zeros(len(active)), (active.n_rows, active.n_features))
    return torch.sparse.sampled_addmm(pattern, left, right.T, beta=0.0).values()


class _SparseEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, W_enc, b_enc, active, known):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, W_enc)
        ctx.active = active
        if known is not None:
            return known.view_as(known)
        return sampled_products(x, W_enc, active) + b_enc.index_select(0, active.features)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, W_enc = ctx.saved_tensors
        active = ctx.active
        grad = grad.contiguous()
        grad_x = grad_W = grad_b = None
        if ctx.needs_input_grad[0]:
            grad_x = _sum_rows(W_enc, active.features, active.row_starts, grad)
        if ctx.needs_input_grad[1]:
            grad_W = _sum_rows(
                x, active.rows_by_feature, active.feature_starts, grad.index_select(0, active.by_feature)
            )
        if ctx.needs_input_grad[2]:
            grad_b = torch.bincount(active.features, weights=grad, minlength=active.n_features).to(grad.dtype)
        return grad_x, grad_W, grad_b, None, None


class _SparseDecode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, slab, active):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(values, slab)
        ctx.active = active
        return _sum_rows(slab, active.features, active.row_starts, values)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        values, slab = ctx.saved_tensors
        active = ctx.active
        grad = grad.contiguous()
        grad_values = grad_slab = None
        if ctx.needs_input_grad[0]:
            grad_values = sampled_products(grad, slab, active)
        if ctx.needs_input_grad[1]:
            by_feature = values.index_select(0, active.by_feature)
            grad_slab = _sum_rows(grad, active.rows_by_feature, active.feature_starts, by_feature)
        return grad_values, grad_slab, None


def _sum_rows(table: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """out[i] = Σ weights[j] · table[indices[j]] over j from starts[i] to starts[i + 1]."""
    return F.embedding_bag(
        indices, table.detach(), starts, mode="sum", per_sample_weights=weights.detach(), include_last_offset=True
    )


def _starts(sorted_or_not: Tensor, n: int) -> Tensor:
    counts = torch.bincount(sorted_or_not, minlength=n)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _csr(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():  # torch calls every CSR tensor a beta feature, once
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, size, check_invariants=False)

"""Mixtures of linear transforms: y = Σₜ φ(eₜ·x − bₜ) Uₜ Vₜᵀ x, of which few are switched on at a token.

A feature writes one direction; a transform maps the input by a matrix of low rank, so the mixture's Jacobian can
resemble the MLP's where a transcoder's cannot have a higher rank than features are active. Its sparsity is counted in
units of φ ‖Uₜ Vₜᵀ‖. Ranks are mixed: a few high, twice as many half as high, and so on. There is no feature that
writes a fixed direction, hence nothing that attribution could trace; what is kept can stand in for the MLPs.

The rows of V and U of all transforms of a layer lie one behind the other. An active transform is so many active rows,
and the kernels of sparse dictionaries compute the mixture: what they encode by V and decode by U is scaled by φ.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.training.config import TrainingConfig
from silverstain.training.kernels import Active, Kernel, decode, sparse_encode

N_RANKS = 5
"""A highest rank and four halvings of it, in numbers 1 : 2 : 4 : 8 : 16."""


class Group(NamedTuple):
    """Transforms of one rank, which lie together."""

    n: int
    rank: int


def groups_of(n_transforms: int, d_model: int, highest: int | None = None) -> tuple[Group, ...]:
    """How many transforms of which rank: each half as high a rank is held by twice as many, the rest by the lowest."""
    rank = min(highest or max(d_model // 4, 1), d_model)
    groups: dict[int, int] = {}
    left = n_transforms
    for index in range(N_RANKS):
        is_last = index == N_RANKS - 1 or rank == 1
        n = left if is_last else min(left, max(1, n_transforms * 2**index // (2**N_RANKS - 1)))
        groups[rank] = groups.get(rank, 0) + n
        left, rank = left - n, max(rank // 2, 1)
        if is_last:
            break
    return tuple(Group(n, rank) for rank, n in groups.items() if n)


def ranks(groups: tuple[Group, ...]) -> Int[Tensor, " transform"]:
    return torch.cat([torch.full((group.n,), group.rank) for group in groups])


def rows_of_active(active: Active, ranks: Int[Tensor, " transform"]) -> tuple[Active, Int[Tensor, " active_row"]]:
    """The active rows of V and U for active transforms, and which active entry each belongs to."""
    starts = ranks.cumsum(0) - ranks
    count = ranks[active.features]
    entry = torch.repeat_interleave(torch.arange(len(active), device=count.device), count)
    within = torch.arange(entry.numel(), device=count.device) - (count.cumsum(0) - count)[entry]
    rows = Active(
        rows=active.rows[entry], features=starts[active.features][entry] + within, n_rows=active.n_rows,
        n_features=int(ranks.sum()),
    )  # fmt: skip
    return rows, entry


def mixture(
    x: Float[Tensor, "row d_model"],
    values: Float[Tensor, " active"],
    active: Active,
    V: Float[Tensor, "rank d_model"],
    U: Float[Tensor, "rank d_model"],
    ranks: Int[Tensor, " transform"],
    kernel: Kernel = "sparse",
) -> Float[Tensor, "row d_model"]:
    """Σ over the active transforms of a row of value · Uₜ Vₜᵀ x."""
    rows, entry = rows_of_active(active, ranks)
    inner = sparse_encode(x, V, V.new_zeros(V.shape[0]), rows)
    return decode(inner * values[entry], rows, U, kernel)


def product_norms(
    V: Float[Tensor, "rank d_model"], U: Float[Tensor, "rank d_model"], groups: tuple[Group, ...]
) -> Float[Tensor, " transform"]:
    """‖Uₜ Vₜᵀ‖ (Frobenius), from the small Gram matrices: tr(UᵀU VᵀV)."""
    found, start = [], 0
    for n, rank in groups:
        stop = start + n * rank
        v, u = (part[start:stop].view(n, rank, -1) for part in (V, U))
        found.append(((v @ v.mT) * (u @ u.mT)).sum((1, 2)).clamp_min(1e-24).sqrt())
        start = stop
    return torch.cat(found)


class Transforms(nn.Module):
    """The decoder of a mixture in training; gates are the encoder that all kinds have."""

    def __init__(self, *, n_layers: int, d_model: int, n_features: int, config: TrainingConfig) -> None:
        super().__init__()
        self.groups = groups_of(n_features, d_model, config.molt_rank)
        self.ranks: Tensor
        self.register_buffer("ranks", ranks(self.groups), persistent=False)
        size = (int(self.ranks.sum()), d_model)
        self.V = nn.ParameterList(torch.zeros(size) for _ in range(n_layers))
        self.U = nn.ParameterList(torch.zeros(size) for _ in range(n_layers))

    def norms(self, layer: int) -> Float[Tensor, " transform"]:
        return product_norms(self.V[layer], self.U[layer], self.groups)

    def write(
        self, layer: int, x: Float[Tensor, "row d_model"], values: Float[Tensor, " active"], active: Active,
        kernel: Kernel = "sparse",
    ) -> Float[Tensor, "row 1 d_model"]:  # fmt: skip
        return mixture(x, values, active, self.V[layer], self.U[layer], self.ranks, kernel)[:, None]

    def write_tangent(
        self, layer: int, x: Tensor, dx: Tensor, values: Tensor, dvalues: Tensor, active: Active,
        kernel: Kernel = "sparse",
    ) -> Float[Tensor, "row 1 d_model"]:  # fmt: skip
        return self.write(layer, x, dvalues, active, kernel) + self.write(layer, dx, values, active, kernel)

    def point_(self, layer: int, features: Int[Tensor, " chosen"], x: Tensor, writes: Tensor) -> None:
        """The first row of V is the input's direction and that of U what is written; the other rows of V are random,
        those of U zero, so that the rank grows where it is of use."""
        rows = self._rows(features)
        V, U = self.V[layer], self.U[layer]
        # as many rows on as transforms before: a fixed pattern rather than a draw, for the caller's generator's sake
        V[rows] = _directions(rows, V.shape[1], like=V)
        U[rows] = 0.0
        first = (self.ranks.cumsum(0) - self.ranks)[features]
        norm = x.norm(dim=1, keepdim=True).clamp_min(1e-6)
        V[first] = x / norm
        U[first] = writes / norm

    def amount(self, activation: Tensor, along: Tensor) -> Tensor:
        return activation * along

    def rows_of(self, layer: int, features: Int[Tensor, " chosen"]) -> list[tuple[nn.Parameter, Tensor]]:
        rows = self._rows(features)
        return [(self.V[layer], rows), (self.U[layer], rows)]

    def _rows(self, features: Int[Tensor, " chosen"]) -> Int[Tensor, " row"]:
        one = Active(
            rows=torch.arange(len(features), device=features.device), features=features, n_rows=len(features),
            n_features=len(self.ranks),
        )  # fmt: skip
        return rows_of_active(one, self.ranks)[0].features


def _directions(rows: Int[Tensor, " row"], d_model: int, like: Tensor) -> Float[Tensor, "row d_model"]:
    """Unit vectors that differ from row to row and are the same in every run."""
    table = torch.randn(int(rows.max()) + 1 if rows.numel() else 0, d_model, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(table, dim=1).to(like)[rows]

"""The part of a stream that carries a variable: a subspace of stated size, fitted on some cases and tried on others.

A whole stream holds everything that is known at its place, so exchanging it shows only that something was there. The
part is found by linear discriminants: with S the covariance within values, shrunk towards the identity, and m_v the
mean of each value, the directions in which the S^(-1/2) m_v differ most. A base of value v is given the part of value
w by adding m_w − m_v along these directions: what the cases of a value have in common, and nothing of any one donor.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

SHRINKAGE = 0.1
"""Share of the mean variance within values that is added to every direction's."""
SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Dimensions that are tried."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The mean of each value along directions that tell values apart, the strongest first.

    Attributes:
        coordinates: Of the mean of each value; a value without cases has zeros.
        write: The directions, in units of the stream.
    """

    coordinates: Float[Tensor, "value k"]
    write: Float[Tensor, "d k"]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that can be tried, the largest last."""
        whole = self.write.shape[1]
        return (*(size for size in SIZES if size < whole), whole)

    def difference(self, of: Int[Tensor, " case"], to: Int[Tensor, " case"], size: int) -> Float[Tensor, "case d"]:
        """What makes cases of one value into cases of another, along so many directions."""
        moved = self.coordinates[to, :size] - self.coordinates[of, :size]
        return moved @ self.write[:, :size].T


def fitted_part(x: Float[Tensor, "case d"], values: Int[Tensor, " case"], n_values: int) -> Part:
    """The part of `x` that tells `values` apart, linearly: as many directions as values less one, at most the largest
    of SIZES."""
    x = x.double()
    counts = torch.bincount(values, minlength=n_values).double()
    means = torch.zeros(n_values, x.shape[1], dtype=x.dtype).index_add_(0, values, x) / counts.clamp_min(1)[:, None]
    to_white, from_white = _whitening(x - means[values])
    there = counts > 0
    centred = (means - means[there].mean(0)) @ to_white * there[:, None]
    size = max(1, min(int(there.sum()) - 1, SIZES[-1], x.shape[1]))
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:size].T
    return Part(coordinates=(centred @ directions).float(), write=(from_white @ directions).float())


def random_differences(differences: Float[Tensor, "pair d"], x: Float[Tensor, "case d"], seed: int) -> Tensor:
    """For each difference a random one of the same length, drawn from how `x` varies: what any push of this length
    does."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(len(differences), len(x), generator=generator)
    drawn = weights @ (x - x.mean(0))
    lengths = differences.norm(dim=1, keepdim=True)
    return drawn * lengths / drawn.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _whitening(within: Float[Tensor, "case d"]) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
    covariance = within.T @ within / len(within)
    spread, axes = torch.linalg.eigh(covariance)
    scale = (spread.clamp_min(0) + SHRINKAGE * spread.mean().clamp_min(1e-12)).sqrt()
    return axes / scale, axes * scale

"""Edges as compressed sparse rows, as they are found: before there is a graph."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.brief import brief


@brief
@dataclass(frozen=True, kw_only=True)
class EdgeRows:
    """One row a target, columns rising within a row, zeros left out."""

    indptr: Int[Tensor, " row_and_one"]
    columns: Int[Tensor, " edge"]
    """In 32 bits: there may be hundreds of millions."""
    values: Float[Tensor, " edge"]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def to(self, device: torch.device) -> "EdgeRows":
        """The same rows on a device."""
        return EdgeRows(indptr=self.indptr.to(device), columns=self.columns.to(device), values=self.values.to(device))

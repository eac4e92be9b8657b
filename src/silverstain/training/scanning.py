"""Which entries of x W_encᵀ + b_enc exceed their threshold: the dense search that every step begins with.

Of 2,048 rows and 8,192 features the product fills 64 MB, of which a few entries in a thousand are wanted. On a CPU it
is made tile by tile, and a tile is searched while the cache holds it: the product then runs at the rate of one of
square matrices, and the search adds little. numpy searches, since torch, with one thread, takes four times as long to
write truth values; it does not know bfloat16, whose bits it compares as whole numbers. With many threads, on a GPU, or
in other types, the product is made whole.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from silverstain.training.kernels import Active, order_of, sampled_products

TILE_ROWS, TILE_FEATURES = 512, 1024
"""Rows are those of one thread. Smaller tiles lose more by packing the weights again than the cache gains."""
NUMPY_THREADS = 4
"""Up to as many threads of torch, numpy's one is faster."""

Entries = tuple[Int[Tensor, " active"], Int[Tensor, " active"], Float[Tensor, " active"]]
"""Rows, features and products, sorted by (row, feature)."""


class Scratch:
    """Scratch memory for `above`: allocating it afresh for each layer costs a third of the product itself."""

    def __init__(self) -> None:
        self._pre: Tensor | None = None
        self._mask: Tensor | None = None

    def buffers(self, x: Tensor, size: tuple[int, int]) -> tuple[Float[Tensor, "a b"], Bool[Tensor, "a b"]]:
        """Two matrices of this size and any content; the first of the type of x, both on its device."""
        n = size[0] * size[1]
        pre, mask = self._pre, self._mask
        fits = pre is not None and pre.numel() >= n and pre.dtype == x.dtype and pre.device == x.device
        if pre is None or mask is None or not fits:
            self._pre = pre = x.new_empty(n)
            self._mask = mask = torch.empty(n, dtype=torch.bool, device=x.device)
        return pre[:n].view(size), mask[:n].view(size)


def is_tiled(dtype: torch.dtype, device: torch.device | str) -> bool:
    """Whether `above` searches tile by tile here."""
    known = dtype in (torch.float32, torch.float64, torch.bfloat16)
    return known and torch.device(device).type == "cpu" and torch.get_num_threads() <= NUMPY_THREADS


def entries_at_a_time(n_rows: int, n_features: int, dtype: torch.dtype, device: torch.device | str) -> int:
    """How many entries of the product `above` holds at once; a truth value is held with each."""
    if not is_tiled(dtype, device):
        return n_rows * n_features
    return min(n_rows, TILE_ROWS * torch.get_num_threads()) * min(n_features, TILE_FEATURES)


@torch.no_grad()
def above(
    x: Float[Tensor, "row d_in"],
    W_enc: Float[Tensor, "feature d_in"],
    b_enc: Float[Tensor, " feature"],
    threshold: Float[Tensor, " feature"],
    scratch: Scratch | None = None,
    products: torch.dtype | None = None,
) -> tuple[Active, Float[Tensor, " active"]]:
    """The entries of x W_encᵀ + b_enc that lie strictly above their feature's threshold, and their values.

    With `products` (bfloat16) the search is made in that type, so an entry within its rounding of the threshold may be
    missed or found; the values are exact all the same.
    """
    cut = threshold - b_enc  # so that nothing need be added to the entries that nobody wants
    searched = products or x.dtype
    search = _in_tiles if is_tiled(searched, x.device) else _in_the_whole
    rows, features, found = search(x.to(searched), W_enc.to(searched), cut.to(searched), scratch or Scratch())
    active = Active(rows=rows, features=features, n_rows=x.shape[0], n_features=W_enc.shape[0])
    exact = found if searched == x.dtype else sampled_products(x, W_enc, active)
    return active, exact + b_enc.index_select(0, features)


def _in_the_whole(x: Tensor, W_enc: Tensor, cut: Tensor, scratch: Scratch) -> Entries:
    n_features = W_enc.shape[0]
    pre, mask = scratch.buffers(x, (x.shape[0], n_features))
    torch.mm(x, W_enc.T, out=pre)
    flat = _nonzero_flat(torch.gt(pre, cut, out=mask))
    rows = torch.div(flat, max(n_features, 1), rounding_mode="floor")
    return rows, flat - rows * n_features, pre.view(-1).index_select(0, flat)


def _in_tiles(x: Tensor, W_enc: Tensor, cut: Tensor, scratch: Scratch) -> Entries:
    height = TILE_ROWS * torch.get_num_threads()
    found = [
        _in_tile(x[i : i + height], W_enc[j : j + TILE_FEATURES], cut[j : j + TILE_FEATURES], scratch, i, j)
        for i in range(0, x.shape[0], height)
        for j in range(0, W_enc.shape[0], TILE_FEATURES)
    ]
    if not found:
        none = torch.zeros(0, dtype=torch.int64)
        return none, none, x.new_zeros(0)
    rows, features, products = (torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True))
    if x.dtype == torch.bfloat16:
        products = products.view(torch.bfloat16)
    if W_enc.shape[0] <= TILE_FEATURES:
        return rows, features, products
    order = order_of(rows, x.shape[0])  # sorted by (tile of rows, tile of features, row, feature) so far
    return rows.index_select(0, order), features.index_select(0, order), products.index_select(0, order)


def _in_tile(
    x: Tensor, W_enc: Tensor, cut: Tensor, scratch: Scratch, first_row: int, first_feature: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    width = W_enc.shape[0]
    pre, mask = scratch.buffers(x, (x.shape[0], width))
    torch.mm(x, W_enc.T, out=pre)
    if x.dtype == torch.bfloat16:
        exceeds_by_bits_(mask, pre, cut)
        pre = pre.view(torch.int16)
    else:
        np.greater(pre.numpy(), cut.numpy(), out=mask.numpy())
    flat = np.flatnonzero(mask.numpy())
    rows = flat // width
    return rows + first_row, flat - (rows * width - first_feature), pre.numpy().reshape(-1)[flat]


def exceeds_by_bits_(
    mask: Bool[Tensor, "row feature"], pre: Float[Tensor, "row feature"], cut: Float[Tensor, " feature"]
) -> None:
    """Write pre > cut of bfloat16 into `mask`, by their bits as whole numbers: several times as fast as torch.

    Their order is that of the numbers where these are not negative, and negative numbers have negative bits; so it is
    wrong only between two negative ones, and features whose cut is negative are compared as they are.
    """
    np.greater(pre.view(torch.int16).numpy(), (cut + 0.0).view(torch.int16).numpy(), out=mask.numpy())  # no −0
    negative = (cut < 0).nonzero().view(-1)
    if len(negative):
        mask[:, negative] = pre[:, negative] > cut[negative]


def _nonzero_flat(mask: Bool[Tensor, "row feature"]) -> Int[Tensor, " active"]:
    """Flat indices of the true entries; eight at a time first, since nearly all are false (5 times faster)."""
    if mask.numel() == 0 or mask.shape[1] % 8 or not mask.is_contiguous():
        return mask.reshape(-1).nonzero().view(-1)
    words = mask.view(torch.int64).view(-1).nonzero().view(-1)
    within = mask.view(-1, 8).index_select(0, words).view(-1).nonzero().view(-1)
    return words.index_select(0, within >> 3) * 8 + (within & 7)

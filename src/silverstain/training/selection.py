"""Which features are active in the first phase: the best of a whole batch, found without sorting the batch.

BatchTopK over all layers keeps the l0 · layers · rows entries of highest score; a layer whose share falls below its
floor gets its own best entries first. Sorting all layers · rows · features scores costs more than the rest of a step,
so a running threshold first discards what lies well below it, and the order statistics are taken among the few left.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.training.kernels import Active
from silverstain.training.weights import Weights

MARGIN = 0.6
"""Candidates are entries above this share of the running threshold."""


@torch.no_grad()
def select(
    weights: Weights, inputs: list[Tensor], l0: float, floor: float
) -> tuple[list[Active], Float[Tensor, " layer"]]:
    """The active features of scaled inputs [row, d_model] of every layer, and the score threshold of each layer that
    separates them from the rest, for a mean of `l0` a row and layer and at least `floor` · `l0` in each layer."""
    candidates: list[Active] = []
    scores: list[Tensor] = []
    for layer, x in enumerate(inputs):
        active, values = weights.active(layer, x, MARGIN)
        candidates.append(active)
        scores.append(values * weights.decoder_norms(layer)[active.features])
    n_rows = inputs[0].shape[0]
    threshold = batch_thresholds(scores, round(l0 * n_rows * len(inputs)), round(floor * l0 * n_rows))
    kept = [active.keep(score > cut) for active, score, cut in zip(candidates, scores, threshold, strict=True)]
    return kept, threshold


def batch_thresholds(scores: list[Float[Tensor, " _"]], budget: int, floor: int) -> Float[Tensor, " layer"]:
    """The threshold of each layer that lets `budget` scores pass in all and at least `floor` in each layer.

    Layers that would get less than the floor under one common threshold get their own; the others share what is left.
    """
    starved: dict[int, Tensor] = {}
    while True:
        rest = [score for layer, score in enumerate(scores) if layer not in starved]
        left = budget - floor * len(starved)
        common = _kth_largest(torch.cat(rest), left) if rest else scores[0].new_zeros(())
        found = {
            layer: _kth_largest(score, floor)
            for layer, score in enumerate(scores)
            if layer not in starved and int((score > common).sum()) < floor
        }
        if not found:
            return torch.stack([starved.get(layer, common) for layer in range(len(scores))])
        starved |= found


@torch.no_grad()
def first_thresholds_(weights: Weights, inputs: list[Tensor], l0: float) -> None:
    """Set the score thresholds so that a sample of scaled inputs has about `l0` active features a row and layer."""
    weights.score_threshold.zero_()  # everything positive is a candidate: hence a sample
    _, threshold = select(weights, inputs, l0, floor=0.25)
    weights.score_threshold.copy_(threshold)


def _kth_largest(scores: Float[Tensor, " _"], k: int) -> Float[Tensor, ""]:
    """The value that at most k scores exceed... or just below the smallest, where there are not more than k."""
    n = scores.numel()
    if n == 0:
        return scores.new_zeros(())
    if k >= n:
        return scores.min() * (1 - 1e-6)
    return scores.kthvalue(n - k).values

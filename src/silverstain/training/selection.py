"""Which features are active in the first phase, found without sorting all scores.

BatchTopK over all layers keeps the l0 · layers · rows entries of highest score; a layer whose share falls below its
floor gets its own best entries first. TopK keeps the best l0 of each token and layer. Sorting all layers · rows ·
features scores costs more than the rest of a step, so a running threshold first discards what lies well below it, and
order statistics are taken among the few left. ReLU and JumpReLU have a threshold to begin with.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from silverstain.training.kernels import Active
from silverstain.training.scanning import above
from silverstain.training.team import ALONE, Team
from silverstain.training.weights import Weights

MARGIN = 0.6
"""Candidates are entries above this share of the running threshold."""
NARROW_MARGIN = 0.95
"""Share of the last batch's threshold that is tried first: from one batch of thousands of tokens to the next it moves
by a percent or two, and there may be twenty candidates at 0.6 of the running threshold for one that is kept."""
FIRST_THRESHOLD = 0.03
"""The least pre-activation a learned threshold begins at: one at 0 would jump by nothing, and learn nothing."""


class Selection(NamedTuple):
    """The features that a training step decodes, layer by layer."""

    active: list[Active]
    threshold: Float[Tensor, " layer"]
    """The score of each layer that lets as many pass."""
    pre_activations: list[Float[Tensor, " active"]]
    """Theirs, without gradient: the search knows them."""


def choose(weights: Weights, inputs: list[Tensor], l0: float, floor: float) -> Selection:
    """The features that a training step decodes, by the activation of these weights. Those a little below a learned
    threshold are among them, with activation 0."""
    if weights.config.activation == "batchtopk":
        return select(weights, inputs, l0, floor)
    if weights.config.activation == "topk":
        best = [best_of_each_token(weights, layer, x, round(l0)) for layer, x in enumerate(inputs)]
        active, threshold, values = zip(*best, strict=True)
        return Selection(list(active), torch.stack(threshold), list(values))
    active, values = zip(*(weights.near(layer, x) for layer, x in enumerate(inputs)), strict=True)
    return Selection(list(active), weights.score_threshold, list(values))


@torch.no_grad()
def select(weights: Weights, inputs: list[Tensor], l0: float, floor: float) -> Selection:
    """The active features of scaled inputs [row, d_model] of every layer, and the score threshold of each layer that
    separates them from the rest, for a mean of `l0` a row and layer and at least `floor` · `l0` in each layer."""
    n_rows = _rows_in_all(weights, inputs[0])
    budget, least = round(l0 * n_rows * len(inputs)), round(floor * l0 * n_rows)
    searched = [MARGIN * weights.score_threshold]
    if weights.last_threshold is not None:  # else there were too few features, and there will be again
        searched.insert(0, NARROW_MARGIN * weights.last_threshold)
    is_enough = False
    for lowest in searched:
        candidates, values, scores = _candidates(weights, inputs, lowest)
        everybodys = weights.team.all_scores(scores)
        threshold = batch_thresholds(everybodys, budget, least)
        is_enough = are_enough(everybodys, threshold, lowest)
        if is_enough:
            break
    weights.last_threshold = threshold if is_enough else None
    kept = [(score > cut).nonzero().view(-1) for score, cut in zip(scores, threshold, strict=True)]
    return Selection(
        [active.at(index) for active, index in zip(candidates, kept, strict=True)], threshold,
        [some.index_select(0, index) for some, index in zip(values, kept, strict=True)],
    )  # fmt: skip


def _candidates(
    weights: Weights, inputs: list[Tensor], lowest: Float[Tensor, " layer"]
) -> tuple[list[Active], list[Tensor], list[Tensor]]:
    """The entries of each layer whose score exceeds its lowest, their pre-activations and their scores."""
    candidates: list[Active] = []
    values: list[Tensor] = []
    scores: list[Tensor] = []
    for layer, x in enumerate(inputs):
        norms = weights.decoder_norms(layer)
        active, found = weights.above(layer, x, lowest[layer] / norms.clamp_min(1e-12))
        candidates.append(active)
        values.append(found)
        scores.append(found * norms.index_select(0, active.features))
    return candidates, values, scores


def are_enough(
    scores: list[Float[Tensor, " _"]], threshold: Float[Tensor, " layer"], least: Float[Tensor, " layer"]
) -> bool:
    """Whether thresholds found among the scores above `least` are those of all scores: none is lower than what was
    searched, and none was taken for want of a score below it."""
    lowest = torch.stack([score.min() if score.numel() else score.new_tensor(torch.inf) for score in scores])
    found = all(bool((lowest[threshold == cut] <= cut).any()) for cut in threshold.unique())
    return found and bool((threshold > least).all())


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
def best_of_each_token(
    weights: Weights, layer: int, x: Tensor, k: int
) -> tuple[Active, Float[Tensor, ""], Float[Tensor, " active"]]:
    """The k features of highest positive score of each row of scaled inputs, the layer's threshold that lets as many
    pass in all, and their pre-activations. Rows with fewer than k candidates above the running threshold are searched
    again from 0."""
    team = weights.team
    active, values = weights.active(layer, x, MARGIN)
    (counts,) = team.over_features([active.row_starts.diff()])
    short = (counts < k).nonzero().view(-1)
    if short.numel():
        zero = torch.zeros_like(weights.b_enc[layer])
        again, more = above(x[short], weights.W_enc[layer].detach(), weights.b_enc[layer].detach(), zero)
        active, values = _joined(active, values, again, more, short)
    scores = values * weights.decoder_norms(layer)[active.features]
    is_best = among_best_of_row(scores, active, k, team)
    every, kept = team.all_scores([scores, scores[is_best]])
    # as many as are kept: tokens with fewer than k positive scores keep fewer
    return active.keep(is_best), _kth_largest(every, len(kept)), values[is_best]


def among_best_of_row(
    scores: Float[Tensor, " active"], active: Active, k: int, team: Team = ALONE
) -> Bool[Tensor, " active"]:
    """Which entries are among the k highest of their row: a sort of the few that are active, not of all features."""
    counts = active.row_starts.diff()
    most = int(counts.max()) if len(active) else 0
    if most <= k and team.holds_all_features:
        return torch.ones_like(scores, dtype=torch.bool)
    padded = scores.new_full((active.n_rows, max(most, k)), -torch.inf)
    place = torch.arange(len(active), device=scores.device) - active.row_starts[active.rows]
    padded[active.rows, place] = scores
    best = padded.topk(k, dim=1).values
    if not team.holds_all_features:
        best = team.all_columns(best).topk(k, dim=1).values
    return scores >= best[:, -1][active.rows]


def _rows_in_all(weights: Weights, x: Tensor) -> int:
    """How many rows the processes have of which this one has x."""
    return int(weights.team.over_rows(torch.tensor(x.shape[0], device=x.device)))


def _joined(
    active: Active, values: Tensor, again: Active, more: Tensor, rows: Int[Tensor, " again"]
) -> tuple[Active, Tensor]:
    """The entries of `active` but for some rows, whose entries come from `again`, which has these rows alone."""
    is_again = torch.zeros(active.n_rows, dtype=torch.bool, device=rows.device).index_fill_(0, rows, True)
    kept = ~is_again[active.rows]
    row = torch.cat([active.rows[kept], rows[again.rows]])
    feature = torch.cat([active.features[kept], again.features])
    order = torch.argsort(row, stable=True)
    both = Active(rows=row[order], features=feature[order], n_rows=active.n_rows, n_features=active.n_features)
    return both, torch.cat([values[kept], more])[order]


@torch.no_grad()
def first_thresholds_(weights: Weights, inputs: list[Tensor], l0: float) -> None:
    """Set the thresholds so that a sample of scaled inputs has about `l0` active features a row and layer; ReLU, whose
    threshold is 0, gets biases instead."""
    weights.score_threshold.zero_()  # everything positive is a candidate: hence a sample
    if weights.log_threshold is not None:
        for log in weights.log_threshold:
            log.fill_(-torch.inf)
    threshold = select(weights, inputs, l0, floor=0.25).threshold
    for layer, score in enumerate(threshold):
        if weights.log_threshold is not None:
            least = FIRST_THRESHOLD * weights.decoder_norms(layer).clamp_min(1e-12)
            weights.log_threshold[layer].copy_(torch.maximum(score, least).log())
        if weights.config.activation == "relu":
            weights.b_enc[layer] -= score / weights.decoder_norms(layer).clamp_min(1e-12)
    weights.score_threshold.copy_(threshold)


def _kth_largest(scores: Float[Tensor, " _"], k: int) -> Float[Tensor, ""]:
    """The value that at most k scores exceed... or just below the smallest, where there are not more than k."""
    n = scores.numel()
    if n == 0:
        return scores.new_zeros(())
    if k >= n:
        return torch.nextafter(scores.min(), scores.new_tensor(-torch.inf))
    if scores.device.type != "cpu" or scores.dtype not in (torch.float32, torch.float64):
        return scores.kthvalue(n - k).values
    return torch.from_numpy(np.partition(scores.numpy(), n - k - 1))[n - k - 1]  # seven times as fast

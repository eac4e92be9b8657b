"""Linear probes, tested on combinations they were not fitted on, with intervals over those combinations."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.statistics import Share, estimates

N_FOLDS = 4
N_RESAMPLES = 200
SHRINKAGE = 0.2
"""Part of the within-class covariance of standardised inputs that is replaced by the identity.

Of 0.01, 0.05, 0.2, 0.5 and 0.9 the one that read held-out towns best, from 400 and from 800 cases of 50 states."""


def folds_of(
    values: Sequence[str], combinations: Sequence[str], seed: int, n_folds: int = N_FOLDS
) -> Int[Tensor, " case"]:
    """A fold for each case. A combination lies in one fold; those of one value are spread over all folds."""
    commonest: dict[str, Counter[str]] = defaultdict(Counter)
    for value, combination in zip(values, combinations, strict=True):
        commonest[combination][value] += 1
    rng = random.Random(f"folds {seed}")
    order = sorted(commonest, key=lambda combination: (commonest[combination].most_common(1)[0][0], rng.random()))
    by_combination = {combination: index % n_folds for index, combination in enumerate(order)}
    return torch.tensor([by_combination[combination] for combination in combinations])


def read_linearly(
    x: Float[Tensor, "case d"], classes: Int[Tensor, " case"], folds: Int[Tensor, " case"], n_classes: int
) -> Int[Tensor, " case"]:
    """The class that a linear reader fitted on the other folds gives each case.

    The reader is a linear discriminant with equal priors: with class means m_c and the covariance S within classes of
    the standardised inputs, shrunk to the identity, a case x gets the class of largest xᵀS⁻¹m_c − m_cᵀS⁻¹m_c/2.
    """
    given = torch.empty_like(classes)
    for fold in folds.unique().tolist():
        is_tested = folds == fold
        given[is_tested] = _fit_and_read(x[~is_tested], classes[~is_tested], x[is_tested], n_classes)
    return given


def _fit_and_read(
    x: Float[Tensor, "fitted d"], classes: Int[Tensor, " fitted"], tested: Float[Tensor, "tested d"], n_classes: int
) -> Int[Tensor, " tested"]:
    mean, spread = x.mean(0), x.std(0, correction=0)
    scale = torch.where(spread > 1e-6, 1 / spread.clamp_min(1e-6), 0.0)
    x, tested = (x - mean) * scale, (tested - mean) * scale
    member = torch.nn.functional.one_hot(classes, n_classes).to(x.dtype)
    counts = member.sum(0)
    means = (member.T @ x) / counts.clamp_min(1).unsqueeze(1)
    within = x - means[classes]
    covariance = (1 - SHRINKAGE) * (within.T @ within) / len(x) + SHRINKAGE * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(covariance, means.T)
    scores = tested @ weights - (means.T * weights).sum(0) / 2
    return scores.masked_fill(counts == 0, -torch.inf).argmax(1)  # a value of one combination only is never given


def balanced_accuracy(
    is_right: Tensor, classes: Int[Tensor, " case"], groups: Int[Tensor, " case"], n_classes: int, seed: int
) -> Share:
    """Accuracy averaged over the classes, with a 95 % interval from resampling whole groups.

    Cases of one group, a combination, stand or fall together, so they are drawn together. Classes that a draw misses
    do not count in it.
    """
    n_groups = int(groups.max()) + 1
    where = groups * n_classes + classes
    cases = torch.bincount(where, minlength=n_groups * n_classes).double().view(n_groups, n_classes)
    rights = torch.bincount(where, weights=is_right.double(), minlength=cases.numel()).view_as(cases)

    def figures(times: Float[Tensor, "draw group"]) -> dict[str, Tensor]:
        there = times @ cases
        return {"accuracy": (times @ rights / there.clamp_min(1)).sum(1) / (there > 0).sum(1)}

    found = estimates(figures, n_groups, seed=seed, draws=N_RESAMPLES)["accuracy"]
    low, high = found.interval
    return Share(value=found.value, low=min(low, found.value), high=max(high, found.value), n=len(groups))


def best_look_up(tokens: Int[Tensor, " case"], classes: Int[Tensor, " case"], n_classes: int) -> float:
    """The balanced accuracy of the best table from one token to a class, fitted and tested on the same cases.

    No reader of that token's embedding can do better, held-out combinations or not.
    """
    sizes = torch.bincount(classes, minlength=n_classes).clamp_min(1)
    _, token = tokens.unique(return_inverse=True)
    table = torch.zeros(int(token.max()) + 1, n_classes, dtype=torch.float64)
    table.index_put_((token, classes), 1.0 / sizes[classes].double(), accumulate=True)
    return float(table.max(1).values.sum() / len(classes.unique()))


def bags_of_tokens(token_ids: Int[Tensor, "case pos"]) -> Float[Tensor, "case token"]:
    """How often each token that occurs at all occurs in each case."""
    _, index = token_ids.unique(return_inverse=True)
    bags = torch.zeros(len(token_ids), int(index.max()) + 1, dtype=torch.float64)
    return bags.scatter_add_(1, index, torch.ones_like(index, dtype=torch.float64))

"""Linear probes, tested on combinations they were not fitted on, with intervals over those combinations."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .measures import Measure

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
) -> Measure:
    """Accuracy averaged over the classes, with a 95 % interval from resampling whole groups.

    Cases of one group, a combination, stand or fall together, so they are drawn together.
    """
    n_groups = int(groups.max()) + 1
    cases = np.zeros((n_groups, n_classes))
    rights = np.zeros_like(cases)
    np.add.at(cases, (groups.numpy(), classes.numpy()), 1)
    np.add.at(rights, (groups.numpy(), classes.numpy()), is_right.numpy().astype(float))
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=N_RESAMPLES)
    drawn = _mean_over_classes(draws @ rights, draws @ cases)
    low, high = np.quantile(drawn, (0.025, 0.975))
    value = float(_mean_over_classes(rights.sum(0, keepdims=True), cases.sum(0, keepdims=True))[0])
    return Measure(value=value, low=min(float(low), value), high=max(float(high), value), n=len(groups))


def _mean_over_classes(rights: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """[draw, class] counts to [draw] balanced accuracies; classes that a draw missed do not count in it."""
    is_there = cases > 0
    return np.where(is_there, rights / np.where(is_there, cases, 1), 0).sum(1) / is_there.sum(1)


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

"""Which known class a feature stands for: words, next words, hidden values, kinds of word.

A class is a set of units (places or sentences). A feature matches a class when its activation lies inside (precision,
weighted by activation, so that weak stray firings count little) and the class's units make it fire (recall):

    precision = Σ_{u ∈ class} a_u / Σ_u a_u      recall = |{u ∈ class: a_u > 0}| / |class|      F1 = 2PR/(P+R)

AUROC of the winner is exact: the probability that a unit of the class has a larger activation than one outside,
ties (silence on both sides, mostly) counted half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Named sets of units; a unit may be in several."""

    names: tuple[str, ...]
    members: scipy.sparse.csr_matrix
    """[unit, class], ones."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The best class of each feature; `winner` is -1 where a feature never fires in any class."""

    winner: Int[np.ndarray, " key"]
    precision: Float[np.ndarray, " key"]
    recall: Float[np.ndarray, " key"]
    f1: Float[np.ndarray, " key"]
    auroc: Float[np.ndarray, " key"]
    support: Int[np.ndarray, " key"]
    """Units of the winning class."""
    n_units: int

    def beyond_chance(self, key: int) -> float:
        """Precision on the scale where a feature that fires everywhere has 0 and a perfect one has 1."""
        share = self.support[key] / self.n_units
        return float((self.precision[key] - share) / (1 - share)) if share < 1 else 0.0


def classes_from_pairs(pairs: Sequence[tuple[int, str]], n_units: int) -> Classes:
    """Classes from (unit, class name) pairs, in order of first appearance; repeated pairs count once."""
    code: dict[str, int] = {}
    columns = np.array([code.setdefault(name, len(code)) for _, name in pairs], dtype=np.int64)
    rows = np.array([unit for unit, _ in pairs], dtype=np.int64)
    members = scipy.sparse.csr_matrix(
        (np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(n_units, max(len(code), 1))
    )
    members.data[:] = 1.0
    return Classes(names=tuple(code) or ("",), members=members)


def best_matches(activations: scipy.sparse.csr_matrix, classes: Classes, *, min_support: int = 3) -> Matches:
    """The class of highest F1 for each row of `activations` [key, unit]; ties go to the class met first.

    Classes with fewer than `min_support` units are left out: they are matched by chance.
    """
    n_keys = len(activations.indptr) - 1
    sizes = np.asarray(classes.members.sum(axis=0)).ravel()
    fired = activations.copy()
    fired.data = (fired.data > 0).astype(np.float32)
    mass = scipy.sparse.csr_matrix(activations @ classes.members)
    hits = scipy.sparse.csr_matrix(fired @ classes.members)
    total = np.asarray(activations.sum(axis=1)).ravel()
    winner = np.full(n_keys, -1, dtype=np.int64)
    precision, recall, f1 = (np.zeros(n_keys) for _ in range(3))
    for key in np.flatnonzero(np.diff(mass.indptr)).tolist():
        # Both products have the same pattern: a firing has positive mass.
        span = slice(mass.indptr[key], mass.indptr[key + 1])
        column = mass.indices[span]
        order = np.argsort(column, kind="stable")
        column = column[order]
        p = mass.data[span][order] / total[key]
        r = _aligned(hits, key, column) / sizes[column]
        score = np.where(sizes[column] >= min_support, 2 * p * r / np.maximum(p + r, 1e-12), -1.0)
        best = int(np.argmax(score))
        if score[best] >= 0:
            winner[key], precision[key], recall[key], f1[key] = column[best], p[best], r[best], score[best]
    support = np.where(winner >= 0, sizes[winner], 0).astype(np.int64)
    return Matches(
        winner=winner,
        precision=precision,
        recall=recall,
        f1=f1,
        auroc=_auroc_of_winners(activations, classes, winner),
        support=support,
        n_units=activations.get_shape()[1],
    )


def _aligned(matrix: scipy.sparse.csr_matrix, row: int, columns: np.ndarray) -> np.ndarray:
    span = slice(matrix.indptr[row], matrix.indptr[row + 1])
    order = np.argsort(matrix.indices[span], kind="stable")
    assert np.array_equal(matrix.indices[span][order], columns)  # the same firings made both products
    return matrix.data[span][order]


def _auroc_of_winners(
    activations: scipy.sparse.csr_matrix, classes: Classes, winner: Int[np.ndarray, " key"]
) -> Float[np.ndarray, " key"]:
    by_class = classes.members.tocsc()
    n_units = activations.get_shape()[1]
    out = np.full(len(winner), 0.5)
    for key in np.flatnonzero(winner >= 0).tolist():
        span = slice(activations.indptr[key], activations.indptr[key + 1])
        column = by_class.indices[by_class.indptr[winner[key]] : by_class.indptr[winner[key] + 1]]
        inside = np.isin(activations.indices[span], column)
        values = activations.data[span]
        out[key] = auroc(values[inside], values[~inside], len(column), n_units - len(column))
    return out


def auroc(inside: Float[np.ndarray, " a"], outside: Float[np.ndarray, " b"], n_inside: int, n_outside: int) -> float:
    """P(a unit inside > a unit outside) + ½ P(equal), given the positive activations; the other units are zero."""
    if not n_inside or not n_outside:
        return 0.5
    ranked = np.sort(outside)
    below = np.searchsorted(ranked, inside, side="left")
    not_above = np.searchsorted(ranked, inside, side="right")
    silent_inside, silent_outside = n_inside - len(inside), n_outside - len(outside)
    wins = (below + not_above).sum() / 2 + len(inside) * silent_outside + silent_inside * silent_outside / 2
    return float(wins / (n_inside * n_outside))

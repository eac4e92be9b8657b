"""Which known class a feature stands for: words, next words, hidden values, kinds of word.

A class is a set of items: places of the corpus, or its sentences. A feature matches a class when its activation lies
inside (precision, weighted by activation, so that weak firings count little) and it fires on the items of the class
(recall):

    precision = Σ_{i ∈ class} a_i / Σ_i a_i      recall = |{i ∈ class: a_i > 0}| / |class|      F1 = 2PR/(P+R)

AUROC of the winner is exact: the probability that an item of the class has a larger activation than one outside, ties
(mostly of two items where the feature is not active) counted half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Named sets of items; an item may be in several."""

    names: tuple[str, ...]
    members: scipy.sparse.csr_matrix
    """[item, class], ones."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The best class of each feature; `winner` is -1 where a feature never fires in any class."""

    winner: Int[np.ndarray, " key"]
    precision: Float[np.ndarray, " key"]
    recall: Float[np.ndarray, " key"]
    f1: Float[np.ndarray, " key"]
    auroc: Float[np.ndarray, " key"]
    support: Int[np.ndarray, " key"]
    """Items of the winning class."""
    n_items: int

    def beyond_chance(self, key: int) -> float:
        """Precision on the scale where a feature that fires everywhere has 0 and a perfect one has 1."""
        share = self.support[key] / self.n_items
        return float((self.precision[key] - share) / (1 - share)) if share < 1 else 0.0


def classes_from_pairs(pairs: Sequence[tuple[int, str]], n_items: int) -> Classes:
    """Classes from (item, class name) pairs, in order of first appearance; repeated pairs count once."""
    code: dict[str, int] = {}
    columns = np.array([code.setdefault(name, len(code)) for _, name in pairs], dtype=np.int64)
    rows = np.array([item for item, _ in pairs], dtype=np.int64)
    members = scipy.sparse.csr_matrix(
        (np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(n_items, max(len(code), 1))
    )
    members.data[:] = 1.0
    return Classes(names=tuple(code) or ("",), members=members)


def best_matches(activations: scipy.sparse.csr_matrix, classes: Classes, *, min_support: int = 3) -> Matches:
    """The class of highest F1 for each row of `activations` [key, item]; ties go to the class met first.

    Classes with fewer than `min_support` items are left out: they are matched by chance.
    """
    overlaps = overlaps_of(activations, classes, min_support=min_support)
    best = [int(np.argmax(overlap.f1)) if len(overlap.column) else -1 for overlap in overlaps]
    chosen = [(int(overlap.column[i]),) if i >= 0 else () for overlap, i in zip(overlaps, best, strict=True)]
    return matches_of(activations, classes, overlaps, chosen)


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """One feature against every class in which it fires at all."""

    column: Int[np.ndarray, " class"]
    precision: Float[np.ndarray, " class"]
    hits: Float[np.ndarray, " class"]
    """Units of the class in which it fires."""
    size: Float[np.ndarray, " class"]

    @property
    def f1(self) -> Float[np.ndarray, " class"]:
        return f1_of(self.precision, self.hits / self.size)


def f1_of(precision: Any, recall: Any) -> Any:
    """2PR/(P+R) of numbers or arrays, 0 where both are 0."""
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def overlaps_of(activations: scipy.sparse.csr_matrix, classes: Classes, *, min_support: int) -> list[Overlap]:
    """Overlaps of every feature, classes in ascending order, those of fewer than `min_support` items left out."""
    sizes = np.asarray(classes.members.sum(axis=0)).ravel().astype(np.float64)
    fired = activations.copy()
    fired.data = (fired.data > 0).astype(np.float32)
    # Both products have the same pattern, since a firing has positive mass; sorted, they can be read side by side.
    mass = scipy.sparse.csr_matrix(activations @ classes.members)
    hits = scipy.sparse.csr_matrix(fired @ classes.members)
    mass.sort_indices()
    hits.sort_indices()
    assert np.array_equal(mass.indices, hits.indices)
    total = np.asarray(activations.sum(axis=1)).ravel().astype(np.float64)
    out: list[Overlap] = []
    for key in range(len(mass.indptr) - 1):
        span = slice(mass.indptr[key], mass.indptr[key + 1])
        column = mass.indices[span].astype(np.int64)
        kept = sizes[column] >= min_support
        column = column[kept]
        out.append(
            Overlap(
                column=column,
                precision=np.asarray(mass.data[span][kept], dtype=np.float64) / (total[key] or 1.0),
                hits=hits.data[span][kept].astype(np.float64),
                size=sizes[column],
            )
        )
    return out


def matches_of(
    activations: scipy.sparse.csr_matrix,
    classes: Classes,
    overlaps: Sequence[Overlap],
    chosen: Sequence[tuple[int, ...]],
) -> Matches:
    """How well each feature matches the class, or the union of disjoint classes, chosen for it; none: winner -1.

    `winner` is the first chosen class.
    """
    by_class = classes.members.tocsc()
    n_items = activations.get_shape()[1]
    figures = np.zeros((len(chosen), 5))
    figures[:, 3] = 0.5
    for key, (overlap, columns) in enumerate(zip(overlaps, chosen, strict=True)):
        if not columns:
            continue
        rows = np.isin(overlap.column, columns)
        precision, size = overlap.precision[rows].sum(), overlap.size[rows].sum()
        recall = overlap.hits[rows].sum() / size
        span = slice(activations.indptr[key], activations.indptr[key + 1])
        items = np.concatenate([by_class.indices[by_class.indptr[c] : by_class.indptr[c + 1]] for c in columns])
        inside = np.isin(activations.indices[span], items)
        values = activations.data[span]
        area = auroc(values[inside], values[~inside], len(items), n_items - len(items))
        figures[key] = precision, recall, f1_of(precision, recall), area, size
    return Matches(
        winner=np.array([columns[0] if columns else -1 for columns in chosen], dtype=np.int64),
        precision=figures[:, 0],
        recall=figures[:, 1],
        f1=figures[:, 2],
        auroc=figures[:, 3],
        support=figures[:, 4].astype(np.int64),
        n_items=n_items,
    )


def auroc(inside: Float[np.ndarray, " a"], outside: Float[np.ndarray, " b"], n_inside: int, n_outside: int) -> float:
    """P(an item inside > an item outside) + ½ P(equal), given the positive activations; the other items are zero."""
    if not n_inside or not n_outside:
        return 0.5
    ranked = np.sort(outside)
    below = np.searchsorted(ranked, inside, side="left")
    not_above = np.searchsorted(ranked, inside, side="right")
    zero_inside, zero_outside = n_inside - len(inside), n_outside - len(outside)
    wins = (below + not_above).sum() / 2 + len(inside) * zero_outside + zero_inside * zero_outside / 2
    return float(wins / (n_inside * n_outside))

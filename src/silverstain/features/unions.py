"""Features that stand for a few values of one hidden variable: state = texas or ohio.

A small dictionary has fewer features than a variable has values, so one feature often stands for two or three of them.
Values of one variable exclude each other, so precision adds up over them and recall is that of all their sentences.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import scipy.sparse

from silverstain.features.matching import Classes, Matches, Overlap, f1_of, matches_of, overlaps_of

MAX_VALUES = 3
GAIN = 0.08
"""F1 that every further value has to add: a name of three values is only worth its length if it fits much better."""
IS, OR = " = ", " or "


def best_unions(
    activations: scipy.sparse.csr_matrix, classes: Classes, *, min_support: int = 3
) -> tuple[tuple[str, ...], Matches]:
    """For each feature the best value, or the best few values of one variable; (names, matches into them).

    Classes are named "variable = value". At most MAX_VALUES of them and at most half of a variable's values are taken
    together, added one by one while each adds GAIN.
    """
    variables = [name.split(IS)[0] for name in classes.names]
    n_values: dict[str, int] = defaultdict(int)
    for variable in variables:
        n_values[variable] += 1
    overlaps = overlaps_of(activations, classes, min_support=min_support)
    chosen = [_best(overlap, variables, n_values) for overlap in overlaps]
    matches = matches_of(activations, classes, overlaps, chosen)
    code: dict[str, int] = {}
    for key, columns in enumerate(chosen):
        if columns:
            matches.winner[key] = code.setdefault(_name(classes.names, columns), len(code))
    return tuple(code) or ("",), matches


def values_in(subject: str) -> tuple[str, ...]:
    """state = texas or ohio → (state = texas, state = ohio)."""
    variable, _, values = subject.partition(IS)
    return tuple(f"{variable}{IS}{value}" for value in values.split(OR))


def _best(overlap: Overlap, variables: Sequence[str], n_values: dict[str, int]) -> tuple[int, ...]:
    by_variable: dict[str, list[int]] = defaultdict(list)
    for index, column in enumerate(overlap.column.tolist()):
        by_variable[variables[int(column)]].append(index)
    best: tuple[float, tuple[int, ...]] = (-1.0, ())
    for variable, indices in by_variable.items():
        score, taken = _union(overlap, np.array(indices), max(1, min(MAX_VALUES, n_values[variable] // 2)))
        if score > best[0]:
            best = (score, taken)
    return tuple(int(overlap.column[index]) for index in best[1])


def _union(overlap: Overlap, indices: np.ndarray, most: int) -> tuple[float, tuple[int, ...]]:
    """The best of these classes, then further ones while each adds GAIN: (F1, indices into the overlap)."""
    precision, hits, size, scores = (
        column[indices] for column in (overlap.precision, overlap.hits, overlap.size, overlap.f1)
    )
    taken = [int(np.argmax(scores))]
    score = float(scores[taken[0]])
    while len(taken) < min(most, len(indices)):
        recall = (hits[taken].sum() + hits) / (size[taken].sum() + size)
        scores = f1_of(precision[taken].sum() + precision, recall)
        scores[taken] = -1.0
        further = int(np.argmax(scores))
        if scores[further] < score + GAIN:
            break
        taken.append(further)
        score = float(scores[further])
    return score, tuple(int(indices[index]) for index in taken)


def _name(names: Sequence[str], columns: tuple[int, ...]) -> str:
    parts = [names[column].partition(IS) for column in columns]
    return f"{parts[0][0]}{IS}{OR.join(value for _, _, value in parts)}"

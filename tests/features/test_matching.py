"""The best class of a feature, against plain loops over items."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from silverstain.features.matching import auroc, best_matches, classes_from_pairs
from silverstain.features.unions import best_unions, values_in


def slow_match(row: np.ndarray, members: np.ndarray, min_support: int):
    best = (-1, -1.0)
    for column in range(members.shape[1]):
        inside = members[:, column] > 0
        if inside.sum() < min_support or not (row[inside] > 0).any():
            continue
        precision, recall = row[inside].sum() / row.sum(), (row[inside] > 0).mean()
        f1 = 2 * precision * recall / (precision + recall)
        if f1 > best[1] + 1e-6:
            best = (column, f1)
    return best


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_matches_equal_plain_loops(seed: int):
    rng = np.random.default_rng(seed)
    n_items, n_classes = 30, 6
    activations = rng.random((5, n_items)).astype(np.float32) * (rng.random((5, n_items)) < 0.3)
    pairs = [(u, f"c{c}") for u in range(n_items) for c in range(n_classes) if rng.random() < 0.2]
    classes = classes_from_pairs(pairs, n_items)
    found = best_matches(scipy.sparse.csr_matrix(activations), classes, min_support=2)
    members = classes.members.toarray()
    for key, row in enumerate(activations):
        column, f1 = slow_match(row, members, 2)
        if column < 0:
            assert found.winner[key] == -1
            continue
        assert found.f1[key] == pytest.approx(f1, abs=1e-5)
        assert found.precision[key] == pytest.approx(row[members[:, found.winner[key]] > 0].sum() / row.sum(), abs=1e-5)
        inside = members[:, found.winner[key]] > 0
        assert found.support[key] == inside.sum()
        if not inside.all():
            assert found.auroc[key] == pytest.approx(roc_auc_score(inside, row), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_auroc_counts_ties_half(seed: int):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, size=20).astype(float)
    inside = rng.random(20) < 0.5
    if inside.all() or not inside.any():
        return
    a, b = values[inside], values[~inside]
    wanted = np.mean([(x > y) + (x == y) / 2 for x in a for y in b])
    assert auroc(a[a > 0], b[b > 0], len(a), len(b)) == pytest.approx(wanted)


def test_an_item_may_be_in_several_classes_and_a_pair_counts_once():
    classes = classes_from_pairs([(0, "a"), (0, "b"), (0, "a"), (2, "b")], 3)
    assert classes.names == ("a", "b")
    assert classes.members.toarray().tolist() == [[1, 1], [0, 0], [0, 1]]


def test_a_feature_that_serves_two_values_is_named_by_both():
    """Six values of one variable and two of another; the feature fires in two of the six."""
    values = [f"state = {'abcdef'[i % 6]}" for i in range(60)] + ["carry = 0", "carry = 1"] * 10
    classes = classes_from_pairs(list(enumerate(values)), len(values))
    served = [
        ("state = b", "state = e"),
        ("state = c",),
        ("carry = 0", "carry = 1"),
        ("state = a", "state = b", "state = c", "state = d"),
    ]
    fires = np.array([[float(value in named) for value in values] for named in served], dtype=np.float32)
    names, found = best_unions(scipy.sparse.csr_matrix(fires), classes)
    called = [names[winner] for winner in found.winner]
    assert called[0] == "state = b or e"
    assert (found.f1[0], found.auroc[0], found.support[0]) == (1.0, 1.0, 20)
    assert called[1] == "state = c"
    assert called[2] == "carry = 0"  # both together would be no value at all
    assert called[3].count(" or ") == 2
    assert values_in("state = b or e") == ("state = b", "state = e")


def test_one_value_that_fits_alone_stays_alone():
    rng = np.random.default_rng(0)
    values = [f"state = {i % 8}" for i in range(80)]
    classes = classes_from_pairs(list(enumerate(values)), 80)
    fires = np.array([[(value == "state = 3") + 0.05 * (rng.random() < 0.1) for value in values]], dtype=np.float32)
    names, found = best_unions(scipy.sparse.csr_matrix(fires), classes)
    alone = best_matches(scipy.sparse.csr_matrix(fires), classes)
    assert names[found.winner[0]] == classes.names[alone.winner[0]] == "state = 3"
    assert found.f1[0] == pytest.approx(alone.f1[0])
    assert found.auroc[0] == pytest.approx(alone.auroc[0])

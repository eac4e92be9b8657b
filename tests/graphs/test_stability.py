"""Stability over prompts drawn again."""

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.graphs.stability import circuit_units, stability


def test_one_prompt_many_times_is_perfectly_stable(make_graph):
    found = stability([make_graph(1)] * 5, draws=20)
    assert (found.jaccard, found.sign) == (1.0, 1.0)
    assert found.random == found.units / (2 * found.of_units - found.units)


def test_prompts_with_nothing_in_common_are_not_stable(make_graph):
    found = stability([make_graph(seed, n_features=20, n_positions=8) for seed in range(6)], draws=50)
    assert found.jaccard < 0.8
    assert not found.is_stable
    assert found == stability([make_graph(seed, n_features=20, n_positions=8) for seed in range(6)], draws=50)


def test_a_circuit_is_the_fewest_units_that_carry_the_share():
    assert circuit_units(torch.tensor([0.1, 0.5, 0.0, 0.4]).double(), 0.8).tolist() == [False, True, False, True]


def test_one_graph_has_no_stability(make_graph):
    with pytest.raises(UsageError, match="give two graphs or more"):
        stability([make_graph(1)])

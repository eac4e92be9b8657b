"""Thresholds of a batch against a plain sort of all scores."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.initialising import initialise_
from silverstain.training.selection import are_enough, batch_thresholds, first_thresholds_, select
from silverstain.training.weights import Scales, Weights


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), n_layers=st.integers(1, 4), budget=st.integers(1, 60))
def test_without_a_floor_the_best_scores_of_all_layers_pass(seed, n_layers, budget):
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.rand(20, generator=generator) * (layer + 1) for layer in range(n_layers)]
    threshold = batch_thresholds(scores, budget, 0)
    kept = torch.cat([score[score > cut] for score, cut in zip(scores, threshold, strict=True)])
    best = torch.cat(scores).sort(descending=True).values[:budget]
    assert torch.equal(kept.sort(descending=True).values, best)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("k", [0, 1, 59, 60])
def test_a_threshold_lets_as_many_scores_pass_as_it_should(k, dtype):
    scores = torch.randperm(60, generator=torch.Generator().manual_seed(k)).to(dtype) + 1
    cut = batch_thresholds([scores], k, 0)[0]
    assert sorted(scores[scores > cut].tolist(), reverse=True) == [60 - i for i in range(k)]


def test_a_starved_layer_gets_its_floor_and_the_others_the_rest():
    scores = [torch.linspace(10, 20, 50), torch.linspace(0, 1, 50), torch.linspace(11, 21, 50)]
    threshold = batch_thresholds(scores, budget=40, floor=5)
    counts = [int((score > cut).sum()) for score, cut in zip(scores, threshold, strict=True)]
    assert counts[1] == 5
    assert sum(counts) == 40
    assert threshold[0] == threshold[2]


def make_weights(**settings):
    config = TrainingConfig(n_features=32, l0=3, rows=64, pool_rows=64, **settings)
    generator = torch.Generator().manual_seed(0)
    pool = Activations(
        inputs=torch.randn(2, 64, 8, generator=generator), outputs=torch.randn(2, 64, 8, generator=generator)
    )
    weights = Weights(n_layers=2, d_model=8, config=config, scales=Scales.of(pool))
    initialise_(weights, pool, config, generator)
    with torch.no_grad():
        for b_enc in weights.b_enc:
            b_enc += 1.5  # features begin narrow: let enough of them be positive
    return weights, [weights.scales.scale_inputs(layer, pool.inputs[layer]) for layer in range(2)]


@pytest.mark.parametrize("kind", ["cross-layer", "per-layer"])
@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("lag", [0.5, 0.9, 1.05, 1.2, 1.5])  # a running threshold is never exact
def test_selection_by_running_threshold_equals_a_sort_of_everything(kind, lag, remembered):
    weights, inputs = make_weights(kind=kind)
    first_thresholds_(weights, inputs, 3)
    weights.score_threshold *= lag
    weights.last_threshold = weights.score_threshold.clone() if remembered else None
    active, threshold, values = select(weights, inputs, l0=3, floor=0.0)
    dense = [
        torch.addmm(weights.b_enc[layer], x, weights.W_enc[layer].T) * weights.decoder_norms(layer)
        for layer, x in enumerate(inputs)
    ]
    cut = torch.cat([scores.flatten() for scores in dense]).sort(descending=True).values[2 * 64 * 3]
    for layer, scores in enumerate(dense):
        rows, features = (scores > cut).nonzero(as_tuple=True)
        assert torch.equal(active[layer].rows, rows)
        assert torch.equal(active[layer].features, features)
        torch.testing.assert_close(values[layer] * weights.decoder_norms(layer)[features], scores[rows, features])
    assert sum(map(len, active)) == 2 * 64 * 3
    assert threshold.unique().numel() == 1


def test_thresholds_are_not_final_while_scores_that_were_not_searched_could_change_them():
    scores, cut = [torch.linspace(1, 2, 11), torch.linspace(1, 3, 11)], torch.tensor([1.5, 1.5])
    assert are_enough(scores, cut, torch.tensor([0.9, 0.9]))
    assert not are_enough(scores, cut, torch.tensor([0.9, 1.6])), "what lies between 1.5 and 1.6 was not searched"
    assert not are_enough(scores, torch.tensor([0.99, 0.99]), torch.tensor([0.9, 0.9])), "all scores lie above"
    assert not are_enough(scores, torch.tensor([1.5, 0.99]), torch.tensor([0.9, 0.9])), "of a layer's own threshold"

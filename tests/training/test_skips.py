"""A linear skip beside features: it takes what they leave, not what they would have found."""

import dataclasses

from silverstain.training import TrainingConfig
from silverstain.training.planting import Planted, recovery, train_on_planted

PLANTED = Planted.draw(d_model=24, n_features=32, n_active=2, n_layers=2, reach=2)
CONFIG = TrainingConfig(
    n_features=40, l0=2.0, steps=200, rows=128, pool_rows=2048, lr=5e-3, end_to_end=None, reseed_every=25, skip=True
)


def test_a_skip_waits_for_the_features():
    config = dataclasses.replace(CONFIG, steps=10, skip_from=0.4)
    norms = []
    for _, learner in train_on_planted(PLANTED, config):
        assert learner.weights.W_skip is not None
        norms.append(sum(float(W.detach().norm()) for W in learner.weights.W_skip))
    assert norms[:4] == [0.0] * 4
    assert all(norms[4:])


def found(config: TrainingConfig) -> tuple[float, float, float]:
    *_, (_, learner) = train_on_planted(PLANTED, config)
    seen = recovery(PLANTED, learner.weights)
    return seen.cosine, seen.f1, seen.nmse


def test_features_are_found_beside_a_skip_that_waits_and_the_skip_still_lowers_the_error():
    without = found(dataclasses.replace(CONFIG, skip=False))
    waiting, at_once = found(CONFIG), found(dataclasses.replace(CONFIG, skip_from=0.0))
    assert waiting[1] > at_once[1]
    assert waiting[1] > without[1] - 0.05
    assert waiting[2] < without[2]

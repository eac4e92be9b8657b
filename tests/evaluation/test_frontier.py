"""A sweep: dictionaries at several sparsities, measured alike, gone on with after an interruption."""

import dataclasses
import json

import pytest
from tests.training.conftest import batches

from silverstain.errors import UsageError
from silverstain.evaluation.frontier import Frontier, at_equal_parameters, at_sparsity, sweep
from silverstain.evaluation.plots import can_draw
from silverstain.training import TrainingConfig
from silverstain.training.planning import count_parameters

from .test_fidelity import some_batches

SHORT = TrainingConfig(
    n_features=48, steps=100, rows=64, pool_rows=256, warmup=2, reseed_every=10, finetune_steps=0, lr=5e-3
)
PER_LAYER = dataclasses.replace(SHORT, kind="per-layer")


def test_more_active_features_reconstruct_more_and_the_frontier_is_on_disk(model, tmp_path):
    trained = []
    configs = [SHORT, at_equal_parameters(model, SHORT, PER_LAYER)]

    def run():
        return sweep(
            model, lambda: batches(1, n=16), some_batches(2, seed=5), configs, (3, 9), tmp_path,
            prompts=[("text", [0, 3, 5, 2])], on_progress=lambda name, progress: trained.append(name),
        )  # fmt: skip

    found = run()
    assert set(trained) == {"cross-layer-3", "cross-layer-9", "per-layer-3", "per-layer-9"}
    assert len({point.series for point in found.points}) == 2
    for series in {point.series for point in found.points}:
        few, many = (point for point in found.points if point.series == series)
        assert (few.aim, many.aim) == (3, 9)
        assert few.l0 < many.l0
        assert few.figures["nmse"] > many.figures["nmse"]
        assert {"kl", "top1_match", "ce_recovered", "replacement"} <= few.figures.keys()
    assert 0 < found.references["nmse"] < 1
    assert Frontier.load(tmp_path) == found
    assert json.loads((tmp_path / "frontier.json").read_text())["format"] == "silverstain.frontier/1"
    assert (tmp_path / "frontier.png").exists() == can_draw()
    trained.clear()
    assert run() == found
    assert not trained, "what is trained is only measured"


def test_equal_parameters(model):
    other = at_equal_parameters(model, SHORT, PER_LAYER)
    assert other.n_features > SHORT.n_features
    step = count_parameters(model, dataclasses.replace(PER_LAYER, n_features=other.n_features + 8))
    assert abs(count_parameters(model, other) - count_parameters(model, SHORT)) <= (
        step - count_parameters(model, other)
    )


def test_sparsity_is_swept_in_the_unit_of_the_activation():
    assert at_sparsity(SHORT, 5).l0 == 5
    relu = dataclasses.replace(SHORT, activation="relu", sparsity=0.1)
    assert at_sparsity(relu, 0.2).sparsity == 0.2


@pytest.mark.parametrize("values", [(), (8,), (8, 8), (0, 8)])
def test_one_sparsity_is_no_sweep(model, tmp_path, values):
    with pytest.raises(UsageError, match="a sweep needs two sparsities or more"):
        sweep(model, lambda: batches(1), some_batches(1), [SHORT], values, tmp_path)

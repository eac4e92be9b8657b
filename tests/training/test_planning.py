"""What a plan counts, against what there is; how near memory comes at full size is measured in
benchmarks/training_memory.py."""

import itertools

import pytest
import torch
from tests.measuring import peak_of

from silverstain.training import TrainingConfig, train_dictionary
from silverstain.training.batches import Source
from silverstain.training.learner import Learner
from silverstain.training.planning import count_parameters, plan_training
from silverstain.training.pool import Pool

from .conftest import batches

SMALL = TrainingConfig(n_features=32, l0=4, steps=6, rows=32, pool_rows=64, pool_epochs=1, warmup=1, finetune_steps=2)


@pytest.mark.parametrize(
    "settings", [{}, {"kind": "per-layer", "skip": True}, {"reach": 2}, {"kind": "molt", "n_features": 8}]
)
def test_parameters_are_those_of_the_weights(model, settings):
    config = TrainingConfig(**{**SMALL.to_json(), **settings})
    pool = Pool(model, Source(batches(1)), 64)
    pool.bring_to(1)
    weights = Learner.start(pool.activations, config).weights
    assert count_parameters(model, config) == sum(parameter.numel() for parameter in weights.parameters())


def test_tokens_are_those_that_a_run_reads(model, tmp_path):
    drawn = []

    def counted():
        for batch in batches(1):
            drawn.append(batch.n_tokens)
            yield batch

    plan = plan_training(model, SMALL, tokens_a_batch=round(0.7 * 56), probe=False)
    train_dictionary(model, counted(), SMALL, tmp_path)
    assert plan.steps == 8
    assert plan.tokens == 6 * 32 + 2 * 39
    # a fill takes whole batches
    assert plan.harvested <= sum(drawn) < plan.harvested + 4 * 56


def test_the_largest_part_is_the_peak_and_grows_with_what_is_held(model):
    short = {**SMALL.to_json(), "steps": 2}  # one harvest
    plan = plan_training(model, TrainingConfig(**short), probe=False)
    assert plan.bytes == max(plan.parts.values())
    assert plan.seconds is None
    pool = 2 * 3 * 16 * 4  # inputs and outputs of three layers
    larger = plan_training(model, TrainingConfig(**{**short, "pool_rows": 6400}), probe=False)
    assert larger.parts["steps"] - plan.parts["steps"] == 6336 * pool
    wider = plan_training(model, TrainingConfig(**{**short, "n_features": 320}), probe=False)
    assert wider.parts["saving"] > plan.parts["saving"]


@pytest.mark.parametrize(
    "settings", [{}, {"kind": "per-layer", "skip": True, "n_features": 512, "rows": 256, "pool_rows": 1024}]
)
def test_bytes_are_those_that_a_run_holds(model, tmp_path, settings):
    """Within a factor of two, on a model so small that what is not counted is much of it."""
    config = TrainingConfig(**{**SMALL.to_json(), **settings})
    _, held = peak_of(lambda: train_dictionary(model, batches(1), config, tmp_path))
    assert held / 2 < plan_training(model, config, tokens_a_batch=39, probe=False).bytes < 2 * held


def test_seconds_are_those_of_a_few_steps_times_their_number(model, monkeypatch):
    """By a clock that moves by one second whenever it is looked at, so that whatever is tried takes one."""
    clock = itertools.count()
    monkeypatch.setattr("silverstain.training.planning.perf_counter", lambda: float(next(clock)))
    plan = plan_training(model, SMALL, tokens_a_batch=64)
    in_a_batch = 2 * (model.max_positions - 1)  # two sequences; the first token of each does not count
    in_first_phase = plan.harvested - SMALL.finetune_steps * 64
    assert plan.seconds == pytest.approx(in_first_phase / in_a_batch + SMALL.steps / 3 + SMALL.finetune_steps)


def test_a_probe_leaves_the_model_as_it_was(model):
    token_ids = torch.arange(1, 8)
    before = model.logits(token_ids)
    plan_training(model, SMALL, tokens_a_batch=64)
    assert torch.equal(model.logits(token_ids), before)
    assert all(parameter.grad is None for parameter in model.hf.parameters())

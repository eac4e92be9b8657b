"""The pool holds the rows of the batches it says, whichever part is renewed, and after a resume the same."""

import itertools

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.training import TrainingConfig, train_dictionary
from silverstain.training.batches import Activations, Source
from silverstain.training.pool import Pool

from .conftest import batches

ROWS = 120


def made(model, n_parts, seen=None):
    """A pool whose harvest is told; each batch of the conftest's has 40 tokens that count."""

    def harvest(number, batch):
        if seen is not None:
            seen.append(number)
        rows = torch.full((1, batch.n_tokens, 1), float(number))
        return Activations(inputs=rows.expand(model.n_layers, -1, model.d_model), outputs=rows.expand(3, -1, 16))

    return Pool(model, Source(batches()), ROWS, n_parts=n_parts, harvest=harvest)


def numbers(pool):
    """Which batches' rows are held."""
    assert torch.equal(pool.activations.inputs, pool.activations.outputs)
    return sorted(set(pool.activations.inputs[0, :, 0].int().tolist()))


def test_a_whole_pool_is_renewed_whole(model):
    pool = made(model, 1)
    pool.bring_to(1)
    assert numbers(pool) == [0, 1, 2]
    pool.bring_to(1)
    assert numbers(pool) == [0, 1, 2]
    pool.bring_to(2)
    assert numbers(pool) == [3, 4, 5]


def test_half_a_pool_stays(model):
    pool = made(model, 2)
    pool.bring_to(2)
    first = numbers(pool)
    pool.bring_to(3)
    second = numbers(pool)
    pool.bring_to(4)
    third = numbers(pool)
    assert (first, second, third) == ([0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7])  # what is left of a batch is let go


@pytest.mark.parametrize("n_parts", [1, 2, 3])
@pytest.mark.parametrize("n", [0, 1, 4])
def test_a_pool_that_goes_on_holds_the_same(model, n_parts, n):
    pool = made(model, n_parts)
    for fill in range(n_parts, n_parts + n + 1):
        pool.bring_to(fill)
    seen = []
    resumed = made(model, n_parts, seen)
    resumed.go_on_from(pool.to_json())
    resumed.bring_to(n_parts + n)
    assert torch.equal(resumed.activations.inputs, pool.activations.inputs)
    assert len(seen) == len(numbers(pool))  # no batch is harvested that is not held
    for later in (pool, resumed):
        later.bring_to(n_parts + n + 1)
    assert torch.equal(resumed.activations.inputs, pool.activations.inputs)


def test_an_interrupted_harvest_is_begun_again(model):
    pool = made(model, 2)
    pool.bring_to(2)
    calls = itertools.count()

    def stop():
        if next(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.bring_to(3, stop)
    resumed, whole = made(model, 2), made(model, 2)
    resumed.go_on_from(pool.to_json())
    whole.bring_to(2)
    for later in (resumed, whole):
        later.bring_to(3)
    assert torch.equal(resumed.activations.inputs, whole.activations.inputs)


def test_parts_must_divide_the_pool(model):
    with pytest.raises(UsageError, match="a pool of 120 tokens cannot be cut into 7 parts"):
        made(model, 7)


@pytest.mark.parametrize("n_parts", [1, 2])
def test_every_token_is_used_as_often_as_is_said(n_parts):
    config = TrainingConfig(n_features=64, l0=4, rows=64, pool_rows=256, pool_epochs=2, pool_parts=n_parts, steps=160)
    harvested = config.harvests_at(config.steps - 1) * config.pool_rows // n_parts
    assert config.steps * config.rows == pytest.approx(config.pool_epochs * harvested, rel=0.06)


ROLLING = TrainingConfig(
    n_features=48, l0=5, steps=30, rows=64, pool_rows=256, pool_epochs=2, pool_parts=2, warmup=3, reseed_every=5,
    finetune_steps=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(model, tmp_path_factory):
    return train_dictionary(model, batches(1), ROLLING, tmp_path_factory.mktemp("whole") / "whole").hash


@pytest.mark.parametrize("at", [5, 16, 30])
def test_a_run_with_a_rolling_pool_resumes_exactly(model, tmp_path, uninterrupted, at):
    def interrupt(progress):
        if progress.step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(1), ROLLING, tmp_path / "parts", interrupt)
    parts = train_dictionary(model, batches(1), ROLLING, tmp_path / "parts")
    assert parts.hash == uninterrupted

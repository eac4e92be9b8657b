"""Activations on disk are those of this model and this text alone; training cannot tell them from harvested ones."""

import itertools
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from silverstain.errors import UsageError
from silverstain.models.recording import MLP_INPUT
from silverstain.training import TrainingConfig, train_dictionary
from silverstain.training.batches import harvest_rows
from silverstain.training.cache import ActivationCache, bytes_a_row

from .conftest import batches

SHORT = TrainingConfig(
    n_features=48, l0=5, steps=20, rows=64, pool_rows=256, pool_epochs=2, warmup=3, reseed_every=5, finetune_steps=3
)


def filled(model, folder, n=7, shard_rows=100, seed=0):
    with ActivationCache(folder, model, shard_rows=shard_rows) as cache:
        for number, batch in enumerate(itertools.islice(batches(seed), n)):
            cache(number, batch)
    return cache


def test_what_is_read_back_is_what_was_harvested(model, tmp_path):
    filled(model, tmp_path)
    assert len(list(tmp_path.glob("activations-*.safetensors"))) == 3  # of 120, 120 and 40 rows
    cache = ActivationCache(tmp_path, model)
    for number, batch in enumerate(itertools.islice(batches(), 7)):
        expected, found = harvest_rows(model, batch), cache(number, batch)
        assert torch.equal(found.inputs, expected.inputs)
        assert torch.equal(found.outputs, expected.outputs)
    assert (cache.n_read, cache.n_harvested) == (7, 0)


def test_batches_may_be_kept_in_any_order_and_with_gaps(model, tmp_path):
    some = list(itertools.islice(batches(), 8))
    with ActivationCache(tmp_path, model) as cache:
        for number in (5, 6, 1, 3):
            cache(number, some[number])
    with ActivationCache(tmp_path, model) as cache:
        for number, batch in enumerate(some):
            assert torch.equal(cache(number, batch).inputs, harvest_rows(model, batch).inputs)
    assert (cache.n_read, cache.n_harvested) == (4, 4)


def test_a_run_from_disk_is_the_run_from_the_model(model, tmp_path, monkeypatch):
    plain = train_dictionary(model, batches(1), SHORT, tmp_path / "plain")
    kept = tmp_path / "kept"
    with ActivationCache(kept, model, shard_rows=200) as cache:
        first = train_dictionary(model, batches(1), SHORT, tmp_path / "first", cache=cache)
    with ActivationCache(kept, model) as cache:
        wider = replace(SHORT, finetune_steps=0)
        monkeypatch.setattr("silverstain.training.cache.harvest_rows", lambda *_: pytest.fail("the model was run"))
        train_dictionary(model, batches(1), wider, tmp_path / "second", cache=cache)
    assert first.hash == plain.hash
    assert cache.n_read > 0


def test_an_interrupted_run_goes_on_from_what_is_kept(model, tmp_path):
    whole = train_dictionary(model, batches(1), SHORT, tmp_path / "whole")

    def interrupt(progress):
        if progress.step == 9:
            raise KeyboardInterrupt

    kept = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt), ActivationCache(kept, model) as cache:
        train_dictionary(model, batches(1), SHORT, tmp_path / "parts", interrupt, cache=cache)
    with ActivationCache(kept, model) as again:
        parts = train_dictionary(model, batches(1), SHORT, tmp_path / "parts", cache=again)
    assert parts.hash == whole.hash
    assert again.n_read > 0


def test_activations_of_another_text_are_refused(model, tmp_path):
    filled(model, tmp_path)
    other = next(batches(9))
    with pytest.raises(UsageError, match="holds the activations of other text at batch 0; the cache was made with"):
        ActivationCache(tmp_path, model)(0, other)
    same = next(batches())
    same.mask[0, 3] = False
    with pytest.raises(UsageError, match="holds the activations of other text at batch 0"):
        ActivationCache(tmp_path, model)(0, same)


def test_activations_of_another_model_or_place_are_refused(model, tmp_path, monkeypatch):
    filled(model, tmp_path)
    with pytest.raises(UsageError, match=re.escape(f"its reads_at is {MLP_INPUT!r}, this run's 'elsewhere'")):
        ActivationCache(tmp_path, model, reads_at="elsewhere")
    monkeypatch.setitem(model.__dict__, "hash", "another")
    with pytest.raises(UsageError, match="activations of another model or place: its model_hash is"):
        ActivationCache(tmp_path, model)


def test_other_and_broken_files_are_refused(model, tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(UsageError, match="keep activations in a folder of their own"):
        ActivationCache(tmp_path, model)
    (tmp_path / "weights.safetensors").write_bytes(b"cut")
    with pytest.raises(UsageError, match="cannot read"):
        ActivationCache(tmp_path, model)


def test_a_disk_without_room_is_said_before_training(model, tmp_path):
    cache = filled(model, tmp_path)
    assert bytes_a_row(model) == 2 * 3 * 16 * 4
    cache.check_room(1000)
    with pytest.raises(UsageError, match=r"take [\d,.]+ GB more, and .* has [\d,.]+ GB left; train without a cache"):
        cache.check_room(10**15)

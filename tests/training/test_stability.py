"""What ends a run, and what it leaves: divergence, a full disk, settings that cannot work."""

import dataclasses
import math
import re

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from silverstain.errors import UsageError
from silverstain.storage import read_tensors
from silverstain.training import TrainingConfig, train_dictionary
from silverstain.training.reconstruction import StepReport
from silverstain.training.stability import PATIENCE, Stability

from .conftest import batches

SHORT = TrainingConfig(
    n_features=64, l0=6, steps=80, rows=64, pool_rows=256, pool_epochs=2, warmup=1, finetune_steps=0,
    checkpoint_minutes=1e-9,
)  # fmt: skip


def report(nmse, kl=None, loss=None):
    return StepReport(loss=nmse if loss is None else loss, nmse=nmse, l0=[1.0], kl=kl)


def test_a_figure_must_be_far_off_for_a_while():
    stability = Stability()
    assert not any(stability.has_diverged(report(n)) for n in (0.9, 0.1, 3.9, 0.2))
    assert stability.is_calm
    for _ in range(PATIENCE - 1):
        assert not stability.has_diverged(report(50.0))
    assert not stability.is_calm
    assert Stability(**stability.to_json()) == stability
    assert dataclasses.replace(stability).has_diverged(report(50.0))
    assert not stability.has_diverged(report(0.3))
    assert stability.is_calm


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_ends_it_at_once(bad):
    assert Stability().has_diverged(report(bad))
    assert Stability().has_diverged(report(0.1, kl=bad))
    assert Stability().has_diverged(report(0.1, loss=bad))


def test_a_large_divergence_counts_by_its_own_best():
    stability = Stability()
    stability.has_diverged(report(0.1, kl=0.05))
    for _ in range(PATIENCE - 1):
        assert not stability.has_diverged(report(0.1, kl=30.0))
    assert stability.has_diverged(report(0.1, kl=30.0))


def test_a_run_that_diverges_says_so_and_keeps_the_last_good_checkpoint(model, tmp_path):
    def fault(progress, weights):  # what a learning rate far too high does, at a step of our choice
        if progress.step == 20:
            for slab in weights.slab:
                slab.mul_(1e6)

    with pytest.raises(UsageError) as raised:
        train_dictionary(model, batches(1), SHORT, tmp_path, observe=fault)
    words = str(raised.value)
    found = re.search(r"training diverged at step (\d+) of 80: .*the checkpoint of step (\d+) in ", words)
    assert found, words
    assert int(found[1]) > int(found[2]) >= 20
    assert "with lr below 0.002" in words
    assert "\n" not in words
    tensors, _ = read_tensors(tmp_path / "checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())
    # a lower learning rate may go on from there
    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(1), dataclasses.replace(SHORT, lr=1e-4), tmp_path, stop_at_once)


def stop_at_once(progress):
    raise KeyboardInterrupt


def test_weights_that_are_no_numbers_are_never_saved(model, tmp_path):
    def poison(progress, weights):
        if progress.step == 3:
            weights.b_dec[0, 0] = torch.nan

    with pytest.raises(UsageError, match=r"at step 4 of 80: its loss is nan.*checkpoint of step 2 in"):
        train_dictionary(model, batches(1), SHORT, tmp_path, observe=poison)
    tensors, _ = read_tensors(tmp_path / "checkpoint.safetensors")
    assert tensors["weights.b_dec"].isfinite().all()


def test_a_full_disk_is_one_line_and_the_older_checkpoint_stays(model, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(1), SHORT, tmp_path, stop_at_once)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(UsageError, match=r"^cannot write .*checkpoint.safetensors: .*No space left on device"):
        train_dictionary(model, batches(1), SHORT, tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "molt", "reach": 2}, "molt writes to its own layer alone, but reach is 2"),
        ({"kind": "per-layer", "reach": 3}, "per-layer writes to its own layer alone, but reach is 3"),
        ({"kind": "molt", "widths": (4,)}, "leave widths out"),
        ({"widths": (64, 2048)}, "widths go up to 2048 but there are 1024 features a layer"),
        ({"widths": (64, 32)}, "widths must rise from 1 or more, got [64, 32]"),
        ({"molt_rank": 4}, "molt_rank is 4 but kind is cross-layer"),
        ({"reach": 0}, "reach counts a feature's own layer and is 1 or more, got 0"),
        ({"activation": "gelu"}, "activation must be batchtopk, topk, jumprelu or relu, got 'gelu'"),
        ({"activation": "relu"}, "nothing makes relu sparse while sparsity is 0"),
        ({"sparsity": 0.1, "sparsity_shape": "l0"}, "learned thresholds of jumprelu, which batchtopk has not"),
        ({"end_to_end": "ce", "edited_share": 0.5}, "take end_to_end kl or leave edited_share out"),
        ({"activation": "topk", "l0": 0.5}, "at least 1, but l0 is 0.5"),
        ({"aux_k": -1}, "aux_k must be 0 or more, got -1"),
        ({"aux_k": 5000}, "aux_k is 5000 but there are 1024 features"),
        ({"lr": math.inf}, "lr must be positive, got inf"),
        ({"sparsity": math.nan}, "sparsity must be 0 or more, got nan"),
    ],
)
def test_contradictory_settings_are_one_line(settings, words):
    with pytest.raises(UsageError, match=re.escape(words)) as raised:
        TrainingConfig(**settings)
    assert "\n" not in str(raised.value)


def test_the_advice_is_about_what_came_just_before(model, tmp_path):
    """A run that goes wrong in the step after a revival is not mended by another learning rate."""

    def fault(progress, weights):
        if progress.step == 40:
            for slab in weights.slab:
                slab.mul_(1e6)

    revives = dataclasses.replace(SHORT, reseed_every=40)
    with pytest.raises(UsageError, match="without the revival of dead features at step 40: reseed_until=0"):
        train_dictionary(model, batches(1), revives, tmp_path, observe=fault)
    # and that may change
    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(1), dataclasses.replace(revives, reseed_until=0), tmp_path, stop_at_once)

"""Short runs: they learn, they resume exactly, and what they leave on disk is whole."""

import itertools
import re

import pytest
import torch

from silverstain.bases import open_dictionary
from silverstain.errors import UsageError
from silverstain.evaluation import evaluate_dictionary
from silverstain.models import TokenBatch
from silverstain.statistics import divergence
from silverstain.storage import read_tensors, save_tensors_whole
from silverstain.training import TrainingConfig, train_dictionary
from silverstain.training.checkpoint import FILE, FORMAT
from silverstain.training.finetuning import hold_l0, random_swap

from .conftest import batches

SHORT = TrainingConfig(
    n_features=64, l0=6, steps=30, rows=64, pool_rows=256, pool_epochs=2, warmup=3, reseed_every=5, finetune_steps=10,
    edited_share=0.5,
)  # fmt: skip


def tensors_of(dictionary):
    layers = range(dictionary.n_layers)
    return [
        t for layer in layers for t in (dictionary.W_enc(layer), dictionary.W_dec(layer), dictionary.threshold(layer))
    ]


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """The dictionary of a run that nothing interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "name"
    return train_dictionary(model, batches(1), SHORT, folder), folder


@pytest.mark.parametrize("kind", ["cross-layer", "per-layer"])
def test_training_reconstructs_and_then_says_what_the_model_says(model, tmp_path, kind):
    config = TrainingConfig(
        kind=kind, n_features=128, l0=8, steps=250, rows=256, pool_rows=2048, warmup=5, reseed_every=25,
        finetune_steps=60, lr=5e-3, finetune_lr=1e-3,
    )  # fmt: skip
    seen = []
    dictionary = train_dictionary(model, batches(1, n=32), config, tmp_path / "out", seen.append)
    held_out = list(itertools.islice(batches(2, n=32), 4))
    fidelity = evaluate_dictionary(model, dictionary, held_out)
    divergences = [p.kl for p in seen if p.kl is not None]
    assert fidelity.nmse < 0.15 < 0.5 < seen[0].nmse
    assert sum(divergences[-20:]) < sum(divergences[:20])
    assert fidelity.l0 == pytest.approx(8, rel=0.25)
    assert fidelity.dead < 0.1
    assert dictionary.is_cross_layer == (kind == "cross-layer")
    assert [p.step for p in seen] == list(range(1, 311))
    assert seen[-1].seconds_left == 0


def interrupted_after(n):
    def interrupt(progress):
        if progress.step == n:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize("at", [3, 8, 16, 30, 35])
def test_an_interrupted_run_resumes_to_the_very_same_weights(model, tmp_path, whole, at):
    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(1), SHORT, tmp_path / "parts", interrupted_after(at))
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["checkpoint.safetensors"]
    resumed_steps = []
    resumed = train_dictionary(model, batches(1), SHORT, tmp_path / "parts", lambda p: resumed_steps.append(p.step))
    assert resumed_steps[0] == at + 1
    for a, b in zip(tensors_of(whole[0]), tensors_of(resumed), strict=True):
        assert torch.equal(a, b)
    assert not (tmp_path / "parts" / "checkpoint.safetensors").exists()


def test_a_checkpoint_is_not_resumed_with_other_settings(model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(1), SHORT, tmp_path, interrupted_after(2))
    other = TrainingConfig(**{**SHORT.to_json(), "l0": 5})
    with pytest.raises(UsageError, match=re.escape("other settings (l0 was 6 and is 5)")):
        train_dictionary(model, batches(1), other, tmp_path)
    two_threads = TrainingConfig(**{**SHORT.to_json(), "threads": 2})
    with pytest.raises(KeyboardInterrupt):  # it goes on, at the next step
        train_dictionary(model, batches(1), two_threads, tmp_path, interrupted_after(3))


def test_a_cut_short_checkpoint_is_named(model, tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(UsageError, match=r"cannot read .*checkpoint\.safetensors"):
        train_dictionary(model, batches(1), SHORT, tmp_path)


def test_a_checkpoint_of_another_version_is_not_gone_on_with(model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(1), SHORT, tmp_path, interrupted_after(2))
    path = tmp_path / FILE
    tensors, metadata = read_tensors(path)
    name, _, version = FORMAT.rpartition("/")
    for seen, words in (
        (f"{name}/2", f"is a checkpoint of another version of Silverstain (format 2, this one has {version})"),
        ("other/1", f"is not a {FORMAT} file; delete it"),
    ):
        save_tensors_whole(path, tensors, {"silverstain": metadata["silverstain"].replace(FORMAT, seen)})
        with pytest.raises(UsageError, match=re.escape(words)):
            train_dictionary(model, batches(1), SHORT, tmp_path)


def test_batches_that_end_are_an_error(model, tmp_path):
    with pytest.raises(UsageError, match="ended after 2; give one that does not end"):
        train_dictionary(model, itertools.islice(batches(), 2), SHORT, tmp_path)


def test_the_saved_dictionary_is_the_one_returned_and_knows_its_model(model, whole):
    dictionary, folder = whole
    opened = open_dictionary(folder)
    assert opened.hash == dictionary.hash
    assert opened.model_hash == model.hash
    assert opened.name == "name"
    assert opened.metadata["training"]["l0"] == 6


def test_training_leaves_threads_and_the_model_as_they_were(model, tmp_path):
    threads, batch = torch.get_num_threads(), next(batches(3))
    before = model.logits(batch.token_ids)
    train_dictionary(model, batches(1), SHORT, tmp_path)
    assert torch.get_num_threads() == threads
    assert torch.equal(model.logits(batch.token_ids), before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_features": 0}, "n_features must be positive, got 0"),
        ({"l0": 2000.0}, "l0 is 2000.0 but there are 1024 features a layer"),
        ({"rows": 10, "pool_rows": 5}, "a step takes 10 rows but the pool holds 5"),
        ({"edited_share": 1.5}, "edited_share is a share between 0 and 1, got 1.5"),
        ({"kind": "skip"}, "kind must be cross-layer, per-layer or molt, got 'skip'"),
    ],
)
def test_settings_that_cannot_work_cannot_be_built(settings, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        TrainingConfig(**settings)


def test_divergence_is_that_of_torch():
    a, b = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=a), torch.distributions.Categorical(logits=b)
    )
    torch.testing.assert_close(divergence(a, b), expected)


def test_thresholds_rise_when_too_much_is_active():
    assert hold_l0(12, 12) == 1
    assert hold_l0(13, 12) > 1 > hold_l0(11, 12)


def test_a_random_swap_gives_one_position_another_sequences_output(model):
    from silverstain.models import harvest

    batch: TokenBatch = next(batches(4))
    outputs = harvest(model, batch.token_ids).mlp_outputs
    ((layer, delta),) = random_swap(outputs, batch.mask, torch.Generator().manual_seed(0)).items()
    changed = delta.abs().sum(-1) > 0
    assert changed.any()
    assert (changed.sum(1) <= 1).all()
    assert not changed[~batch.mask].any()
    row, position = changed.nonzero()[0].tolist()
    swapped = outputs[layer, row, position] + delta[row, position]
    assert any(
        torch.allclose(swapped, outputs[layer, other, position], atol=1e-5) for other in range(8) if other != row
    )

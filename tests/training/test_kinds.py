"""Every kind, activation and loss: it learns, it is kept as it was trained, and it goes on exactly where it stopped."""

import dataclasses
import itertools

import pytest
import torch

from silverstain.bases import check_fits, open_dictionary, save_dictionary
from silverstain.bases.substitutes import Substitute, as_substitute
from silverstain.errors import UsageError
from silverstain.evaluation import evaluate_dictionary
from silverstain.models import harvest
from silverstain.training import TrainingConfig, train_dictionary
from silverstain.training.batches import Source
from silverstain.training.exporting import exported, save_exported
from silverstain.training.learner import Learner
from silverstain.training.mixtures import Molt, open_molt
from silverstain.training.pool import Pool

from .conftest import batches

BASE = TrainingConfig(
    n_features=64, l0=6, steps=60, rows=128, pool_rows=512, pool_epochs=2, warmup=3, reseed_every=10, lr=5e-3,
    finetune_steps=8, nmse_rows=32,
)  # fmt: skip
KINDS = {
    "skip": {"skip": True},
    "per-layer skip": {"kind": "per-layer", "skip": True},
    "affine skip": {"kind": "per-layer", "skip": True, "skip_starts": "affine"},
    "reach": {"reach": 2},
    "widths": {"widths": (16, 32)},
    "topk": {"activation": "topk"},
    "jumprelu": {"activation": "jumprelu", "sparsity": 0.01, "sparsity_shape": "l0"},
    "relu": {"activation": "relu", "sparsity": 0.01},
    "molt": {"kind": "molt", "n_features": 31, "l0": 4},
    "molt skip jumprelu": {"kind": "molt", "n_features": 31, "activation": "jumprelu", "sparsity": 0.01, "skip": True},
    "all losses": {
        "aux_k": 4, "pre_activation": 1e-5, "jacobian_weight": 0.1, "sparsity": 0.001, "skip": True, "reach": 2,
        "end_to_end": "ce", "reseed_until": 0.0,
    },
}  # fmt: skip
every_kind = pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)


def config_of(settings, **more):
    return dataclasses.replace(BASE, **{**settings, **more})


def harvested_rows(model, n_rows):
    pool = Pool(model, Source(batches(1, n=32)), n_rows)
    pool.bring_to(1)
    return pool.activations


def learned(model, config, n_steps=40):
    """A learner after some steps of the first phase, and what it learned from."""
    pool = harvested_rows(model, config.pool_rows)
    learner = Learner.start(pool, config)
    reports = []
    for step in range(n_steps):
        index = torch.randperm(config.pool_rows, generator=torch.Generator().manual_seed(step))[: config.rows]
        reports.append(learner.reconstruct(pool.rows(index), step, model))
    return learner, pool, reports


@every_kind
def test_the_loss_falls_and_what_is_kept_writes_what_was_trained(model, tmp_path, settings):
    learner, pool, reports = learned(model, config_of(settings))
    assert sum(r.nmse for r in reports[-5:]) < 0.7 * sum(r.nmse for r in reports[:5])
    kept = save_exported(learner.weights, tmp_path / "kept", model_hash=model.hash, model_name="tiny", facts={"a": 1})
    assert kept.metadata["a"] == 1
    substitute: Substitute = as_substitute(kept)
    ids = torch.zeros(64, dtype=torch.int64)
    fired = torch.zeros(2, dtype=torch.int64)
    with torch.no_grad():
        total = [torch.zeros(2, 64, model.d_model) for _ in range(model.n_layers)]
        for layer in range(model.n_layers):
            x = pool.inputs[layer, :64]
            for which, one in enumerate((learner.weights, substitute)):
                fired[which] += one.activity(layer, x).fired.sum()
                for target, part in enumerate(one.writes(layer, x, ids).unbind(1), layer):
                    total[target][which] += part
    assert fired[0] == fired[1] > 0
    for trained, opened in total:
        torch.testing.assert_close(opened, trained, rtol=1e-5, atol=1e-5 * float(trained.abs().max()))


@pytest.mark.parametrize("settings", [*KINDS.values(), {"decoder": "random"}], ids=[*KINDS, "random decoder"])
def test_a_killed_run_goes_on_to_the_very_same_weights(model, tmp_path, settings):
    config = config_of(settings, steps=12, rows=64, pool_rows=128, reseed_every=4, finetune_steps=4)
    whole = train_dictionary(model, batches(1), config, tmp_path / "whole")
    for stop in (6, 14):
        with pytest.raises(KeyboardInterrupt):
            train_dictionary(model, batches(1), config, tmp_path / "parts", interrupted_after(stop))
    assert train_dictionary(model, batches(1), config, tmp_path / "parts").hash == whole.hash


def test_a_random_decoder_is_never_learned_though_features_are_revived(model):
    config = config_of({"decoder": "random", "reseed_every": 10})
    pool = harvested_rows(model, config.pool_rows)
    learner = Learner.start(pool, config)
    before = [slab.detach().clone() for slab in learner.weights.slab]
    learner.fired.zero_()
    with torch.no_grad():
        for b_enc in learner.weights.b_enc:
            b_enc[:8] = -1e3  # dead, so that they are revived
    reports = [learner.reconstruct(pool.rows(torch.arange(config.rows)), step) for step in range(30)]
    learner.finetune(model, next(batches(1)), 0)
    assert reports[-1].nmse < 0.95 * reports[0].nmse
    assert all(b_enc[:8].max() > -1e3 for b_enc in learner.weights.b_enc)
    assert all(torch.equal(now, then) for now, then in zip(learner.weights.slab, before, strict=True))
    assert all(slab.norm(dim=1).min() > 0 for slab in before)


def interrupted_after(n):
    def interrupt(progress):
        if progress.step == n:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize("activation", ["batchtopk", "topk", "jumprelu", "relu"])
def test_as_many_features_are_active_when_frozen_as_in_training(model, activation):
    sparsity = 0.01 if activation in ("jumprelu", "relu") else 0.0
    learner, pool, reports = learned(model, config_of({"activation": activation, "sparsity": sparsity}), 60)
    trained = sum(sum(r.l0) / 3 for r in reports[-5:]) / 5
    dictionary = exported(learner.weights, name="x", model_hash=None, metadata={})
    assert dictionary.activation == "jumprelu"
    active = sum(int((dictionary.encode_layer(i, pool.inputs[i]) > 0).sum()) for i in range(3))
    assert active / (3 * pool.n_rows) == pytest.approx(trained, rel=0.15)


def test_a_dead_feature_is_revived_in_every_kind(model):
    for settings in KINDS.values():
        config = config_of(settings, reseed_every=5, reseed_until=1.0)
        learner, pool, _ = learned(model, config, 4)
        with torch.no_grad():
            learner.weights.b_enc[1][3] = -1e3
        learner.fired.zero_()
        before = learner.weights.W_enc[1][3].clone()
        learner.reconstruct(pool.rows(torch.arange(config.rows)), 4, model)
        assert learner.dead_share > 0
        assert not learner.dead[1, 3]
        assert not torch.equal(learner.weights.W_enc[1][3], before)
        assert learner.weights.activity(1, pool.inputs[1]).fired[3] > 0


def test_auxiliary_reconstruction_moves_the_dead_and_only_them_through_their_own_loss(model):
    from silverstain.training.losses import auxiliary_loss
    from silverstain.training.reconstruction import scaled_rows

    learner, pool, _ = learned(model, config_of({"aux_k": 2}), 2)
    weights, dead = learner.weights, torch.zeros(3, 64, dtype=torch.bool)
    dead[0, :20] = True
    inputs, targets = scaled_rows(weights, pool)
    weights.zero_grad()
    auxiliary_loss(weights, inputs, targets, dead).backward()
    moved = weights.slab[0].grad.abs().sum(1) > 0
    assert moved[:20].any()
    assert not moved[20:].any()
    reached = weights.slab[0].grad.view(64, 3, -1).abs().sum((0, 2))
    assert (reached > 0).all()  # the residual of every layer the features reach
    assert weights.slab[1].grad is None or not weights.slab[1].grad.any()


def test_prefixes_of_a_matryoshka_dictionary_reconstruct_on_their_own(model):
    def nmse_of_first(n, settings):
        from silverstain.training.losses import squared_error
        from silverstain.training.reconstruction import scaled_rows

        learner, pool, _ = learned(model, config_of(settings), 60)
        weights = learner.weights
        inputs, targets = scaled_rows(weights, pool)
        with torch.no_grad():
            active = [weights.near(i, x)[0] for i, x in enumerate(inputs)]
            values = [weights.values(i, x, active[i]) for i, x in enumerate(inputs)]
            first, everything = weights.prefix_outputs(inputs, values, active, (n, 64))
            torch.testing.assert_close(everything, weights.outputs(inputs, values, active), rtol=1e-4, atol=1e-4)
            return float(squared_error(targets, first)[0])

    assert nmse_of_first(16, {"widths": (16,)}) < 0.8 * nmse_of_first(16, {})


def test_a_feature_writes_as_far_as_its_reach(model, tmp_path):
    config = config_of({"reach": 2}, steps=4, finetune_steps=0)
    train_dictionary(model, batches(1), config, tmp_path / "d")
    opened = open_dictionary(tmp_path / "d")
    assert opened.is_cross_layer
    assert opened.W_dec(0)[:, :2].any(dim=2).any(dim=0).all()
    assert not opened.W_dec(0)[:, 2:].any()
    alone = config_of({"reach": 1}, steps=4, finetune_steps=0)
    assert not train_dictionary(model, batches(1), alone, tmp_path / "alone").is_cross_layer


@pytest.mark.parametrize("kind", ["cross-layer", "per-layer"])
def test_a_skip_is_written_and_read_back(model, tmp_path, kind):
    config = config_of({"kind": kind, "skip": True}, steps=10, finetune_steps=0)
    trained = train_dictionary(model, batches(1), config, tmp_path / "d")
    again = open_dictionary(tmp_path / "d")
    assert trained.has_skip
    for layer in range(3):
        assert torch.equal(again.W_skip(layer), trained.W_skip(layer))
        assert again.W_skip(layer).abs().max() > 0.01
    save_dictionary(again, tmp_path / "copy")
    assert open_dictionary(tmp_path / "copy").hash == again.hash


def test_a_mixture_is_kept_opened_measured_and_not_traced(model, tmp_path):
    config = config_of(KINDS["molt"])
    molt = train_dictionary(model, batches(1, n=32), config, tmp_path / "m")
    assert isinstance(molt, Molt)
    assert open_molt(tmp_path / "m").hash == molt.hash
    assert molt.model_hash == model.hash
    fidelity = evaluate_dictionary(model, molt, list(itertools.islice(batches(2, n=32), 3)))
    assert fidelity.nmse < 0.7
    assert fidelity.l0 == pytest.approx(4, rel=0.3)
    with pytest.raises(UsageError, match="is a mixture of linear transforms, which has no features that could be trac"):
        open_dictionary(tmp_path / "m")
    with pytest.raises(UsageError, match="a Molt has no features that could be traced"):
        check_fits(molt, model)
    (tmp_path / "m" / "molt.safetensors").unlink()
    with pytest.raises(UsageError, match=r"there is no file .*molt\.safetensors"):
        open_molt(tmp_path / "m")


def test_jacobian_matching_brings_derivatives_nearer(model):
    from silverstain.training.jacobians import mlp_tangents, to_another_token
    from silverstain.training.losses import jacobian_loss
    from silverstain.training.reconstruction import scaled_rows

    def mismatch(weight):
        learner, pool, _ = learned(model, config_of({"jacobian_weight": weight, "kind": "per-layer"}), 60)
        weights = learner.weights
        inputs, _ = scaled_rows(weights, pool)
        with torch.no_grad():
            active = [weights.near(i, x)[0] for i, x in enumerate(inputs)]
            values = [weights.values(i, x, active[i]) for i, x in enumerate(inputs)]
            directions = to_another_token(inputs, 200)
            tangents = mlp_tangents(model, weights.scales)([x[:200] for x in inputs], directions)
            return float(jacobian_loss(weights, inputs, values, active, directions, tangents))

    assert mismatch(1.0) < 0.8 * mismatch(0.0)


def test_the_derivative_of_an_mlp_is_that_of_differences(model):
    from silverstain.training.jacobians import mlp_tangent

    batch = next(batches(3))
    harvested = harvest(model, batch.token_ids)
    x = harvested.mlp_inputs[1][batch.mask]
    dx = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    mlp = model.mlp(1).double()
    try:
        wide = 1e-4
        expected = (mlp(x.double() + wide * dx.double()) - mlp(x.double() - wide * dx.double())) / (2 * wide)
    finally:
        mlp.float()
    torch.testing.assert_close(mlp_tangent(model, 1, x, dx), expected.float().detach(), rtol=1e-3, atol=1e-3)


def test_an_observer_sees_every_step_and_changes_nothing(model, tmp_path):
    config = config_of({}, steps=6, finetune_steps=3)
    seen = []

    def observe(progress, weights):
        assert not torch.is_grad_enabled()
        seen.append((progress.step, evaluate_dictionary(model, weights, [next(batches(7))]).nmse))

    watched = train_dictionary(model, batches(1), config, tmp_path / "a", observe=observe)
    alone = train_dictionary(model, batches(1), config, tmp_path / "b")
    assert [step for step, _ in seen] == list(range(1, 10))
    assert watched.hash == alone.hash


def test_a_skip_may_begin_as_the_best_affine_map_and_features_as_what_it_leaves(model):
    pool = harvested_rows(model, 120)
    config = TrainingConfig(
        kind="per-layer", skip=True, skip_starts="affine", n_features=8, l0=2, rows=20, pool_rows=40
    )
    weights = Learner.start(pool, config).weights
    assert weights.W_skip is not None
    for layer in range(model.n_layers):
        x = weights.scales.scale_inputs(layer, pool.inputs[layer])
        y = weights.scales.scale_outputs(layer, pool.outputs[layer])
        ones = torch.cat([x, torch.ones(len(x), 1)], 1).double()
        best = torch.linalg.lstsq(ones, y.double()).solution
        left = (y - ones @ best).square().sum()
        assert float((y - weights.constant(layer, x)).detach().square().sum()) < 1.02 * float(left)
        assert float(left) < 0.9 * float(y.square().sum())


def test_an_affine_start_without_a_skip_is_refused():
    with pytest.raises(UsageError, match="skip_starts is affine, but there is no skip"):
        TrainingConfig(skip_starts="affine")
    with pytest.raises(UsageError, match="decoder random draws what features write, and molt has none"):
        TrainingConfig(kind="molt", decoder="random")

"""A run that begins from a dictionary begins as that dictionary, and its second phase betters it."""

import dataclasses

import pytest
import torch

from silverstain.bases import Dictionary, open_dictionary
from silverstain.errors import UsageError
from silverstain.evaluation import evaluate_dictionary
from silverstain.training import train_dictionary
from silverstain.training.exporting import folded
from silverstain.training.learner import Learner
from silverstain.training.starting import learner_from, settings_of

from .conftest import D_MODEL, N_LAYERS, batches
from .test_kinds import BASE, config_of, harvested_rows

SETTINGS = {
    "cross-layer": {},
    "reach": {"reach": 2, "skip": True},
    "per-layer skip": {"kind": "per-layer", "skip": True},
    "jumprelu": {"kind": "per-layer", "activation": "jumprelu", "sparsity": 0.01},
    "relu": {"activation": "relu", "sparsity": 0.01},
}


def trained(model, settings):
    """A dictionary of a learner after a few steps, with what decides it."""
    config = config_of(settings)
    pool = harvested_rows(model, config.pool_rows)
    learner = Learner.start(pool, config)
    for step in range(5):
        learner.reconstruct(pool.rows(torch.arange(128) + 64 * step), step, model)
    return Dictionary.from_tensors(**folded(learner.weights)), config


def random_dictionary(**more):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return [torch.randn(*shape, generator=generator) for _ in range(N_LAYERS)]

    tensors = {"W_enc": draw(12, D_MODEL), "b_enc": draw(12), "W_dec": draw(12, D_MODEL), "b_dec": draw(D_MODEL)}
    return Dictionary.from_tensors(**tensors, threshold=[t.abs() for t in draw(12)], **more)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_it_begins_as_the_dictionary(model, settings):
    dictionary, config = trained(model, settings)
    settings = settings_of(dictionary)
    assert settings == {
        "kind": config.kind, "reach": config.reach or (N_LAYERS if config.is_cross_layer else None),
        "skip": config.skip, "n_features": config.n_features, "steps": 0,
    }  # fmt: skip
    config = dataclasses.replace(BASE, **settings)
    other = harvested_rows(model, 256)  # other tokens, so other scales
    begun = folded(learner_from(dictionary, other, config).weights)
    for layer in range(N_LAYERS):
        kept = {
            "W_enc": dictionary.W_enc(layer), "b_enc": dictionary.b_enc(layer), "b_dec": dictionary.b_dec[layer],
            "W_dec": dictionary.W_dec(layer), "threshold": dictionary.threshold(layer),
            "W_skip": dictionary.W_skip(layer),
        }  # fmt: skip
        for name, whole in kept.items():
            if name in begun and whole is not None:
                torch.testing.assert_close(
                    begun[name][layer].flatten(),
                    whole.flatten(),
                    rtol=1e-4,
                    atol=1e-4,
                    msg=lambda m, n=name: f"{n}: {m}",
                )


def test_thresholds_of_each_feature_are_kept_as_they_are(model):
    dictionary = random_dictionary()
    config = dataclasses.replace(BASE, **settings_of(dictionary))
    weights = learner_from(dictionary, harvested_rows(model, 256), config).weights
    for layer in range(N_LAYERS):
        torch.testing.assert_close(weights.thresholds(layer), dictionary.threshold(layer), rtol=1e-4, atol=1e-6)


def test_fewer_features_are_those_that_write_most(model):
    dictionary, config = trained(model, SETTINGS["per-layer skip"])
    pool = harvested_rows(model, 256)
    weights = learner_from(dictionary, pool, dataclasses.replace(config, n_features=20)).weights
    kept = torch.stack([row.view(-1) for row in folded(weights)["b_enc"]])
    for layer in range(N_LAYERS):
        x = pool.inputs[layer].double()
        active = (x @ dictionary.W_enc(layer).double().T + dictionary.b_enc(layer)).clone()
        active[active <= dictionary.threshold(layer)] = 0
        energy = (active[:, :, None] * dictionary.W_dec(layer)[:, 0]).square().sum((0, 2))
        largest = energy.topk(20).indices.sort().values
        torch.testing.assert_close(kept[layer], dictionary.b_enc(layer)[largest], rtol=1e-4, atol=1e-4)


def test_the_second_phase_betters_it_and_resumes_to_the_bit(model, tmp_path):
    dictionary, config = trained(model, SETTINGS["per-layer skip"])
    config = dataclasses.replace(config, steps=0, finetune_steps=40, finetune_lr=5e-3)
    held_out = [next(batches(9, n=64))]
    tuned = train_dictionary(model, batches(), config, tmp_path / "whole", start=dictionary)
    before, after = (evaluate_dictionary(model, one, held_out).kl for one in (dictionary, tuned))
    assert after < 0.9 * before

    def stop(progress):
        if progress.step == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(), config, tmp_path / "halves", stop, start=dictionary)
    train_dictionary(model, batches(), config, tmp_path / "halves")  # a checkpoint needs no start
    again = open_dictionary(tmp_path / "halves")
    assert all(torch.equal(tuned.W_dec(layer), again.W_dec(layer)) for layer in range(N_LAYERS))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 3}, "keeps the k largest"),
        ({"metadata": {"feature_input_hook": "hook_resid_mid"}}, "training goes on with one of MLPs"),
    ],
)
def test_what_training_has_no_kind_for_is_refused(changed, message):
    with pytest.raises(UsageError, match=message):
        settings_of(random_dictionary(**changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"activation": "jumprelu", "sparsity": 0.01}, "has activation 'batchtopk', got 'jumprelu'"),
        ({"steps": 3}, "has steps 0, got 3"),
        ({"skip": True}, "has skip False, got True"),
        ({"n_features": 13}, "has 12 features a layer, got 13"),
    ],
)
def test_settings_that_would_not_begin_as_it_are_refused(model, tmp_path, changed, message):
    dictionary = random_dictionary()
    config = dataclasses.replace(BASE, **settings_of(dictionary))
    with pytest.raises(UsageError, match=message):
        train_dictionary(model, batches(), dataclasses.replace(config, **changed), tmp_path, start=dictionary)

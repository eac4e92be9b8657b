"""Response matching: edits are what they say, and the loss is zero for a dictionary that answers as the MLPs do."""

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.models import harvest
from silverstain.training import TrainingConfig
from silverstain.training.batches import Activations
from silverstain.training.responses import LEAST, MOST, feature_edit, response_loss

from .conftest import batches
from .test_kinds import config_of, learned

KINDS = ({"kind": "per-layer"}, {}, {"skip": True, "reach": 2})


def rows_of(harvested, mask) -> Activations:
    return Activations(inputs=harvested.mlp_inputs[:, mask], outputs=harvested.mlp_outputs[:, mask])


@pytest.mark.parametrize("settings", KINDS, ids=["per-layer", "cross-layer", "skip"])
def test_an_edit_moves_one_active_feature_of_each_sequence(model, settings):
    learner, _, _ = learned(model, config_of(settings), 30)
    weights, batch = learner.weights, next(batches(5))
    harvested = harvest(model, batch.token_ids)
    edit = feature_edit(weights, harvested, batch.mask, torch.Generator().manual_seed(3))
    rows = weights.slab[edit.layer].detach().view(weights.n_features, -1, weights.d_model)
    n_moved = 0
    for i, reached in enumerate(edit.reached):
        if not reached.any():
            assert all(delta[i].abs().max() == 0 for delta in edit.deltas.values())
            continue
        p, n_moved = int(reached.nonzero()[0]), n_moved + 1
        moved = [delta[i, p] * weights.scales.output_factor[layer] for layer, delta in sorted(edit.deltas.items())]
        x = weights.scales.scale_inputs(edit.layer, harvested.mlp_inputs[edit.layer, i, p])
        pre = weights.W_enc[edit.layer].detach() @ x + weights.b_enc[edit.layer].detach()
        errors = []
        for feature in (pre > weights.thresholds(edit.layer)).nonzero().flatten().tolist():
            times = (moved[0] @ rows[feature, 0]) / (rows[feature, 0].square().sum() * pre[feature])
            if LEAST <= float(times.detach().abs()) <= MOST:
                made = times * pre[feature] * rows[feature]
                errors.append(float((torch.stack(moved) - made).detach().abs().max()))
        assert min(errors) < 1e-4
        for delta in edit.deltas.values():  # and nothing anywhere else
            assert delta[i, torch.arange(len(reached)) != p].abs().max() == 0
    assert n_moved > len(edit.reached) / 2


@pytest.mark.parametrize("settings", KINDS, ids=["per-layer", "cross-layer", "skip"])
def test_the_loss_is_zero_for_the_dictionarys_own_changes(model, settings):
    learner, pool, _ = learned(model, config_of(settings), 10)
    weights, first = learner.weights, 1
    inputs = pool.rows(torch.arange(40)).inputs
    moved = inputs.clone()
    moved[first:] += 0.3 * inputs[first:].roll(1, 1)

    def given(inputs):
        scaled = [weights.scales.scale_inputs(i, x) for i, x in enumerate(inputs)]
        active = [weights.active(i, x)[0] for i, x in enumerate(scaled)]
        outputs = weights.reconstruct(scaled, active)
        factors = zip(outputs, weights.scales.output_factor, strict=True)
        return torch.stack([y / factor for y, factor in factors]).detach()

    clean = Activations(inputs=inputs, outputs=given(inputs))
    edited = Activations(inputs=moved, outputs=given(moved))
    twice = Activations(inputs=moved, outputs=clean.outputs + 2 * (edited.outputs - clean.outputs))
    assert float(response_loss(weights, clean, edited, first).detach()) < 1e-9
    assert float(response_loss(weights, clean, twice, first).detach()) == pytest.approx(0.25, rel=1e-3)


def test_its_gradient_lowers_it(model):
    learner, _, _ = learned(model, config_of({}), 20)
    weights, batch = learner.weights, next(batches(7, n=32))
    harvested = harvest(model, batch.token_ids)
    edit = feature_edit(weights, harvested, batch.mask, torch.Generator().manual_seed(1))
    edited = harvest(model, batch.token_ids, added=edit.deltas)
    pair = rows_of(harvested, edit.reached), rows_of(edited, edit.reached)
    optimizer, found = torch.optim.Adam(weights.parameters(), lr=3e-3), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = response_loss(weights, *pair, edit.layer + 1)
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.6 * found[0]


def test_a_step_of_the_second_phase_counts_it(model):
    def after_a_step(weight: float) -> torch.Tensor:
        learner, _, _ = learned(model, config_of({"response_weight": weight}), 2)
        learner.finetune(model, next(batches(7)), 0)
        return learner.weights.W_enc[2].detach()

    without = after_a_step(0.0)
    assert torch.equal(after_a_step(0.0), without)
    assert not torch.equal(after_a_step(1.0), without)


def test_a_mixture_has_no_features_to_move():
    with pytest.raises(UsageError, match="response_weight moves features, and molt has none; leave it out or take ano"):
        TrainingConfig(kind="molt", response_weight=0.1)

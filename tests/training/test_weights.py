"""Training's units against the dictionary they are folded into."""

import pytest
import torch

from silverstain.bases import Dictionary, open_dictionary, replaced_logits, save_dictionary
from silverstain.training.batches import Activations, Source
from silverstain.training.config import TrainingConfig
from silverstain.training.exporting import folded
from silverstain.training.initialising import initialise_, revive_
from silverstain.training.pool import Pool
from silverstain.training.selection import first_thresholds_
from silverstain.training.weights import Scales, Weights

from .conftest import batches


@pytest.fixture(params=["cross-layer", "per-layer"])
def trained(request, model):
    config = TrainingConfig(kind=request.param, n_features=40, l0=4, rows=64, pool_rows=128)
    filled = Pool(model, Source(batches()), 128)
    filled.bring_to(1)
    pool = filled.activations
    weights = Weights(n_layers=model.n_layers, d_model=model.d_model, config=config, scales=Scales.of(pool))
    initialise_(weights, pool, config, torch.Generator().manual_seed(1))
    with torch.no_grad():
        weights.b_dec.add_(0.1 * torch.randn(weights.b_dec.shape, generator=torch.Generator().manual_seed(2)))
    inputs = [weights.scales.scale_inputs(layer, x) for layer, x in enumerate(pool.inputs)]
    first_thresholds_(weights, inputs, 4)
    weights.score_threshold *= 1 + 1e-4  # they are scores of this very pool: rounding would decide whether those pass
    return weights, pool, inputs


def test_scaled_inputs_have_norm_sqrt_d_and_scaled_outputs_unit_size(trained):
    weights, pool, inputs = trained
    for layer, x in enumerate(inputs):
        assert x.norm(dim=1).mean() == pytest.approx(weights.d_model**0.5, rel=1e-4)
        y = weights.scales.scale_outputs(layer, pool.outputs[layer])
        assert y.square().mean() == pytest.approx(1, rel=1e-4)
        assert y.mean(0).abs().max() < 1e-5


def test_the_scales_of_a_pool_are_those_of_all_its_rows_at_once(monkeypatch):
    monkeypatch.setattr("silverstain.training.weights.CENTRED_ROWS", 3)  # ten rows: three times three, and one
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(2, 10, 4, generator=generator) * torch.tensor([1.0, 30])[:, None, None] + 5 for _ in range(2))
    scales = Scales.of(Activations(inputs=x, outputs=y))
    torch.testing.assert_close(scales.input_mean, x.mean(1))
    torch.testing.assert_close(scales.output_mean, y.mean(1))
    torch.testing.assert_close(scales.input_factor, 2 / (x - x.mean(1, keepdim=True)).norm(dim=2).mean(1))
    torch.testing.assert_close(
        scales.output_factor, 1 / y.flatten(1).sub(y.mean(1).repeat(1, 10)).square().mean(1).sqrt()
    )


def test_the_folded_dictionary_is_the_one_in_training(trained, model):
    weights, pool, _ = trained
    dictionary = Dictionary.from_tensors(**folded(weights))
    for layer in range(model.n_layers):
        assert torch.equal(
            weights.activity(layer, pool.inputs[layer]).fired,
            (dictionary.encode_layer(layer, pool.inputs[layer]) > 0).sum(0),
        )
    batch = next(batches(5))
    with torch.no_grad():
        expected = replaced_logits(model, dictionary, batch.token_ids, mask=batch.mask)[batch.mask]
        seen = replaced_logits(model, weights, batch.token_ids, mask=batch.mask)[batch.mask]
    torch.testing.assert_close(seen, expected, rtol=1e-3, atol=1e-3)


def test_a_feature_whose_decoder_died_away_can_be_stored_in_every_type(trained, model, tmp_path):
    weights, pool, _ = trained
    with torch.no_grad():
        weights.slab[1][3] = 0.0
    before = weights.activity(1, pool.inputs[1]).fired
    assert float(weights.thresholds(1)[3]) > 1e6
    assert before[3] == 0
    dictionary = Dictionary.from_tensors(**folded(weights))
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.int8):
        save_dictionary(dictionary, tmp_path / str(dtype), dtype=dtype)
        kept = open_dictionary(tmp_path / str(dtype))
        assert not (kept.encode_layer(1, pool.inputs[1]) > 0)[:, 3].any()


def test_a_revived_feature_fires_on_its_token_and_repairs_of_its_error_what_costs_others_nothing(trained):
    weights, _pool, inputs = trained
    dead = torch.zeros(3, 40, dtype=torch.bool)
    dead[0, 7] = True
    errors = [torch.zeros_like(x) for x in inputs]
    errors[0][11] = 1.0  # the one token with an error
    optimizer = torch.optim.Adam(weights.parameters())
    for parameter in weights.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert revive_(weights, optimizer, dead, inputs, errors, torch.Generator().manual_seed(0)).sum() == 1
    activation = (inputs[0] @ weights.W_enc[0][7] + weights.b_enc[0][7]).relu()
    assert activation[11] > 0
    # least squares: it fires on tokens that miss nothing, too
    best = activation[11] / activation.square().sum()
    torch.testing.assert_close(weights.slab[0][7][:16], torch.full((16,), 0.8) * best)
    assert optimizer.state[weights.W_enc[0]]["exp_avg"][7].abs().sum() == 0
    assert optimizer.state[weights.W_enc[0]]["exp_avg"][6].abs().sum() > 0

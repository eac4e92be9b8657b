"""Encoding and decoding against loops over single features, and what a dictionary refuses."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from silverstain.bases import ActiveUnits, Dictionary, check_fits
from silverstain.errors import UsageError

generated = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def inputs(dictionary: Dictionary, n_positions: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(dictionary.n_layers, n_positions, dictionary.d_model, generator=generator)


def active_one_by_one(dictionary: Dictionary, x: Tensor, n_real: int) -> list[tuple[int, int, int, float]]:
    found = []
    for layer in range(dictionary.n_layers):
        threshold = dictionary.threshold(layer)
        for position in range(n_real, x.shape[1]):
            for feature in range(dictionary.n_features):
                before = dictionary.W_enc(layer)[feature] @ x[layer, position] + dictionary.b_enc(layer)[feature]
                if before > (0 if threshold is None else threshold[feature]):
                    found.append((layer, position, feature, before.item()))
    return found


def rows(active: ActiveUnits) -> list[tuple[int, int, int]]:
    return list(zip(active.layer.tolist(), active.position.tolist(), active.feature.tolist(), strict=True))


@generated
@given(seed=st.integers(0, 2**31), n_positions=st.integers(1, 5), n_real=st.integers(0, 3))
def test_encode_finds_what_a_loop_over_features_finds_in_order(dictionary, seed, n_positions, n_real):
    x = inputs(dictionary, n_positions, seed)
    active = dictionary.encode(x, n_real=n_real)
    expected = active_one_by_one(dictionary, x, n_real)
    assert rows(active) == [row[:3] for row in expected] == sorted(rows(active))
    torch.testing.assert_close(active.activation, torch.tensor([row[3] for row in expected]))
    assert (active.n_layers, active.n_positions) == (dictionary.n_layers, n_positions)


@generated
@given(seed=st.integers(0, 2**31), n_positions=st.integers(1, 5), n_real=st.integers(0, 2))
def test_reconstruction_is_the_sum_of_single_writes_biases_and_skip(dictionary, seed, n_positions, n_real):
    x = inputs(dictionary, n_positions, seed)
    expected = dictionary.b_dec[:, None].expand(-1, n_positions, -1).clone()
    for layer, position, feature, activation in active_one_by_one(dictionary, x, n_real):
        for j, target in enumerate(dictionary.targets(layer)):
            expected[target, position] += activation * dictionary.W_dec(layer)[feature, j]
    for layer in range(dictionary.n_layers):
        if (skip := dictionary.W_skip(layer)) is not None:
            for position in range(n_positions):
                expected[layer, position] += skip @ x[layer, position]
    found = dictionary.reconstruct(dictionary.encode(x, n_real=n_real), x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_dense_decoding_equals_the_sparse_one(dictionary):
    x = inputs(dictionary, 4)
    dense = dictionary.b_dec[:, None].expand(-1, 4, -1).clone()
    for layer in range(dictionary.n_layers):
        writes = dictionary.decode_layer(layer, dictionary.encode_layer(layer, x[layer]))
        for j, target in enumerate(dictionary.targets(layer)):
            dense[target] += writes[:, j]
        if (skip := dictionary.W_skip(layer)) is not None:
            dense[layer] += x[layer] @ skip.T
    torch.testing.assert_close(dictionary.reconstruct(dictionary.encode(x, n_real=0), x), dense)


def test_encode_layer_takes_any_leading_axes(dictionary):
    x = inputs(dictionary, 6)[0]
    stacked = dictionary.encode_layer(0, x.reshape(2, 3, -1))
    torch.testing.assert_close(stacked.reshape(6, -1), dictionary.encode_layer(0, x))
    assert dictionary.decode_layer(0, stacked).shape == (2, 3, len(dictionary.targets(0)), dictionary.d_model)


def test_jumprelu_is_strict_at_its_threshold():
    one = torch.eye(1)
    dictionary = Dictionary.from_tensors(
        W_enc=[one], b_enc=[torch.zeros(1)], W_dec=[one], b_dec=[torch.zeros(1)], threshold=[torch.tensor([0.5])]
    )
    x = torch.tensor([[0.5], [0.5000001], [-3.0], [2.0]])
    assert dictionary.encode_layer(0, x).flatten().tolist() == [0, pytest.approx(0.5000001), 0, 2]
    assert dictionary.activation == "jumprelu"


def test_a_scalar_threshold_serves_every_feature(dictionary):
    x = inputs(dictionary, 3)
    tensors = {
        "W_enc": [dictionary.W_enc(i) for i in range(3)],
        "b_enc": [dictionary.b_enc(i) for i in range(3)],
        "W_dec": [dictionary.W_enc(i) for i in range(3)],
        "b_dec": dictionary.b_dec,
    }
    one = Dictionary.from_tensors(**tensors, threshold=[torch.tensor(0.7)] * 3)
    many = Dictionary.from_tensors(**tensors, threshold=torch.full((3, dictionary.n_features), 0.7))
    assert torch.equal(one.encode(x).activation, many.encode(x).activation)


def test_a_per_layer_dictionary_writes_to_its_own_layer_and_a_cross_layer_one_to_all_above(dictionary):
    reach = [list(dictionary.targets(layer)) for layer in range(3)]
    assert reach == ([[0, 1, 2], [1, 2], [2]] if dictionary.is_cross_layer else [[0], [1], [2]])
    assert dictionary.W_dec(1).shape == (dictionary.n_features, len(reach[1]), dictionary.d_model)


def test_rows_are_those_of_the_whole_in_the_order_asked_for(dictionary):
    features = torch.tensor([7, 0, 7, 3])
    assert torch.equal(dictionary.decoder_rows(1, features), dictionary.W_dec(1)[features])
    assert torch.equal(dictionary.encoder_rows(1, features), dictionary.W_enc(1)[features])
    assert dictionary.decoder_rows(1, features[:0]).shape[0] == 0


def test_features_of_a_layer_lie_together(dictionary):
    active = dictionary.encode(inputs(dictionary, 4))
    for layer in range(dictionary.n_layers):
        assert (active.layer[active.of_layer(layer)] == layer).all()
    assert sum(len(active.layer[active.of_layer(i)]) for i in range(3)) == len(active)


def test_a_prompt_of_real_positions_alone_has_no_active_feature(dictionary):
    x = inputs(dictionary, 2)
    active = dictionary.encode(x, n_real=2)
    assert len(active) == 0
    assert dictionary.reconstruct(active, x).shape == x.shape


def test_gradients_reach_the_tensors_a_dictionary_was_made_of():
    W_enc = torch.randn(4, 3, requires_grad=True)
    W_dec = torch.randn(4, 3, requires_grad=True)
    dictionary = Dictionary.from_tensors(W_enc=[W_enc], b_enc=[torch.ones(4)], W_dec=[W_dec], b_dec=[torch.zeros(3)])
    dictionary.decode_layer(0, dictionary.encode_layer(0, torch.ones(2, 3))).sum().backward()
    assert W_dec.grad is not None
    assert W_enc.grad is not None


def test_float64_gives_the_same_features_and_hash(dictionary):
    x = inputs(dictionary, 5)
    wide = dictionary.to(dtype=torch.float64)
    active = wide.encode(x)
    assert rows(active) == rows(dictionary.encode(x))
    assert active.activation.dtype == torch.float64
    assert wide.hash == dictionary.hash


def test_hash_changes_with_any_tensor(dictionary):
    tensors = {
        "W_enc": [dictionary.W_enc(i) for i in range(3)],
        "b_enc": [dictionary.b_enc(i) for i in range(3)],
        "W_dec": [dictionary.W_dec(i) if dictionary.is_cross_layer else dictionary.W_dec(i)[:, 0] for i in range(3)],
        "b_dec": list(dictionary.b_dec),
        "threshold": [dictionary.threshold(i) for i in range(3)] if dictionary.activation == "jumprelu" else None,
        "W_skip": None if dictionary.W_skip(0) is None else [dictionary.W_skip(i) for i in range(3)],
    }
    assert Dictionary.from_tensors(**tensors).hash == dictionary.hash
    for key, layers in tensors.items():
        if layers is not None:
            other = {**tensors, key: [*layers[:2], layers[2] + 1]}
            assert Dictionary.from_tensors(**other).hash != dictionary.hash, key


def model_like(dictionary: Dictionary, **changes) -> SimpleNamespace:
    facts = {"name": "toy", "n_layers": 3, "d_model": dictionary.d_model, "hash": dictionary.model_hash}
    return SimpleNamespace(**{**facts, **changes})


def test_a_dictionary_fits_its_own_model_alone(dictionary):
    check_fits(dictionary, model_like(dictionary))
    with pytest.raises(UsageError, match=r"trained on another model \(hash 0123456789abcdef\) than toy \(hash ffff\)"):
        check_fits(dictionary, model_like(dictionary, hash="ffff"))
    with pytest.raises(UsageError, match="is for 3 layers of width 6, toy has 2 of width 6"):
        check_fits(dictionary, model_like(dictionary, n_layers=2))


def test_a_dictionary_that_reads_elsewhere_is_refused(dictionary):
    dictionary.metadata["feature_input_hook"] = "hook_resid_post"
    with pytest.raises(UsageError, match="reads at hook_resid_post"):
        check_fits(dictionary, model_like(dictionary))


def test_tensors_that_disagree_are_refused():
    good = {"W_enc": torch.ones(2, 4, 3), "b_enc": torch.ones(2, 4), "W_dec": torch.ones(2, 4, 3)}
    with pytest.raises(UsageError, match=r"b_dec of layer 0 has shape \(4,\), \(3,\) needed"):
        Dictionary.from_tensors(**good, b_dec=torch.ones(2, 4))
    with pytest.raises(UsageError, match="b_dec has 1 layers, W_enc has 2"):
        Dictionary.from_tensors(**good, b_dec=torch.ones(1, 3))
    with pytest.raises(UsageError, match="W_dec of layer 1 has shape"):
        Dictionary.from_tensors(**{**good, "W_dec": [torch.ones(4, 2, 3)] * 2}, b_dec=torch.ones(2, 3))


def test_inputs_of_another_model_are_refused(dictionary):
    with pytest.raises(UsageError, match=r"reads \[3 layers, positions, 6\], got \[3, 4, 5\]"):
        dictionary.encode(torch.zeros(3, 4, 5))

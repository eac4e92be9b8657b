"""What a substitute says of itself beside what it writes."""

import pytest
import torch
from tests.attribution.conftest import KINDS, tiny_dictionary, tiny_model

from silverstain.bases import ConstantSubstitute, Dictionary, NeuronSubstitute, replaced_logits
from silverstain.bases.substitutes import Activity, Substitute, as_substitute

ROWS = torch.randn(7, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dictionary_says_what_is_active_and_how_long_its_writes_are(kind):
    dictionary = tiny_dictionary(kind)
    substitute = as_substitute(dictionary)
    assert isinstance(substitute, Substitute)
    assert substitute.reads_at == dictionary.reads_at
    for layer in range(dictionary.n_layers):
        activations, found = dictionary.encode_layer(layer, ROWS), substitute.activity(layer, ROWS)
        assert torch.equal(found.per_row, (activations != 0).sum(1))
        assert torch.equal(found.fired, (activations != 0).sum(0))
        torch.testing.assert_close(found.amounts, activations.abs().sum(0))
        alone = torch.eye(dictionary.n_features, dtype=torch.float64)
        lengths = dictionary.decode_layer(layer, alone).flatten(1).norm(dim=1)
        torch.testing.assert_close(substitute.decoder_norms(layer), lengths)


def test_activity_is_the_same_from_the_active_entries_alone():
    activations = ROWS * (ROWS.abs() > 0.7)
    rows, features = activations.nonzero(as_tuple=True)
    whole = Activity.of(activations)
    found = Activity.of_entries(rows, features, activations[rows, features], n_rows=7, n_features=16)
    for name in ("per_row", "fired", "amounts"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name))


def test_a_skip_is_the_linear_part_of_what_is_written():
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    dictionary = Dictionary.from_tensors(
        W_enc=[draw(8, 16)], b_enc=[draw(8) - 100], W_dec=[draw(8, 16)], b_dec=[draw(16)], W_skip=[draw(16, 16)]
    )
    substitute, ids = as_substitute(dictionary), torch.zeros(7, dtype=torch.long)
    written = substitute.writes(0, ROWS, ids)[:, 0]
    torch.testing.assert_close(substitute.skip(0, ROWS), written - substitute.writes(0, 0 * ROWS, ids)[:, 0])
    assert as_substitute(tiny_dictionary("per-layer")).skip(0, ROWS) is None


def test_what_has_no_features_says_so():
    constant = ConstantSubstitute(torch.zeros(3, 16))
    assert constant.activity(0, ROWS) is constant.decoder_norms(0) is constant.skip(0, ROWS) is None


def test_an_object_of_the_users_that_writes_is_enough():
    model = tiny_model("llama")
    tokens = torch.tensor([[0, 11, 5, 23, 5, 40]])
    neurons = NeuronSubstitute(model)

    class Mine:
        n_layers = model.n_layers

        def writes(self, layer, x, token_ids):
            return neurons.writes(layer, x, token_ids)

    torch.testing.assert_close(replaced_logits(model, Mine(), tokens), model.logits(tokens))
    mine = as_substitute(Mine())
    assert mine.reads_at == "mlp.hook_in"
    assert mine.activity(0, ROWS) is None
    assert as_substitute(mine) is mine

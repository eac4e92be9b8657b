"""The replaced model against one written out by hand, and against the model where nothing is missing."""

import pytest
import torch
from tests.attribution.conftest import KINDS, tiny_dictionary, tiny_model

from silverstain.bases import edited_logits, replaced_logits
from silverstain.errors import UsageError
from silverstain.models import harvest

TOKENS = torch.tensor([[0, 11, 5, 23, 5, 40], [0, 3, 8, 30, 2, 1]])


def replaced_by_hand(model, dictionary, token_ids):
    """Hooks that compute every position with dense decoders and overwrite the MLPs' outputs."""
    written = [[] for _ in range(model.n_layers)]

    def hook(layer):
        def replace(_, arguments, output):
            x = arguments[0]
            wrote = dictionary.decode_layer(layer, dictionary.encode_layer(layer, x))
            for target, part in zip(dictionary.targets(layer), wrote.unbind(2), strict=True):
                written[target].append(part)
            new = dictionary.b_dec[layer] + sum(written[layer])
            skip = dictionary.W_skip(layer)
            new = new if skip is None else new + x @ skip.T
            # features of the leading positions are zero, so what earlier layers wrote there counts for nothing
            return torch.cat([output[:, : model.n_real], new[:, model.n_real :]], dim=1)

        return replace

    handles = [model.mlp(layer).register_forward_hook(hook(layer)) for layer in range(model.n_layers)]
    try:
        return model.hf(input_ids=token_ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_real", [1, 2])
def test_replaced_logits_equal_those_of_hooks_with_dense_decoders(kind, n_real):
    model, dictionary = tiny_model("llama", n_real=n_real), tiny_dictionary(kind)
    expected = replaced_by_hand(model, dictionary, TOKENS)
    torch.testing.assert_close(replaced_logits(model, dictionary, TOKENS), expected)


def test_errors_of_the_dictionary_give_back_the_models_logits():
    model, dictionary = tiny_model("qwen3"), tiny_dictionary("cross-layer")
    run = harvest(model, TOKENS)
    outputs = torch.zeros_like(run.mlp_outputs)
    for layer in range(model.n_layers):
        wrote = dictionary.decode_layer(layer, dictionary.encode_layer(layer, run.mlp_inputs[layer]))
        for target, part in zip(dictionary.targets(layer), wrote.unbind(2), strict=True):
            outputs[target] += part
    errors = run.mlp_outputs - outputs - dictionary.b_dec[:, None, None]
    errors[:, :, : model.n_real] = 0
    logits = replaced_logits(model, dictionary, TOKENS, errors=dict(enumerate(errors)))
    torch.testing.assert_close(logits, run.logits)


def test_masked_positions_do_not_change_what_comes_before_them():
    model, dictionary = tiny_model("llama"), tiny_dictionary("cross-layer")
    mask = torch.ones_like(TOKENS, dtype=torch.bool)
    mask[1, 4:] = False
    masked, full = replaced_logits(model, dictionary, TOKENS, mask=mask), replaced_logits(model, dictionary, TOKENS)
    torch.testing.assert_close(masked[mask], full[mask])


def test_a_delta_is_added_to_the_output_of_its_mlp_in_both_models():
    model = tiny_model("llama")
    delta = torch.randn(2, 6, model.d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    run = harvest(model, TOKENS)

    def add(_, __, output):
        return output + delta

    handle = model.mlp(1).register_forward_hook(add)
    expected = model.logits(TOKENS)
    handle.remove()
    torch.testing.assert_close(edited_logits(model, TOKENS, {1: delta}), expected)
    torch.testing.assert_close(edited_logits(model, TOKENS, {}), run.logits)
    clean, edited = harvest(model, TOKENS, added={}), harvest(model, TOKENS, added={1: delta})
    for found, known in zip(clean, run, strict=True):
        torch.testing.assert_close(found, known)
    torch.testing.assert_close(edited.mlp_inputs[:2], run.mlp_inputs[:2])
    torch.testing.assert_close(edited.mlp_outputs[:2], run.mlp_outputs[:2])  # an MLP's own, without what is added
    assert (edited.mlp_inputs[2:] - run.mlp_inputs[2:]).abs().max() > 1e-3
    dictionary = tiny_dictionary("per-layer")
    changed = replaced_logits(model, dictionary, TOKENS, deltas={2: delta})
    assert not torch.allclose(changed, replaced_logits(model, dictionary, TOKENS))
    torch.testing.assert_close(replaced_logits(model, dictionary, TOKENS, errors={2: delta}), changed)


def test_the_model_is_itself_again_afterwards_even_when_the_dictionary_fails():
    model = tiny_model("llama")
    before = model.logits(TOKENS)

    class Broken:
        n_layers = model.n_layers

        def writes(self, layer, x, token_ids):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        replaced_logits(model, Broken(), TOKENS)
    assert all("forward" not in vars(model.mlp(layer)) for layer in range(model.n_layers))
    torch.testing.assert_close(model.logits(TOKENS), before)


def test_gradients_reach_the_weights_of_a_dictionary():
    model, dictionary = tiny_model("llama"), tiny_dictionary("cross-layer")
    b_dec = [b.clone().requires_grad_() for b in dictionary.b_dec]
    W_enc = [dictionary.W_enc(layer).clone().requires_grad_() for layer in range(3)]
    learning = type(dictionary).from_tensors(
        W_enc=W_enc, b_enc=[dictionary.b_enc(i) for i in range(3)], W_dec=[dictionary.W_dec(i) for i in range(3)],
        b_dec=b_dec, threshold=[dictionary.threshold(i) for i in range(3)],
    )  # fmt: skip
    replaced_logits(model, learning, TOKENS).square().mean().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in (*b_dec, *W_enc))


@pytest.mark.parametrize(
    ("dictionary", "tokens", "words"),
    [
        (object(), TOKENS, "a object cannot replace MLPs; give a dictionary"),
        (tiny_dictionary("per-layer"), TOKENS[0], r"takes tokens \[batch, pos\], got shape \[6\]"),
    ],
)
def test_what_cannot_be_replaced_is_said(dictionary, tokens, words):
    with pytest.raises(UsageError, match=words):
        replaced_logits(tiny_model("llama"), dictionary, tokens)

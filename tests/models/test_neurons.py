"""Neurons are the coordinates that each MLP's last projection reads, on every architecture."""

import torch

from silverstain.models import LanguageModel, neurons_of


def test_what_neurons_write_is_the_output_of_the_mlp(any_model: LanguageModel):
    model = LanguageModel(any_model.hf.double(), any_model.tokenizer, name=any_model.name)
    x = torch.randn(2, 5, model.d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for layer in range(model.n_layers):
        out = model.mlp(layer)(x)
        out = out[0] if isinstance(out, tuple) else out
        neurons = neurons_of(model, layer)
        torch.testing.assert_close(neurons.written(neurons.activations(x)), out, rtol=1e-10, atol=1e-10)
        assert neurons.n_units == neurons.n_neurons + neurons.n_experts

"""What comes through each place of the stream, and through what attention and MLPs add to it."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from silverstain.attribution.requests import DifferenceTarget
from silverstain.attribution.secant import Contrast, find_contrast
from silverstain.bases import NeuronBasis
from silverstain.models import LanguageModel

from ..byte_level import byte_tokenizer  # noqa: TID252 - tests are no package that could be named
from ..zoo import build  # noqa: TID252

PROMPTS = (0, 287, 293, 284, 286, 281), (0, 287, 293, 290, 286, 281)
"""<s> the bridge of oslo is, with another word for `of`."""


def between(architecture: str, base: Sequence[int], other: Sequence[int]) -> Contrast:
    hf = build(architecture, vocab_size=330, max_position_embeddings=64).double()
    model = LanguageModel(hf, byte_tokenizer(), name="tiny")
    return find_contrast(model, NeuronBasis(model), base, other, targets=(DifferenceTarget(token=65, minus=66),))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_all_comes_through_the_stream_of_every_layer(architecture: str):
    contrast = between(architecture, *PROMPTS)
    streams, whole = contrast.contributions.streams.sum(-1)[:, 0], contrast.contributions.total
    torch.testing.assert_close(streams, whole.expand_as(streams), rtol=1e-8, atol=1e-10)
    back = between(architecture, *reversed(PROMPTS)).contributions
    torch.testing.assert_close(back.streams, -contrast.contributions.streams, rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(back.attention_outputs, -contrast.contributions.attention_outputs, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_what_comes_through_an_mlp_comes_through_its_neurons(architecture: str):
    contrast = between(architecture, *PROMPTS)
    for layer, units in enumerate(contrast.flow.units):
        by_position = torch.zeros(contrast.pair.n_positions, dtype=torch.float64)
        by_position.index_add_(0, units.position, contrast.contributions.units[layer][0])
        torch.testing.assert_close(contrast.contributions.mlp_outputs[layer, 0], by_position, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_what_attention_adds_carries_what_the_stream_before_it_does_not(architecture: str):
    """In the last layer the target's gradient is known: through the final norm, and the MLP beside it."""
    contrast = between(architecture, *PROMPTS)
    flow, n, layer = contrast.flow, contrast.pair.n_positions, contrast.flow.n_layers - 1
    targets = contrast.targets
    stream = torch.zeros(1, *flow.embedding_change.shape, dtype=torch.float64)
    stream[:, n - 1] = flow.read_norms[-1].pull_at(targets.vectors, targets.positions)
    gradients: list[Tensor | None] = [None] * layer + [stream]
    middle = stream + flow.read_norms[layer].pull(flow.units[layer].pull(flow.units[layer].at_units(gradients)), 0)
    before, after = (
        part[1] - part[0] for part in (contrast.pair.layers[layer].stream, contrast.pair.layers[layer].middle)
    )
    added = (middle * (after - before)).sum(-1)
    torch.testing.assert_close(contrast.contributions.attention_outputs[layer], added, rtol=1e-8, atol=1e-10)
    whole = float(contrast.contributions.total)
    assert float((middle * after).sum()) == pytest.approx(whole, rel=1e-8)

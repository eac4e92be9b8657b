"""A replaced model follows a patched stream exactly as far as its features do not write past the patch."""

import pytest
import torch
from tests.training.conftest import batches

from silverstain.bases.substitutes import Substitute
from silverstain.evaluation import evaluate, stream_patching
from silverstain.evaluation.stream_patching import drawn_patches, patched_layers, stream_patched
from silverstain.models import harvest_mlps
from silverstain.organism.interchange import exchanged, next_logits_from, streams


class Real(Substitute):
    """The MLPs themselves, layer by layer."""

    def __init__(self, model):
        self.model, self.n_layers = model, model.n_layers

    def writes(self, layer, x, token_ids):
        mlp = self.model.mlp(layer)
        return type(mlp).forward(mlp, x)[:, None]  # the class's: the module's own is replaced meanwhile


class WritesAhead(Substitute):
    """All that the MLPs write on a batch, written by the first layer at once: it reads no later stream."""

    def __init__(self, model, batch):
        self.n_layers = model.n_layers
        outputs = harvest_mlps(model, batch.token_ids).mlp_outputs
        self.everything = outputs.permute(1, 2, 0, 3)[batch.mask]

    def writes(self, layer, x, token_ids):
        n_targets = self.n_layers - layer
        return self.everything if layer == 0 else x.new_zeros(len(x), n_targets, x.shape[1])


def test_the_mlps_themselves_follow_every_patch(model):
    found = stream_patching(model, Real(model), [next(batches(seed, n=32)) for seed in range(3)])
    assert found.layers == (0, 1)
    assert found.agreement.value == 1.0
    assert found.bypass.value == 0.0
    assert found.bypass.n > 20


def test_what_the_first_layer_writes_ahead_goes_past_the_patch(model):
    batch = next(batches(5, n=64))
    ahead = stream_patching(model, WritesAhead(model, batch), [batch])
    assert ahead.agreement.value < 0.9
    assert ahead.bypass.value > 0.05


def test_a_patch_is_the_stream_run_on_from_there(model):
    token_ids = next(batches(2, n=12)).token_ids
    position = torch.full((12,), token_ids.shape[1] - 1)
    donor = torch.arange(12).roll(1)
    patches = drawn_patches(next(batches(2, n=12)), torch.Generator().manual_seed(0))
    patches = type(patches)(position=position, donor=donor, counts=patches.counts)
    stream, _ = streams(model.hf, token_ids)
    for layer in (0, 1):
        behind = stream[layer + 2]
        with torch.no_grad(), stream_patched(model, layer, patches, behind):
            patched = model.hf(input_ids=token_ids, use_cache=False).logits[:, -1]
        exchanged_there = exchanged(behind, [int(position[0])], behind[donor][:, position[:1]])
        wanted = next_logits_from(model.hf, exchanged_there, layer + 2)
        torch.testing.assert_close(patched, wanted, rtol=1e-5, atol=1e-5)


def test_no_place_before_which_nothing_differs_counts():
    batch = next(batches(3, n=16))
    same = type(batch)(
        token_ids=batch.token_ids[:1].repeat(16, 1), mask=batch.mask, determined=batch.determined,
        families=batch.families,
    )  # fmt: skip
    assert not drawn_patches(same, torch.Generator().manual_seed(0)).counts.any()
    patches = drawn_patches(batch, torch.Generator().manual_seed(0))
    assert batch.mask[torch.arange(16), patches.position].all()
    assert (patches.donor != torch.arange(16)).all()


@pytest.mark.parametrize(
    ("n_layers", "layers"), [(1, ()), (2, (0,)), (4, (0, 1, 2)), (5, (0, 1, 2, 3)), (30, (5, 11, 17, 23))]
)
def test_patched_layers_lie_evenly_and_have_a_block_behind_them(n_layers, layers):
    assert patched_layers(n_layers) == layers


def test_evaluate_says_it(model):
    found = evaluate(model, Real(model), [next(batches(1, n=16))])
    assert found.stream_patching.agreement.value == 1.0

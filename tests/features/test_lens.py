"""The lens is the mean Jacobian: found by autograd, row by row and place by place, it is the same."""

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.features.lens import Lens, build_lens, seen_through
from silverstain.features.output import written_vectors
from silverstain.features.wiring import written

ROWS = [[0, 3, 5, 7, 2], [0, 8, 1, 4, 6], [0, 2, 9]]


def by_definition(model, row: list[int]) -> torch.Tensor:
    """[layer, final, source]: the mean over source places t of Σ over t' ≥ t of ∂h_final(t') / ∂h_l(t), by autograd's
    own Jacobian of the blocks above."""
    ids = torch.tensor([row])
    streams: dict[int, torch.Tensor] = {}
    hooks = [
        model.block(layer).register_forward_hook(
            lambda _m, _a, out, layer=layer: streams.__setitem__(layer, out[0] if isinstance(out, tuple) else out)
        )
        for layer in range(model.n_layers)
    ]
    model.hf(input_ids=ids)
    for hook in hooks:
        hook.remove()
    found = []
    for layer in range(model.n_layers):

        def final(stream: torch.Tensor, layer: int = layer) -> torch.Tensor:
            kept = {}

            def put(_m, _a, out):
                return (stream, *out[1:]) if isinstance(out, tuple) else stream

            def keep(_m, _a, out):
                kept["final"] = out[0] if isinstance(out, tuple) else out

            a = model.block(layer).register_forward_hook(put)
            b = model.block(model.n_layers - 1).register_forward_hook(keep)
            with torch.enable_grad():
                model.hf(input_ids=ids)
            a.remove()
            b.remove()
            return kept["final"][0]

        full = torch.autograd.functional.jacobian(final, streams[layer].detach())[:, :, 0]  # [t', i, t, j]
        total = torch.stack([full[t:, :, t].sum(0) for t in range(model.n_real, len(row))])
        found.append(total.mean(0))
    return torch.stack(found)


def test_the_lens_is_the_mean_jacobian(model):
    lens = build_lens(model, ROWS)
    expected = torch.stack([by_definition(model, row) for row in ROWS]).mean(0)
    assert torch.allclose(lens.J, expected, rtol=1e-3, atol=1e-4)
    assert torch.allclose(lens.J[-1], torch.eye(model.d_model), atol=1e-6)
    assert lens.meta["rows"] == 3
    assert lens.meta["places"] == 10


def test_the_logit_lens_is_the_identity(world):
    model, identity = world.model, Lens.identity(world.model)
    features = torch.arange(4)
    direct = written_vectors(model, world.dictionary, 1, features)
    assert torch.allclose(seen_through(model, world.dictionary, 1, features, identity), direct, atol=1e-6)
    assert torch.equal(
        written(model, world.dictionary, 0, 3).up.index, written(model, world.dictionary, 0, 3, identity).up.index
    )


def test_batches_of_rows_change_nothing(model):
    assert torch.allclose(build_lens(model, ROWS).J, build_lens(model, ROWS, batch_size=1).J, atol=1e-5)


def test_a_lens_is_saved_with_its_hash_and_fits_one_model(model, tmp_path):
    lens = build_lens(model, ROWS[2:])
    path = tmp_path / "lens.safetensors"
    lens.save(path)
    again = Lens.load(path)
    assert torch.equal(again.J, lens.J)
    assert again.meta == lens.meta
    again.check_fits(model)
    with pytest.raises(UsageError, match="this lens is of another model than tiny"):
        Lens(J=lens.J, meta={"model_hash": "x"}).check_fits(model)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match="its numbers are not those that it was written with"):
        Lens.load(path)
    path.write_bytes(b"no")
    with pytest.raises(UsageError, match="cannot read"):
        Lens.load(path)


def test_rows_without_a_source_are_refused(model):
    with pytest.raises(UsageError, match="a lens needs rows of more than 1 tokens; the text has none"):
        build_lens(model, [[0], []])

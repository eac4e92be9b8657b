"""Operations that are planned and reported are those that torch counts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from silverstain.models import harvest, harvest_mlps
from silverstain.training import TrainingConfig
from silverstain.training.operations import model_operations, step_operations

from .conftest import D_VOCAB, tiny_model
from .test_products import tiny_gpt2


def counted(work) -> int:
    """Products alone; what attention does between positions is no product with weights."""
    with FlopCounterMode(display=False) as counter:
        work()
    found = counter.get_flop_counts()["Global"]
    return sum(number for name, number in found.items() if name in (torch.ops.aten.mm, torch.ops.aten.addmm))


@pytest.mark.parametrize("make", [tiny_model, tiny_gpt2])
def test_operations_of_a_model_are_those_of_its_products(make):
    model, ids = make(), torch.randint(1, D_VOCAB, (3, 8), generator=torch.Generator().manual_seed(0))
    assert counted(lambda: harvest(model, ids)) <= ids.numel() * model_operations(model, head=True)
    assert counted(lambda: harvest(model, ids)) > 0.9 * ids.numel() * model_operations(model, head=True)
    body = counted(lambda: harvest_mlps(model, ids)) / ids.numel()
    assert body == pytest.approx(model_operations(model, head=False), rel=0.15)


def test_a_skip_takes_operations_once_it_has_begun():
    sizes = {"n_layers": 3, "d_model": 16}
    plain = TrainingConfig(kind="per-layer", n_features=64, l0=4, rows=32, pool_rows=64, steps=10, anneal=0.0)
    zero, affine = (TrainingConfig(**{**plain.to_json(), "skip": True, "skip_starts": s}) for s in ("zero", "affine"))
    one_pass = plain.rows * 2 * 3 * 16**2
    more = [
        [step_operations(c, s, **sizes) - step_operations(plain, s, **sizes) for s in (0, 9)] for c in (zero, affine)
    ]
    assert more == [[0, 2 * one_pass], [one_pass, 2 * one_pass]]

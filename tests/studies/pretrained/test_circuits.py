"""Circuits of pretrained models and what is changed in their stead, on tiny random models."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from tests.attribution.conftest import tiny_model
from torch import Tensor

from silverstain.attribution import DifferenceTarget
from silverstain.attribution.secant import find_contrast
from silverstain.bases import NeuronBasis
from silverstain.studies.pretrained.circuits import key_scores, smallest, stability
from silverstain.studies.pretrained.gates import answered, gate_of, is_right
from silverstain.studies.pretrained.others import Moved, elsewhere, largest_changes, matched
from silverstain.studies.pretrained.pairs import PromptPair, Side, TokenPair
from silverstain.studies.pretrained.recorded import FIRST_LAYER, Recorded
from silverstain.studies.pretrained.trial import shuffled
from silverstain.verification.contrast import Patch, Patching
from silverstain.verification.contrast.patching import BASE

TOKENS = TokenPair(
    pair=PromptPair(base=Side(prompt="one", answers=("a",)), contrast=Side(prompt="other", answers=("b",))),
    base=(0, 11, 9, 5, 23, 5, 40), contrast=(0, 11, 9, 7, 23, 5, 40), base_answers=(4,), contrast_answers=(3,),
    choices=(3, 4, 8),
)  # fmt: skip


@cache
def pair(shape: str = "llama-biased") -> Recorded:
    model = tiny_model(shape, torch.float64, seed=0)
    targets = [DifferenceTarget(token=token, minus=4) for token in (3, 8)]
    found = find_contrast(model, NeuronBasis(model), TOKENS.base, TOKENS.contrast, targets=targets)
    return Recorded(tokens=TOKENS, patching=Patching(found), label=8)


def own(n: int = 12) -> Moved:
    units = pair().best(n)
    return Moved(units=units, change=pair().moved(units, 1.5))


def written(moved: Moved) -> dict[tuple[int, int], Tensor]:
    """What units add, by layer and position, one unit after the other."""
    found: dict[tuple[int, int], Tensor] = {}
    for unit, change in zip(moved.units.tolist(), moved.change.tolist(), strict=True):
        layer, position = int(pair().layer[unit]), int(pair().position[unit])
        row = pair().contrast.basis.decoder_rows(layer, pair().feature[unit : unit + 1])[0, 0]
        found[layer, position] = found.get((layer, position), torch.zeros_like(row)) + change * row
    return found


@pytest.mark.parametrize("active", [False, True])
def test_other_units_stand_where_the_circuit_does_and_add_as_much(active: bool):
    mine, others = own(), matched(pair(), own(), torch.Generator().manual_seed(0), active=active)
    assert not set(mine.units.tolist()) & set(others.units.tolist())
    assert len(set(others.units.tolist())) == len(mine.units)
    first, second = written(mine), written(others)
    assert set(first) == set(second)
    for place, vector in first.items():
        assert float(second[place].norm()) == pytest.approx(float(vector.norm()), rel=1e-6)


def test_a_patch_with_values_gives_the_units_these_values():
    """Beside the model run by hand, with the activations that its down projections read overwritten."""
    moved = own(6)
    (logits,) = pair().patching.logits([moved.patch(pair())])
    model, handles = pair().contrast.model, []
    for layer in range(model.n_layers):
        here = moved.units[pair().layer[moved.units] == layer]

        def overwrite(_, arguments, here=here):
            hidden = arguments[0].clone()
            for unit in here.tolist():
                at = (moved.units == unit).nonzero().item()
                value = pair().values[0, unit] + moved.change[at]
                hidden[0, int(pair().position[unit]), int(pair().feature[unit])] = value
            return (hidden,)

        handles.append(model.mlp(layer).get_submodule("down_proj").register_forward_pre_hook(overwrite))
    try:
        by_hand = model.logits(torch.tensor(TOKENS.base))[-1]
    finally:
        for handle in handles:
            handle.remove()
    torch.testing.assert_close(logits, by_hand, rtol=1e-9, atol=1e-9)


def test_a_patch_of_the_whole_difference_is_the_patch_of_the_other_run():
    units = pair().best(20)
    named, plain = pair().patch(units, pair().moved(units, 1.0)), Patch(run=BASE, units=units)
    one, other = pair().patching.logits([named, plain])
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_what_is_moved_elsewhere_stands_before_what_differs():
    mine = own()
    moved = elsewhere(pair(), mine)
    assert moved is not None
    positions = pair().position[moved.units]
    assert int(positions.min()) >= 1
    assert int(positions.max()) < TOKENS.changed[0]
    assert float(moved.change.sum()) == pytest.approx(float(mine.change.sum()), rel=1e-5)


def test_there_is_no_elsewhere_before_the_first_words():
    early = replace(TOKENS, base=(0, 5, 9), contrast=(0, 7, 9))
    model = tiny_model("llama-biased", torch.float64, seed=0)
    found = find_contrast(
        model, NeuronBasis(model), early.base, early.contrast, targets=[DifferenceTarget(token=3, minus=4)]
    )
    one = Recorded(tokens=early, patching=Patching(found), label=8)
    units = one.able.nonzero().flatten()[:3]
    assert elsewhere(one, Moved(units=units, change=torch.ones(3))) is None


def test_the_largest_other_changes_are_none_of_the_circuit_s_and_larger_than_all_that_are_left():
    mine = own(5)
    others = largest_changes(pair(), mine, 1.0)
    assert len(others.units) == len(mine.units)
    assert not set(others.units.tolist()) & set(mine.units.tolist())
    sizes = {
        unit: abs(float(pair().values[1, unit] - pair().values[0, unit]))
        * float(pair().contrast.basis.decoder_rows(int(pair().layer[unit]), pair().feature[unit : unit + 1]).norm())
        for unit in pair().able.nonzero().flatten().tolist()
        if unit not in mine.units.tolist()
    }
    expected = sorted(sizes, key=lambda unit: -sizes[unit])[:5]
    assert set(others.units.tolist()) == set(expected)


def test_keys_stand_for_units_by_role_and_never_for_the_first_block():
    scores = key_scores(pair())
    basis = pair().contrast.basis
    by_hand = torch.zeros(3, basis.n_layers, basis.n_features)
    for unit, share in enumerate(pair().account().tolist()):
        position, layer = int(pair().position[unit]), int(pair().layer[unit])
        if position >= 3 and layer >= FIRST_LAYER and bool(pair().able[unit]):
            role = 0 if position == 3 else 2 if position == 6 else 1
            by_hand[role, layer, int(pair().feature[unit])] += share
    torch.testing.assert_close(scores, by_hand.flatten(), rtol=1e-5, atol=1e-7)
    best = scores.topk(5).indices
    assert set(pair().key[pair().units_of(best)].tolist()) == set(best.tolist())


def test_the_smallest_size_that_turns_enough_is_taken():
    def all_of_them(one: Recorded, k: int) -> Tensor:
        return one.able.nonzero().flatten() if k == 30 else one.able.nonzero().flatten()[:0]

    whole = pair().able.nonzero().flatten()
    turns = pair().is_turned(pair().patching.logits([pair().patch(whole, pair().moved(whole, 1.0))])[0])
    found = smallest([pair()], all_of_them, (10, 30, 50))
    assert found.turned == float(turns) or found.turned == 1.0
    assert found.k == (30 if found.turned else 10)


def test_sets_of_equal_pairs_are_stable_and_random_signs_are_less():
    scores = torch.zeros(12, 400)
    scores[:, :10] = 1.0
    scores += 0.01 * torch.randn(12, 400, generator=torch.Generator().manual_seed(0))
    same, null = stability(scores, 10, seed=0)
    assert same == 1.0
    assert null <= same


def test_shuffled_units_write_what_others_of_them_write():
    units = pair().best(12)
    basis = shuffled(pair(), units, seed=1).contrast.basis
    plain = pair().contrast.basis
    for layer in range(plain.n_layers):
        here = pair().feature[units[pair().layer[units] == layer]].unique()
        if len(here) < 2:
            continue
        before, after = (one.decoder_rows(layer, here)[:, 0] for one in (plain, basis))
        assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert sorted(map(tuple, before.tolist())) == sorted(map(tuple, after.tolist()))


def test_the_gate_counts_each_prompt_once():
    model = tiny_model("llama-biased", torch.float64, seed=0)
    logits = [model.logits(torch.tensor(ids))[-1] for ids in (TOKENS.base, TOKENS.contrast)]
    said = answered(model, [TOKENS, TOKENS])
    gate = gate_of(said)
    expected = [is_right(logits[0], (4,), (3, 4, 8)), is_right(logits[1], (3,), (3, 4, 8))]
    assert gate.right.n == 2
    assert gate.right.value == sum(expected) / 2
    assert [said[0].base.is_right, said[0].contrast.is_right] == expected

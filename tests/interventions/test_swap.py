"""Moving a donor's features into another prompt, and the controls beside it."""

import re

import pytest
import torch

from silverstain.attribution import record_run
from silverstain.errors import UsageError
from silverstain.interventions import (
    Edit,
    Swap,
    active_places,
    agreement_under_edits,
    intervene,
    intervene_replaced,
    random_control,
    swap,
    swap_edits,
    swap_many,
)
from silverstain.models import record

DONOR = [0, 6, 30, 17, 2, 25]


def places_at(model, dictionary, ids, positions):
    return active_places(dictionary.encode(record(model, ids).mlp_inputs, n_real=1), positions=positions)


def test_active_places_are_those_that_fire(model, dictionary, prompt):
    active = dictionary.encode(record(model, prompt).mlp_inputs, n_real=1)
    places = active_places(active, positions=[2, 4], layers=[0, 2])
    values = record_run(model, dictionary, prompt).activations(places).tolist()
    assert places
    assert all(value > 0 for value in values)
    assert {position for _, position, _ in places} <= {2, 4}
    assert active_places(active, features={(0, 3)}) == [p for p in active_places(active) if (p[0], p[2]) == (0, 3)]
    assert record_run(model, dictionary, prompt).activations([(0, 0, 3)]).tolist() == [0.0]


def test_swapping_everything_measured_from_the_current_run_makes_each_feature_the_donors(model, dictionary, prompt):
    """A swap is ablation of one's own and patching of the donated; the last word on a shared feature is the donor's."""
    own, donated = places_at(model, dictionary, prompt, [3]), places_at(model, dictionary, DONOR, [3])
    values = record_run(model, dictionary, DONOR).activations(donated).tolist()
    edits = [
        *(
            Edit(op="ablate", features=((layer, f),), positions=(3,))
            for layer, _, f in own
            if (layer, 3, f) not in donated
        ),
        *(
            Edit(op="set", features=((la, f),), positions=(3,), value=2 * v)
            for (la, _, f), v in zip(donated, values, strict=True)
        ),
    ]
    for base in ("clean", "current"):
        got = swap(model, dictionary, prompt, DONOR, own=own, donated=donated, strength=2.0, base=base)
        wanted = intervene(model, dictionary, prompt, edits, base=base)
        torch.testing.assert_close(got.edited_logits, wanted.edited_logits, atol=1e-5, rtol=1e-5)


def test_a_prompt_swapped_with_itself_does_not_change(model, dictionary, prompt):
    own = places_at(model, dictionary, prompt, [2, 3])
    assert swap(model, dictionary, prompt, prompt, own=own, donated=own).kl == pytest.approx(0, abs=1e-8)


def test_donated_features_move_to_the_positions_named(model, dictionary, prompt):
    donor = [*DONOR, 8]
    donated = places_at(model, dictionary, donor, [4])
    one = Swap(prompt=prompt, donor_prompt=donor, own=[], donated=donated, positions={4: 2})
    assert {edit.positions for edit in swap_edits(model, dictionary, one)} == {(2,)}
    with pytest.raises(UsageError, match=re.escape("The prompt has 6 tokens and the donor 7")):
        swap(model, dictionary, prompt, donor, own=[], donated=donated)
    with pytest.raises(UsageError, match=re.escape("positions [4] has nowhere to go")):
        swap(model, dictionary, prompt, donor, own=[], donated=donated, positions={5: 2})
    with pytest.raises(UsageError, match="names no feature"):
        swap(model, dictionary, prompt, donor, own=[], donated=[])


def test_many_swaps_equal_single_ones(model, dictionary, prompt):
    swaps = [
        Swap(
            prompt=a,
            donor_prompt=b,
            own=places_at(model, dictionary, a, [at]),
            donated=places_at(model, dictionary, b, [at]),
        )
        for a, b, at in [(prompt, DONOR, 2), (DONOR, prompt, 4), (prompt, DONOR, 5)]
    ]
    for one, many in zip(swaps, swap_many(model, dictionary, swaps), strict=True):
        alone = swap(model, dictionary, one.prompt, one.donor_prompt, own=one.own, donated=one.donated)
        torch.testing.assert_close(many.edited_logits, alone.edited_logits, atol=1e-5, rtol=1e-5)


def size_of(model, dictionary, ids, edits):
    """‖Δ‖ per (layer, position), decoder rows of all targets concatenated, by plain loops."""
    inputs = record(model, ids).mlp_inputs
    rules = {
        (layer, position, feature): (factor, constant)  # the last edit of a feature holds
        for edit in edits
        for layer, feature, factor, constant in edit.rules()
        for position in edit.positions
    }
    sums = {}
    for (layer, position, feature), (factor, constant) in rules.items():
        a = float(dictionary.encode_layer(layer, inputs[layer, position])[feature])
        row = dictionary.decoder_rows(layer, torch.tensor([feature]))[0]
        sums[layer, position] = sums.get((layer, position), 0) + ((factor - 1) * a + constant) * row
    return {at: float(torch.linalg.vector_norm(total)) for at, total in sums.items()}


def test_a_control_is_as_large_in_the_same_places_and_shares_no_feature(model, dictionary, prompt):
    donated = places_at(model, dictionary, DONOR, [3])[:4]
    own = places_at(model, dictionary, prompt, [3])[:4]
    edits = swap_edits(model, dictionary, Swap(prompt=prompt, donor_prompt=DONOR, own=own, donated=donated))
    control = random_control(record_run(model, dictionary, prompt), edits, seed=3)
    wanted, got = size_of(model, dictionary, prompt, edits), size_of(model, dictionary, prompt, control)
    assert got == pytest.approx(wanted, rel=1e-4)
    edited = {(at, p) for edit in edits for at in edit.features for p in edit.positions}
    chosen = {(at, p) for edit in control for at in edit.features for p in edit.positions}
    assert chosen
    assert not edited & chosen
    assert len(chosen) == len(edited), "as many features, place by place"
    assert random_control(record_run(model, dictionary, prompt), edits, seed=3) == control
    assert any(random_control(record_run(model, dictionary, prompt), edits, seed=s) != control for s in range(4, 9))


def test_the_opposite_of_a_control_moves_the_same_features_the_other_way(model, dictionary, prompt):
    run = record_run(model, dictionary, prompt)
    edits = [Edit(op="add", features=((0, 3), (1, 4)), value=2.0)]
    one, other = (random_control(run, edits, seed=3, opposite=opposite) for opposite in (False, True))
    inputs = record(model, prompt).mlp_inputs
    for there, back in zip(one, other, strict=True):
        assert (there.features, there.positions) == (back.features, back.positions)
        (layer, _), (position,) = there.features[0], there.positions
        own = dictionary.encode_layer(layer, inputs[layer, position])[[feature for _, feature in there.features]]
        torch.testing.assert_close(torch.tensor(there.donor) - own, own - torch.tensor(back.donor))


def test_a_control_among_active_features_moves_only_what_fires_there(model, dictionary, prompt):
    run = record_run(model, dictionary, prompt)
    edits = [Edit(op="add", features=((0, 3),), positions=(3,), value=2.0)]
    inputs = record(model, prompt).mlp_inputs
    control = random_control(run, edits, seed=1, among="active")
    assert control
    for edit in control:
        (layer, _), (position,) = edit.features[0], edit.positions
        fires = dictionary.encode_layer(layer, inputs[layer, position]) != 0
        assert all(bool(fires[feature]) for _, feature in edit.features)
        assert (0, 3) not in edit.features
    assert size_of(model, dictionary, prompt, control) == pytest.approx(
        {at: size for at, size in size_of(model, dictionary, prompt, edits).items() if at in
         {(edit.features[0][0], edit.positions[0]) for edit in control}}, rel=1e-4
    )  # fmt: skip


def test_edits_that_change_nothing_need_no_control(model, dictionary, prompt):
    nothing = Edit(op="scale", features=((0, 3),), value=1.0)
    assert random_control(record_run(model, dictionary, prompt), [nothing]) == ()


def perfect(model, monkeypatch):
    """A replacement whose output is the real MLP's."""
    from silverstain.bases import replaced
    from silverstain.bases.substitutes import Substitute

    class Real(Substitute):
        n_layers = model.n_layers

        def writes(self, layer, x, token_ids):
            mlp = model.mlp(layer)
            return type(mlp).forward(mlp, x)[:, None]  # the class's: the module's own is replaced meanwhile

    monkeypatch.setattr(replaced, "as_substitute", lambda _: Real())


def test_a_perfect_replacement_agrees_with_the_model_under_every_edit(model, dictionary, prompt, monkeypatch):
    prompts = [prompt, DONOR[:5]]
    edits = [
        [Edit(op="add", features=((0, 3), (1, 4)), value=2.0)],
        [Edit(op="set", features=((1, 2),), positions=(-1,), value=4.0)],
    ]
    perfect(model, monkeypatch)
    found = agreement_under_edits(model, dictionary, prompts, edits)
    assert found.share == 1.0
    assert found.kl.max() < 1e-6
    assert found.clean_agrees.all()
    for (clean, edited), p, e in zip(
        intervene_replaced(model, dictionary, prompts, edits), prompts, edits, strict=True
    ):
        real = intervene(model, dictionary, p, e)
        torch.testing.assert_close(edited, real.edited_logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(clean, real.baseline_logits, atol=1e-5, rtol=1e-5)


def test_in_the_replaced_model_downstream_features_are_recomputed(model, dictionary, prompt):
    """An edit of layer 0 equals running the replaced model by hand with its writes added."""
    edits = [Edit(op="add", features=((0, 3),), positions=(3,), value=2.0)]
    ((_, edited),) = intervene_replaced(model, dictionary, [prompt], [edits])
    rows = dictionary.decoder_rows(0, torch.tensor([3]))[0] * 2.0
    pending = {}

    def replacing(layer):
        def hook(_, args, out):
            x = args[0]
            wrote = dictionary.decode_layer(layer, dictionary.encode_layer(layer, x))
            for k, target in enumerate(dictionary.targets(layer)):
                pending[target] = pending.get(target, 0) + wrote[..., k, :]
            new = pending.pop(layer) + dictionary.b_dec[layer]
            if layer < rows.shape[0]:
                new[:, 3] += rows[layer]
            return torch.cat([out[:, :1], new[:, 1:]], dim=1)

        return hook

    handles = [model.mlp(layer).register_forward_hook(replacing(layer)) for layer in range(model.n_layers)]
    # The first token keeps its real MLP and its features write nothing.
    wanted = model.logits(torch.tensor(prompt))
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(edited, wanted, atol=1e-5, rtol=1e-5)


def test_agreement_needs_cases(model, dictionary):
    with pytest.raises(UsageError, match="There is no case to compare"):
        agreement_under_edits(model, dictionary, [], [])

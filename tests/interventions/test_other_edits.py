"""Edits of error and token nodes, directions and patterns equal the slow, obvious way of doing them."""

import json
import re

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.interventions import (
    DirectionEdit,
    Donor,
    Edit,
    Onward,
    PatternEdit,
    VectorEdit,
    edit_from_json,
    editing,
    intervene,
    intervene_many,
    load_edits,
    parse_edits,
    regime_of,
    save_edits,
)
from silverstain.models import attention_through, record

DONOR = [0, 6, 30, 17, 2, 25]


def errors_of(model, dictionary, ids):
    run = record(model, ids)
    found = dictionary.encode(run.mlp_inputs, n_real=model.n_real)
    return run.mlp_outputs - dictionary.reconstruct(found, run.mlp_inputs)


def logits_with(model, ids, module, hook, *, before=False):
    handle = module.register_forward_pre_hook(hook) if before else module.register_forward_hook(hook)
    try:
        return model.logits(torch.tensor(ids))
    finally:
        handle.remove()


def close(got, wanted):
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-5)


def is_moved(result):
    return float((result.edited_logits - result.baseline_logits).abs().max()) > 1e-3


@pytest.mark.parametrize("layer", [0, 2])
def test_an_error_node_is_scaled_silenced_and_exchanged(model, dictionary, prompt, layer):
    errors, other = errors_of(model, dictionary, prompt), errors_of(model, dictionary, DONOR)
    donor = Donor(model, dictionary, DONOR)
    for edit, new in (
        (VectorEdit(op="ablate", layer=layer, positions=(3,)), 0 * errors[layer, 3]),
        (VectorEdit(op="scale", layer=layer, positions=(3,), value=-2.0), -2 * errors[layer, 3]),
        (donor.patch_error(layer, 4, to=3), other[layer, 4]),
    ):

        def written(_m, _a, out, new=new):
            out = out.clone()
            out[:, 3] += new - errors[layer, 3]
            return out

        done = intervene(model, dictionary, prompt, [edit])
        close(done.edited_logits, logits_with(model, prompt, model.mlp(layer), written))
        assert is_moved(done)


def test_a_token_node_is_scaled_silenced_and_exchanged(model, dictionary, prompt):
    embedding, other = record(model, prompt).embedding, record(model, DONOR).embedding
    donor = Donor(model, dictionary, DONOR)
    for edit, new in (
        (VectorEdit(op="ablate", positions=(0,)), 0 * embedding[0]),
        (VectorEdit(op="scale", positions=(-1,), value=3.0), 3 * embedding[-1]),
        (donor.patch_token(2, to=4), other[2]),
    ):
        changed = embedding.clone()
        changed[edit.positions[0]] = new
        wanted = model.hf(inputs_embeds=changed[None], use_cache=False).logits[0]
        done = intervene(model, dictionary, prompt, [edit])
        close(done.edited_logits, wanted)
        assert is_moved(done)


@pytest.mark.parametrize(
    ("op", "value", "new"),
    [("ablate", None, 0.0), ("scale", -1.0, None), ("set", 2.5, 2.5), ("add", 1.5, None)],
)
def test_a_direction_is_edited_where_its_block_leaves_the_stream(model, dictionary, prompt, op, value, new):
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(4))
    unit = vector / vector.norm()
    edit = DirectionEdit(op=op, layer=1, direction=tuple(vector.tolist()), positions=Onward(2), value=value)

    def leaves(_m, _a, out):
        stream = (out[0] if isinstance(out, tuple) else out).clone()
        for position in range(2, len(prompt)):
            c = stream[0, position] @ unit
            to = {"scale": -c, "add": c + 1.5}.get(op, new)
            stream[0, position] += (to - c) * unit
        return (stream, *out[1:]) if isinstance(out, tuple) else stream

    done = intervene(model, dictionary, prompt, [edit])
    close(done.edited_logits, logits_with(model, prompt, model.block(1), leaves))
    assert is_moved(done)


def test_a_direction_measured_in_the_current_run_is_set_exactly(model, dictionary, prompt):
    vector = tuple(float(i % 3) - 0.5 for i in range(model.d_model))
    unit = torch.tensor(vector) / torch.tensor(vector).norm()
    edits = [
        Edit(op="add", features=((0, 3),), positions=(3,), value=4.0),
        DirectionEdit(op="set", layer=2, direction=vector, positions=(3,), value=0.25),
    ]
    seen = []
    hook = model.final_norm.module.register_forward_pre_hook(lambda _m, args: seen.append(args[0][0, 3]))
    with editing(model, dictionary, edits, base="current"):
        model.logits(torch.tensor(prompt))
    hook.remove()
    assert float(seen[0] @ unit) == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize("attention", ["live", "frozen"])
def test_a_pattern_is_edited_entry_by_entry(model, dictionary, prompt, attention):
    donor = Donor(model, dictionary, DONOR)
    edits = [
        PatternEdit(op="ablate", heads=((0, 1),), positions=(3,)),
        PatternEdit(op="set", heads=((1, 0), (1, 2)), positions=(4,), keys=(2,), value=0.7),
        PatternEdit(op="scale", heads=((2, 3),), positions=(-1,), keys=(0, 1), value=2.0),
        PatternEdit(op="add", heads=((2, 1),), value=0.1, positions=(2,)),
        donor.patch_pattern(1, 3, 4, to=5),
        Edit(op="add", features=((0, 3),), positions=(2,), value=2.0),
    ]
    clean, theirs = record(model, prompt).patterns, record(model, DONOR).patterns

    def edited(layer, pattern):
        out = (clean[layer][None] if attention == "frozen" else pattern).clone()
        if layer == 0:
            out[0, 1, 3] = 0
        if layer == 1:
            out[0, 0, 4, 2] = out[0, 2, 4, 2] = 0.7
            out[0, 3, 5] = theirs[1, 3, 4]
        if layer == 2:
            out[0, 3, 5, :2] *= 2
            out[0, 1, 2, :3] += 0.1
        return out

    rows = dictionary.decoder_rows(0, torch.tensor([3]))[0]
    handles = []
    for k, target in enumerate(dictionary.targets(0)):

        def add(_m, _a, out, row=rows[k]):
            return out + 2.0 * row * (torch.arange(len(prompt)) == 2)[:, None]

        handles.append(model.mlp(target).register_forward_hook(add))
    with attention_through(model.hf, edited):
        wanted = model.logits(torch.tensor(prompt))
    for handle in handles:
        handle.remove()
    close(intervene(model, dictionary, prompt, edits, attention=attention).edited_logits, wanted)


def test_edits_of_every_kind_act_together_in_a_batch_as_alone(model, dictionary, prompt):
    vector = tuple(torch.randn(model.d_model, generator=torch.Generator().manual_seed(1)).tolist())
    edits = [
        [VectorEdit(op="ablate", layer=1, positions=(2,)), VectorEdit(op="scale", positions=(3,), value=0.5)],
        [DirectionEdit(op="ablate", layer=0, direction=vector)],
        [PatternEdit(op="ablate", heads=((1, 1),))],
        [Edit(op="add", features=((0, 3),), value=1.0), VectorEdit(op="ablate", layer=2)],
    ]
    prompts = [prompt, DONOR, prompt[:4], DONOR]
    regime = {"attention": "frozen", "norms": "frozen", "held_layers": range(3)}
    for held in ({}, regime):
        together = intervene_many(model, dictionary, prompts, edits, **held)
        for one, p, e in zip(together, prompts, edits, strict=True):
            close(one.edited_logits, intervene(model, dictionary, p, e, **held).edited_logits)


def test_every_kind_reads_back_from_json_and_files(tmp_path):
    edits = (
        Edit(op="add", features=((0, 1), (2, 3)), positions=Onward(4), donor=(1.0, 2.0)),
        VectorEdit(op="scale", layer=1, positions=(2, 3), value=2.0),
        VectorEdit(op="patch", positions=(2,), donor=(1.0, 0.5)),
        DirectionEdit(op="set", layer=1, direction=(1.0, 2.0), name="truth", positions=Onward(-2), value=1.0),
        PatternEdit(op="patch", heads=((1, 2),), positions=(4,), keys=(0, 3), donor=(0.5, 0.5)),
    )
    assert tuple(edit_from_json(json.loads(json.dumps(edit.to_json()))) for edit in edits) == edits
    save_edits(edits, tmp_path / "edits.json")
    assert load_edits(tmp_path / "edits.json") == edits
    with pytest.raises(UsageError, match="is of the kind 'wish'"):
        edit_from_json({"kind": "wish"})
    with pytest.raises(UsageError, match="depth: extra inputs are not permitted"):
        edit_from_json({"kind": "token", "op": "ablate", "depth": 3})


def test_what_is_typed_is_what_is_meant(model, dictionary):
    donor = Donor(model, dictionary, DONOR)
    place = (1, 3, int(dictionary.encode_layer(1, donor.run.recording.mlp_inputs[1, 3]).argmax()))
    a = donor.activations([place])[0]
    f = f"L1.F{place[2]}"
    read = parse_edits(
        [
            "ablate:L1.error@5..", "scale:token@3=2", "set:L1.H3+L2.H0@4<2=0.5", f"patch:{f}@5<3",
            f"add:{f}@3<=2", "patch:L0.H1@4<3", "add:L2.truth=1", "patch:say<=2",
        ],
        {"say": [place]}, directions={"truth": [1.0, 0.0]}, donor=donor,
    )  # fmt: skip
    assert read == (
        VectorEdit(op="ablate", layer=1, positions=Onward(5)),
        VectorEdit(op="scale", positions=(3,), value=2.0),
        PatternEdit(op="set", heads=((1, 3), (2, 0)), positions=(4,), keys=(2,), value=0.5),
        Edit(op="patch", features=((1, place[2]),), positions=(5,), donor=(a,)),
        Edit(op="add", features=((1, place[2]),), positions=(3,), value=2 * a),
        donor.patch_pattern(0, 1, 3, to=4),
        DirectionEdit(op="add", layer=2, direction=(1.0, 0.0), name="truth", value=1.0),
        Edit(op="patch", features=((1, place[2]),), positions=(3,), donor=(2 * a,)),
    )
    assert a > 0


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["ablate:L1.F2@3", "set:L1.F2=1"], "Two edits change L1.F2 at position 3: ablate:L1.F2@3 and set:L1.F2=1.0"),
        (["ablate:token", "scale:token@2=2"], "Two edits change the token at position 2"),
        (["ablate:L1.error@2..", "ablate:L1.error@3"], "Two edits change the error of layer 1 at position 3"),
        (["ablate:L1.H2@3", "set:L1.H2@3<1=1"], "Two edits change L1.H2 at position 3, key 1"),
        (["ablate:L3.error@2"], "is in layer 3, but tiny has layers 0 to 2"),
        (["ablate:L1.error@0"], "the first 1 token(s) keep their real MLP"),
        (["ablate:L1.H4@2"], "names L1.H4, but tiny has heads 0 to 3"),
        (["set:L1.H1@2<3=1"], "lets position 2 attend to 3, which comes later"),
        (["ablate:token@9"], "at position 9, but the prompt has 6 tokens"),
        (["set:token@2=1"], "the operation is 'set'; here it is one of ablate, scale, patch"),
        (["patch:token@2<3"], "no donor prompt is given; name one (--donor)"),
        (["scale:L1.F2@2<3=1"], "no donor prompt is given"),
        (["ablate:L1.truth@2"], "Cannot read the features 'L1.truth'"),
        (["set:L1.F2@3=1e39"], "NaN or infinite"),
    ],
)
def test_edits_that_cannot_be_are_refused_in_one_line(model, dictionary, prompt, texts, words):
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        intervene(model, dictionary, prompt, parse_edits(texts))
    assert "\n" not in str(error.value)


def test_donors_and_directions_of_another_width_are_refused(model, dictionary, prompt):
    with pytest.raises(UsageError, match="has 2 numbers, but tiny has vectors of 16"):
        intervene(model, dictionary, prompt, [VectorEdit(op="patch", positions=(2,), donor=(1.0, 2.0))])
    with pytest.raises(UsageError, match="has 2 numbers, but tiny has vectors of 16"):
        intervene(model, dictionary, prompt, [DirectionEdit(op="ablate", layer=1, direction=(1.0, 2.0))])
    with pytest.raises(UsageError, match="zero or not finite"):
        DirectionEdit(op="ablate", layer=1, direction=(0.0, 0.0))
    with pytest.raises(UsageError, match="sees only 3; patch a later position"):
        intervene(model, dictionary, prompt, [Donor(model, dictionary, DONOR).patch_pattern(1, 1, 4, to=2)])


def test_named_modes_say_what_is_held():
    assert regime_of("direct", n_layers=3).held_layers == (0, 1, 2)
    assert regime_of("iterative", n_layers=3).base == "current"
    assert regime_of("constrained", n_layers=3, layers=range(1, 3)).attention == "frozen"
    assert regime_of("constrained", n_layers=3, layers=[2], attention="live").attention == "live"
    with pytest.raises(UsageError, match="one of added, iterative, constrained, direct"):
        regime_of("half", n_layers=3)
    with pytest.raises(UsageError, match="constrained needs the layers to hold"):
        regime_of("constrained", n_layers=3)
    with pytest.raises(UsageError, match="direct holds attention and norms"):
        regime_of("direct", n_layers=3, attention="live")

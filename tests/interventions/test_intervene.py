"""What an edit does equals the slow, obvious way of doing it."""

import re

import pytest
import torch
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions import Edit, editing, generate, intervene, intervene_many, parse_edits
from silverstain.models import LanguageModel, attention_through, harvest, record


def active(model: LanguageModel, dictionary: Dictionary, ids: list[int]) -> list[tuple[int, int, int, float]]:
    found = dictionary.encode(record(model, ids).mlp_inputs, n_real=model.n_real)
    return list(zip(*(c.tolist() for c in (found.layer, found.position, found.feature, found.activation)), strict=True))


def some_edits(model: LanguageModel, dictionary: Dictionary, ids: list[int]) -> list[Edit]:
    """One edit of each kind, on features that fire, over several layers and positions."""
    places = active(model, dictionary, ids)
    first, second, third = places[0], places[len(places) // 2], places[-1]
    return [
        Edit(op="ablate", features=((first[0], first[2]),), positions=(first[1],)),
        Edit(op="scale", features=((second[0], second[2]),), positions=(second[1],), value=-2.0),
        Edit(op="add", features=((0, 3), (1, 4)), value=0.7),
        Edit(op="patch", features=((third[0], third[2]), (1, 5)), positions=(third[1], -2), donor=(2.5, 0.5)),
        Edit(op="set", features=((2, 6),), positions=(-1,), value=1.5),
    ]


def slow_deltas(model: LanguageModel, dictionary: Dictionary, ids: list[int], edits: list[Edit]) -> Tensor:
    """What clean-based edits add to each MLP output [layer, pos, d_model], feature by feature in plain loops."""
    inputs = record(model, ids).mlp_inputs
    new: dict[tuple[int, int, int], float] = {}
    for edit in edits:
        for position in range(1, len(ids)) if edit.positions is None else [p % len(ids) for p in edit.positions]:
            for i, (layer, feature) in enumerate(edit.features):
                a = float(dictionary.encode_layer(layer, inputs[layer, position])[feature])
                given = {"ablate": 0.0, "scale": (edit.value or 0) * a, "set": edit.value, "add": a + (edit.value or 0)}
                new[layer, position, feature] = edit.donor[i] if edit.donor else given[edit.op]  # pyright: ignore
    deltas = torch.zeros(model.n_layers, len(ids), model.d_model)
    for (layer, position, feature), value in new.items():
        a = dictionary.encode_layer(layer, inputs[layer, position])[feature]
        rows = dictionary.decoder_rows(layer, torch.tensor([feature]))[0]
        for k, target in enumerate(dictionary.targets(layer)):
            deltas[target, position] += (value - a) * rows[k]
    return deltas


def logits_with_deltas(model: LanguageModel, ids: list[int], deltas: Tensor) -> Tensor:
    handles = [
        model.mlp(layer).register_forward_hook(lambda _m, _a, out, layer=layer: out + deltas[layer])
        for layer in range(model.n_layers)
    ]
    try:
        return model.logits(torch.tensor(ids))
    finally:
        for handle in handles:
            handle.remove()


def test_edited_logits_equal_those_with_the_deltas_added_by_hand(model, dictionary, prompt):
    edits = some_edits(model, dictionary, prompt)
    result = intervene(model, dictionary, prompt, edits)
    wanted = logits_with_deltas(model, prompt, slow_deltas(model, dictionary, prompt, edits))
    torch.testing.assert_close(result.edited_logits, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(result.baseline_logits, model.logits(torch.tensor(prompt)), atol=1e-5, rtol=1e-5)
    assert (result.edited_logits - result.baseline_logits).abs().max() > 0.01


def test_frozen_attention_keeps_the_patterns_of_the_clean_run(model, dictionary, prompt):
    edits = some_edits(model, dictionary, prompt)
    patterns = record(model, prompt).patterns
    deltas = slow_deltas(model, dictionary, prompt, edits)
    with attention_through(model.hf, lambda layer, _: patterns[layer][None]):
        wanted = logits_with_deltas(model, prompt, deltas)
    frozen = intervene(model, dictionary, prompt, edits, attention="frozen").edited_logits
    torch.testing.assert_close(frozen, wanted, atol=1e-5, rtol=1e-5)
    assert (frozen - intervene(model, dictionary, prompt, edits).edited_logits).abs().max() > 1e-3


def test_with_all_layers_held_and_attention_frozen_only_the_changes_reach_the_stream(model, dictionary, prompt):
    """MLP outputs clean + delta everywhere: the residual stream before the last norm differs by linear paths only."""
    edits = some_edits(model, dictionary, prompt)
    clean = record(model, prompt)
    deltas = slow_deltas(model, dictionary, prompt, edits)
    handles = [
        model.mlp(i).register_forward_hook(lambda _m, _a, _o, i=i: (clean.mlp_outputs[i] + deltas[i])[None])
        for i in range(model.n_layers)
    ]
    with attention_through(model.hf, lambda layer, _: clean.patterns[layer][None]):
        wanted = model.logits(torch.tensor(prompt))
    for handle in handles:
        handle.remove()
    held = intervene(model, dictionary, prompt, edits, attention="frozen", held_layers=range(model.n_layers))
    torch.testing.assert_close(held.edited_logits, wanted, atol=1e-5, rtol=1e-5)


def test_measured_from_the_current_run_set_holds_exactly(model, dictionary, prompt):
    """An upstream edit moves a later feature; `set` from the current run still ends where it says."""
    edits = [
        Edit(op="add", features=((0, 3),), positions=(3,), value=2.0),
        Edit(op="set", features=((2, 6),), positions=(3,), value=0.0),
    ]
    ids = torch.tensor(prompt)
    with editing(model, dictionary, edits[:1]):
        moved = record(model, prompt).mlp_inputs[2, 3]
    a = dictionary.encode_layer(2, moved)[6]
    rows = dictionary.decoder_rows(2, torch.tensor([6]))[0]
    deltas = slow_deltas(model, dictionary, prompt, edits[:1])
    for k, target in enumerate(dictionary.targets(2)):
        deltas[target, 3] += (0.0 - a) * rows[k]
    got = intervene(model, dictionary, prompt, edits, base="current").edited_logits
    torch.testing.assert_close(got, logits_with_deltas(model, prompt, deltas), atol=1e-5, rtol=1e-5)
    assert len(ids) == len(got)


def test_many_at_once_equal_one_at_a_time(model, dictionary, prompt):
    prompts = [prompt, prompt[:4], [0, 3, 3, 8, 30, 2, 11], prompt]
    edits = [some_edits(model, dictionary, p)[i : i + 3] for i, p in enumerate(prompts)]
    for attention in ("live", "frozen"):
        many = intervene_many(model, dictionary, prompts, edits, attention=attention, batch_size=3)
        for one, p, e in zip(many, prompts, edits, strict=True):
            alone = intervene(model, dictionary, p, e, attention=attention)
            torch.testing.assert_close(one.edited_logits, alone.edited_logits, atol=1e-5, rtol=1e-5)
            assert one.edits == tuple(e)
            assert one.kl == pytest.approx(alone.kl, abs=1e-5)


def test_one_prompt_serves_all_edits(model, dictionary, prompt):
    edits = [[edit] for edit in some_edits(model, dictionary, prompt)]
    shared = intervene_many(model, dictionary, [prompt], edits)
    assert len(shared) == len(edits)
    for one, listed in zip(shared, edits, strict=True):
        torch.testing.assert_close(
            one.edited_logits, intervene(model, dictionary, prompt, listed).edited_logits, atol=1e-5, rtol=1e-5
        )


def test_the_context_edits_the_hugging_face_model_and_undoes_it(model, dictionary, prompt):
    ids = torch.tensor([prompt, [*prompt[::-1][:-1], 4]])
    ids[1, 0] = 0
    before = model.logits(ids)
    edits = [Edit(op="add", features=((0, 3), (1, 4)), value=0.7)]
    with editing(model, dictionary, edits):
        edited = model.logits(ids)
        once_more = model.hf(ids, use_cache=False).logits
    after = model.logits(ids)
    for row in range(2):
        wanted = intervene(model, dictionary, ids[row], edits).edited_logits
        torch.testing.assert_close(edited[row], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(once_more, edited)
    torch.testing.assert_close(after, before)
    assert not any(model.mlp(layer)._forward_hooks for layer in range(model.n_layers) if model.dtype == torch.float32)


def test_a_recording_made_inside_the_context_is_of_the_edited_run(model, dictionary, prompt):
    edits = some_edits(model, dictionary, prompt)
    with editing(model, dictionary, edits):
        logits = record(model, prompt).logits
    torch.testing.assert_close(logits, intervene(model, dictionary, prompt, edits).edited_logits, atol=1e-5, rtol=1e-5)


def test_an_error_inside_the_context_leaves_no_edit_behind(model, dictionary, prompt):
    before = model.logits(torch.tensor(prompt))
    edits = [Edit(op="set", features=((0, 3),), positions=(40,), value=0.7)]
    with (
        pytest.raises(UsageError, match="at position 40, but the prompt has 6 tokens"),
        editing(model, dictionary, edits),
    ):
        model.logits(torch.tensor(prompt))
    torch.testing.assert_close(model.logits(torch.tensor(prompt)), before)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ablate:L9.F0@2", "names L9.F0, but this dictionary has 3 layers of 24 features"),
        ("ablate:L0.F24@2", "names L0.F24"),
        ("ablate:L0.F2@0", "the first 1 token(s) keep their real MLP"),
        ("ablate:L0.F2@-7", "at position -7, but the prompt has 6 tokens"),
    ],
)
def test_edits_that_do_not_fit_are_refused(model, dictionary, prompt, text, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        intervene(model, dictionary, prompt, parse_edits([text]))


def test_unknown_regimes_are_refused(model, dictionary, prompt):
    with pytest.raises(UsageError, match="one of live, frozen"):
        intervene(model, dictionary, prompt, [], attention="half")
    with pytest.raises(UsageError, match=re.escape("held_layers names [3]")):
        intervene(model, dictionary, prompt, [], held_layers=[3])


def test_no_edits_change_nothing(model, dictionary, prompt):
    result = intervene(model, dictionary, prompt, [])
    assert result.kl == pytest.approx(0, abs=1e-9)
    assert not result.is_changed
    assert [line.id for line in result.baseline] == [line.id for line in result.edited]


def test_tables_hold_the_probabilities_of_the_logits(model, dictionary, prompt):
    result = intervene(model, dictionary, prompt, some_edits(model, dictionary, prompt), n_top=3)
    probabilities = result.edited_logits[-1].softmax(-1)
    for line in result.edited:
        assert line.probability == pytest.approx(float(probabilities[line.id]), rel=1e-5)
        assert model.token_strings([line.id]) == [line.token]
    assert len(result.baseline) == len(result.edited) == 3
    p, q = result.baseline_logits[-1].double().softmax(-1), result.edited_logits[-1].double().softmax(-1)
    assert result.kl == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-4)
    assert set(result.to_json()) >= {"baseline", "edited", "kl", "edits", "tokens"}


def test_greedy_text_under_edits_is_that_of_edited_logits(model, dictionary, prompt):
    edits = [
        Edit(op="add", features=((0, 3), (1, 4)), value=3.0),
        Edit(op="ablate", features=((1, 2),), positions=(-1,)),
    ]
    ids = list(prompt)
    for _ in range(3):
        fixed = [edits[0], Edit(op="ablate", features=((1, 2),), positions=(len(prompt) - 1,))]
        ids.append(int(intervene(model, dictionary, ids, fixed).edited_logits[-1].argmax()))
    assert generate(model, prompt, 3, dictionary=dictionary, edits=edits) == ids[len(prompt) :]
    plain = generate(model, prompt, 3)
    assert plain[0] == int(model.logits(torch.tensor(prompt))[-1].argmax())
    assert generate(model, prompt, 3, stop=plain[0]) == plain[:1]


def test_harvest_reads_what_edits_are_measured_from(model, prompt):
    torch.testing.assert_close(
        harvest(model, torch.tensor([prompt])).mlp_inputs[:, 0], record(model, prompt).mlp_inputs
    )

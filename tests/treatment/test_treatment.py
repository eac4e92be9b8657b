"""Treatments against slow and obvious ways to the same: edits by position, weights written by hand."""

import json
from pathlib import Path

import pytest
import torch

from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions import DirectionEdit, Edit, PatternEdit, VectorEdit, intervene
from silverstain.models import LanguageModel, attention_through, harvest
from silverstain.storage import hash_tensors
from silverstain.treatment import (
    Condition,
    Item,
    Rule,
    Treatment,
    baked,
    from_graph,
    load_items,
    load_without,
    randomly_treated,
    share_right,
    treated,
    treatment_for,
)
from silverstain.treatment.applying import looking_back
from silverstain.treatment.comparing import Material, best_steering, compared, fine_tuned
from silverstain.treatment.controls import _random, _writing_elsewhere

IDS = [0, 5, 9, 13, 7, 21]
DIRECTION = tuple(torch.randn(16, generator=torch.Generator().manual_seed(4)).tolist())
ADD = DirectionEdit(op="add", layer=1, direction=DIRECTION, value=2.5)


def logits_under(model: LanguageModel, dictionary: Dictionary, *rules: Rule) -> torch.Tensor:
    with treated(model, dictionary, treatment_for(model, dictionary, rules, name="t")):
        return model.hf(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]


def active_at(model: LanguageModel, dictionary: Dictionary, layer: int) -> torch.Tensor:
    """[pos, feature], of the untouched model."""
    inputs = harvest(model, torch.tensor([IDS])).mlp_inputs[layer, 0]
    active = dictionary.encode_layer(layer, inputs) > 0
    active[: model.n_real] = False
    return active


def partly_active(model: LanguageModel, dictionary: Dictionary, layer: int = 0) -> tuple[int, list[int]]:
    """A feature that fires at some tokens, the third or fourth among them, and not at the last, and where."""
    active = active_at(model, dictionary, layer)
    count = active.sum(0)
    feature = int(((count <= 3) & active[2:4].any(0) & ~active[-1]).nonzero()[0])
    return feature, active[:, feature].nonzero().flatten().tolist()


@pytest.mark.parametrize(
    "edit", [Edit(op="scale", features=((0, 3),), value=-2.0), Edit(op="add", features=((2, 5),), value=1.5), ADD]
)
def test_without_condition_it_is_the_edit_at_every_token(model: LanguageModel, dictionary: Dictionary, edit: Edit):
    expected = intervene(model, dictionary, IDS, [edit], attention="live", base="clean").edited_logits
    torch.testing.assert_close(logits_under(model, dictionary, Rule(edit=edit)), expected, atol=1e-4, rtol=1e-4)


def test_a_condition_is_the_edit_at_the_tokens_where_the_feature_fires(model: LanguageModel, dictionary: Dictionary):
    feature, positions = partly_active(model, dictionary)
    for edit in (Edit(op="add", features=((1, 2), (1, 3)), value=3.0), ADD):
        placed = type(edit)(**{**vars(edit), "positions": tuple(positions)})
        expected = intervene(model, dictionary, IDS, [placed]).edited_logits
        ours = logits_under(model, dictionary, Rule(edit=edit, when=Condition(features=((0, feature),))))
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
        assert (ours - logits_under(model, dictionary, Rule(edit=edit))).abs().max() > 1e-2


def test_attention_is_cut_from_the_tokens_of_the_condition(model: LanguageModel, dictionary: Dictionary):
    feature, positions = partly_active(model, dictionary)
    cut = PatternEdit(op="ablate", heads=((1, 0), (2, 3)))

    def by_hand(layer: int, pattern: torch.Tensor) -> torch.Tensor:
        pattern = pattern.clone()
        for query in (q for q in range(len(IDS)) if q not in positions):
            for key in positions:
                if (layer, 0) == (1, 0):
                    pattern[:, 0, query, key] = 0
                if layer == 2:
                    pattern[:, 3, query, key] = 0
        return pattern

    with attention_through(model.hf, by_hand):
        expected = model.hf(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    ours = logits_under(model, dictionary, Rule(edit=cut, when=Condition(features=((0, feature),))))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert (ours - model.logits(torch.tensor(IDS))).abs().max() > 1e-3


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 2), (1, 1), (2, None), (9, None)])
def test_looking_back_is_what_the_words_say(first: int, last: int | None):
    active = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)) > 0.6
    found = looking_back(active, first, last)
    for row in range(3):
        for at in range(6):
            span = [p for p in range(6) if at - p >= first and (last is None or at - p <= last)]
            assert bool(found[row, at]) == any(bool(active[row, p]) for p in span if p <= at)


def test_a_cache_changes_nothing(model: LanguageModel, dictionary: Dictionary):
    feature, _ = partly_active(model, dictionary)
    when = Condition(features=((0, feature),), first=0, last=2)
    rules = [
        Rule(edit=Edit(op="add", features=((1, 4),), value=2.0), when=when),
        Rule(edit=PatternEdit(op="ablate", heads=((1, 1),)), when=when),
        Rule(edit=ADD),
    ]
    whole = logits_under(model, dictionary, *rules)
    with treated(model, dictionary, treatment_for(model, dictionary, rules, name="t")):
        first = model.hf(input_ids=torch.tensor([IDS[:3]]), use_cache=True)
        rest, cache = [first.logits[0]], first.past_key_values
        for token in IDS[3:]:
            step = model.hf(input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            rest.append(step.logits[0])
            cache = step.past_key_values
    torch.testing.assert_close(torch.cat(rest), whole, atol=1e-4, rtol=1e-4)


def test_saved_and_loaded_it_is_the_same_and_undone_nothing_is_left(
    model: LanguageModel, dictionary: Dictionary, tmp_path: Path
):
    rules = [
        Rule(edit=ADD),
        Rule(
            edit=Edit(op="scale", features=((0, 3),), value=0.1), when=Condition(features=((0, 1),), first=1, last=None)
        ),
    ]
    made = treatment_for(model, dictionary, rules, name="both")
    made.save(tmp_path / "t.json")
    assert Treatment.load(tmp_path / "t.json") == made
    assert json.loads((tmp_path / "t.json").read_text())["format"] == "silverstain.treatment/1"
    stored, before = hash_tensors(dict(model.hf.state_dict())), model.logits(torch.tensor(IDS))
    with treated(model, dictionary, made):
        assert not torch.equal(model.logits(torch.tensor(IDS)), before)
    assert torch.equal(model.logits(torch.tensor(IDS)), before)
    assert hash_tensors(dict(model.hf.state_dict())) == stored


def test_baked_constants_are_the_treatment_and_come_off_again(
    model: LanguageModel, dictionary: Dictionary, tmp_path: Path
):
    from transformers import AutoModelForCausalLM

    made = treatment_for(model, dictionary, [Rule(edit=ADD)], name="constant")
    stored, before = hash_tensors(dict(model.hf.state_dict())), model.logits(torch.tensor(IDS))
    with baked(model, dictionary, made):
        inside = model.logits(torch.tensor(IDS))
        model.hf.save_pretrained(tmp_path)
    expected = logits_under(model, dictionary, Rule(edit=ADD))
    torch.testing.assert_close(inside, expected, atol=1e-4, rtol=1e-4)
    kept = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(kept(torch.tensor([IDS])).logits[0], expected, atol=1e-4, rtol=1e-4)
    assert hash_tensors(dict(model.hf.state_dict())) == stored
    assert torch.equal(model.logits(torch.tensor(IDS)), before)
    assert not model.hf.config.mlp_bias


def test_what_weights_cannot_hold_is_refused(model: LanguageModel, dictionary: Dictionary):
    for rule in (
        Rule(edit=ADD, when=Condition(features=((0, 1),))),
        Rule(edit=DirectionEdit(op="ablate", layer=1, direction=DIRECTION)),
        Rule(edit=Edit(op="add", features=((0, 1),), value=1.0)),
    ):
        made = treatment_for(model, dictionary, [rule], name="t")
        with pytest.raises(UsageError, match="use treated"), baked(model, dictionary, made):
            pass


def test_a_treatment_is_refused_elsewhere(model: LanguageModel, dictionary: Dictionary):
    rules = (Rule(edit=Edit(op="ablate", features=((0, 3),))),)
    for wrong, what in (
        ({"model_hash": "0" * 16}, "another model"),
        ({"dictionary_hash": "0" * 16}, "another dictionary"),
    ):
        fitting = {"model_hash": model.hash, "dictionary_hash": dictionary.hash} | wrong
        with (
            pytest.raises(UsageError, match=what),
            treated(model, dictionary, Treatment(name="t", rules=rules, **fitting)),
        ):
            pass


def test_bad_rules_are_refused_in_a_line(model: LanguageModel, dictionary: Dictionary):
    silence = Edit(op="ablate", features=((0, 3),))
    with pytest.raises(UsageError, match=r"L0\.F999, but"):
        treatment_for(model, dictionary, [Rule(edit=Edit(op="ablate", features=((0, 999),)))], name="t")
    with pytest.raises(UsageError, match="change the same thing"):
        treatment_for(
            model,
            dictionary,
            [Rule(edit=silence), Rule(edit=Edit(op="scale", features=((0, 3),), value=2.0))],
            name="t",
        )
    with pytest.raises(UsageError, match="names positions of one prompt"):
        Rule(edit=Edit(op="ablate", features=((0, 3),), positions=(2,)))
    with pytest.raises(UsageError, match="before the features of its condition"):
        Rule(edit=silence, when=Condition(features=((1, 2),)))
    with pytest.raises(UsageError, match="before the features of its condition"):
        Rule(edit=PatternEdit(op="ablate", heads=((0, 1),)), when=Condition(features=((0, 2),)))
    with pytest.raises(UsageError, match="no rule"):
        treatment_for(model, dictionary, [], name="t")
    with pytest.raises(UsageError, match="0 <= first <= last"):
        Condition(features=((0, 1),), first=3, last=1)


def test_numbers_that_are_none_are_an_error_and_leave_nothing_behind(model: LanguageModel, dictionary: Dictionary):
    before = model.logits(torch.tensor(IDS))
    huge = DirectionEdit(op="add", layer=1, direction=DIRECTION, value=3e38)
    with pytest.raises(UsageError, match="NaN or infinite"):
        logits_under(
            model,
            dictionary,
            Rule(edit=huge),
            Rule(edit=DirectionEdit(op="scale", layer=2, direction=DIRECTION, value=3e38)),
        )
    assert torch.equal(model.logits(torch.tensor(IDS)), before)


def test_a_broken_file_is_named(tmp_path: Path):
    path = tmp_path / "t.json"
    path.write_text('{"format": "silverstain.treatment/1", "name": "x"}')
    with pytest.raises(UsageError, match="no whole treatment"):
        Treatment.load(path)
    token = {"edit": VectorEdit(op="ablate", layer=0).to_json(), "when": None}
    said = {"format": "silverstain.treatment/1", "name": "x", "model_hash": "1", "dictionary_hash": "2"}
    path.write_text(json.dumps({**said, "rules": [token]}))
    with pytest.raises(UsageError, match="one prompt alone"):
        Treatment.load(path)
    path.write_text('{"format": "silverstain.edits/1"}')
    with pytest.raises(UsageError, match=r"not a silverstain\.treatment/1"):
        Treatment.load(path)


def test_items_are_counted_and_read(model: LanguageModel, tmp_path: Path):
    best = int(model.logits(torch.tensor(IDS))[-1].argmax())
    short = int(model.logits(torch.tensor(IDS[:3]))[-1].argmax())
    items = [Item(tuple(IDS), best), Item(tuple(IDS[:3]), short), Item(tuple(IDS), (best + 1) % 40)]
    assert share_right(model, items) == pytest.approx(2 / 3)
    path = tmp_path / "items.jsonl"
    path.write_text('{"prompt": "t5 t9", "answer": "t7"}\n\n')
    assert load_items(model, path) == [Item(tuple(model.tokenize("t5 t9")), 7)]
    path.write_text('{"prompt": "t5"}\n')
    with pytest.raises(UsageError, match="line 1 of"):
        load_items(model, path)


def test_other_cures_leave_the_model_alone(model: LanguageModel, dictionary: Dictionary):
    stored = hash_tensors(dict(model.hf.state_dict()))
    items = [Item(tuple(IDS[:n]), 3) for n in (3, 4, 5, 6)]
    trained = fine_tuned(model, items, steps=40, learning_rate=1e-2)
    assert share_right(trained, items) == 1.0
    steering = best_steering(model, dictionary, items, items[:2], items[2:])
    assert steering.treatment.rules[0].when is None
    assert hash_tensors(dict(model.hf.state_dict())) == stored


def test_from_a_graph_come_its_features(model: LanguageModel, dictionary: Dictionary):
    from silverstain.attribution import trace

    graph = trace(model, dictionary, IDS)
    nodes = graph.nodes.is_kind("feature").nonzero().flatten()[:3].tolist()
    made = from_graph(model, dictionary, graph, nodes, name="three")
    named = {(int(graph.nodes.layer[i]), int(graph.nodes.feature[i])) for i in nodes}
    edit = made.rules[0].edit
    assert isinstance(edit, Edit)
    assert set(edit.features) == named
    token = int(graph.nodes.is_kind("token").nonzero()[0])
    with pytest.raises(UsageError, match="no features"):
        from_graph(model, dictionary, graph, [token], name="token")


def test_a_random_control_changes_features_by_as_much_and_writes_elsewhere(
    model: LanguageModel, dictionary: Dictionary
):
    feature, _ = partly_active(model, dictionary)
    made = treatment_for(model, dictionary, [Rule(edit=Edit(op="ablate", features=((0, feature),)))], name="t")
    clean = model.hf(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    one = torch.tensor([feature])
    elsewhere = _writing_elsewhere(dictionary, made, torch.Generator().manual_seed(3))
    own, drawn = (each.decoder_rows(0, one)[0] for each in (dictionary, elsewhere))
    torch.testing.assert_close(own.norm(dim=-1), drawn.norm(dim=-1))
    assert float(torch.cosine_similarity(own, drawn, dim=-1).abs().max()) < 0.95
    others = torch.tensor([feature - 1, feature + 1]) % dictionary.n_features
    torch.testing.assert_close(elsewhere.decoder_rows(0, others), dictionary.decoder_rows(0, others))
    with randomly_treated(model, dictionary, made, seed=3):
        control = model.hf(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    fires = active_at(model, dictionary, 0)[:, feature].nonzero().flatten().tolist()
    assert torch.allclose(control[: fires[0]], clean[: fires[0]], atol=1e-6), "it acts only where the feature fires"
    assert not torch.allclose(control[fires[0] :], clean[fires[0] :], atol=1e-3)
    with treated(model, elsewhere, made):
        by_hand = model.hf(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    torch.testing.assert_close(control, by_hand)


def test_random_rules_are_as_large_and_aimed_elsewhere():
    draw = torch.Generator().manual_seed(0)
    added = _random(Rule(edit=ADD), draw).edit
    assert isinstance(added, DirectionEdit)
    assert (added.op, added.layer, added.value, len(added.direction)) == ("add", 1, 2.5, 16)
    assert abs(float(torch.cosine_similarity(torch.tensor(added.direction), torch.tensor(DIRECTION), dim=0))) < 0.9
    inside = Condition(features=((0, 3),), first=0, last=2)
    cut = Rule(edit=PatternEdit(op="ablate", heads=((2, 1),)), when=inside)
    for _ in range(8):
        control = _random(cut, draw)
        assert control.edit == cut.edit
        assert control.when is not None
        assert control.when.last is not None
        assert control.when.last - control.when.first == 2, "as many tokens"
        assert 3 <= control.when.first <= 6, "and none of those of the condition"


def test_attention_cut_from_everywhere_has_no_random_control(model: LanguageModel, dictionary: Dictionary):
    items = [Item(tuple(IDS[:n]), 3) for n in (3, 4)]
    everywhere = Condition(features=((0, 3),), last=None)
    rule = Rule(edit=PatternEdit(op="ablate", heads=((1, 0),)), when=everywhere)
    made = treatment_for(model, dictionary, [rule], name="cut")
    with (
        pytest.raises(UsageError, match="cuts attention from all later tokens, so no random control can be drawn"),
        randomly_treated(model, dictionary, made, seed=0),
    ):
        pass
    assert compared(model, dictionary, made, target=items, side=items) == {}


def test_other_cures_stand_beside_the_treatment(model: LanguageModel, dictionary: Dictionary):
    items = [Item(tuple(IDS[:n]), 3) for n in (3, 4, 5, 6)]
    made = treatment_for(model, dictionary, [Rule(edit=ADD)], name="t")
    found = compared(model, dictionary, made, target=items, side=items[:2], n_controls=2)
    assert set(found) == {"random control"}
    by_hand = []
    for seed in (0, 1):
        with randomly_treated(model, dictionary, made, seed=seed):
            by_hand.append(share_right(model, items))
    assert found["random control"].target == pytest.approx(sum(by_hand) / 2)
    cut = [(item.prompt[0], *item.prompt[2:]) for item in items]
    best = [Item(prompt, int(model.logits(torch.tensor(prompt))[-1].argmax())) for prompt in cut]
    found = compared(
        model, dictionary, made, target=items, side=items, without=best, dev=Material(items, best), n_controls=1
    )
    assert list(found) == ["random control", "cue deleted", "difference of means", "fine-tuned"]
    assert found["cue deleted"] == (1.0, None)
    assert "difference of means" not in compared(
        model, dictionary, made, target=items, side=items, dev=Material(items, []), n_controls=1
    )
    with pytest.raises(UsageError, match="there is no direction to steer along"):
        best_steering(model, dictionary, items, items, items)


def test_items_without_their_cue(model: LanguageModel, tmp_path: Path):
    path = tmp_path / "items.jsonl"
    both = {"prompt": "t5 t9", "answer": "t7", "without": "t9"}
    path.write_text(json.dumps(both) + "\n")
    assert load_without(model, path) == [Item(tuple(model.tokenize("t9")), 7)]
    path.write_text(json.dumps(both) + '\n{"prompt": "t5", "answer": "t7"}\n')
    with pytest.raises(UsageError, match=r'item 2 of .* has no "without", and others have'):
        load_without(model, path)
    path.write_text('{"prompt": "t5", "answer": "t7"}\n')
    assert load_without(model, path) == []
    path.write_text('{"prompt": "t5", "answer": 7}\n')
    with pytest.raises(UsageError, match="line 1 of"):
        load_items(model, path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("first", float("inf")),
        ("first", "0"),
        ("last", -3),
        ("features", [[0]]),
        ("features", [[10**20, 1]]),
        ("features", 3),
    ],
)
def test_a_condition_of_other_types_is_named_with_the_file(tmp_path: Path, key: str, value: object):
    edit = {"op": "ablate", "features": [[1, 2]]}
    when = {"features": [[0, 1]], "first": 0, "last": None, key: value}
    said = {"format": "silverstain.treatment/1", "name": "x", "model_hash": "1", "dictionary_hash": "2"}
    path = tmp_path / "t.json"
    path.write_text(json.dumps({**said, "rules": [{"edit": edit, "when": when}]}))
    with pytest.raises(UsageError, match=rf"cannot read .*t\.json: rules\.0\.when\.{key}"):
        Treatment.load(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"prompt": "\xff", "answer": "4"}', "cannot read"),
        (b'{"prompt": "\\udc80", "answer": "4"}', "line 2 of"),
        (b'{"prompt": ["a"], "answer": "4"}', "prompt: input should be a valid string"),
        (b"\x00", "line 2 of"),
    ],
)
def test_a_damaged_item_is_named(model: LanguageModel, tmp_path: Path, line: bytes, words: str):
    path = tmp_path / "items.jsonl"
    path.write_bytes(b"\n" + line + b"\n")
    with pytest.raises(UsageError, match=words):
        load_items(model, path)

"""The demonstration, on a tiny random model: what it shows follows from what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from silverstain.cli.demo import farewell, page
from silverstain.loading import ReplacementModel
from silverstain.models import harvest
from silverstain.organism.swapping import state_swap_edits
from silverstain.organism.two_hop import RecordedQuestions, questions
from silverstain.studies import Demo, demonstrate
from silverstain.studies.demo import TEXAS


@pytest.fixture(scope="module")
def shown(loaded: ReplacementModel) -> Demo:
    return demonstrate(loaded, n_controls=2)


def test_the_prompts_town_has_no_part_in_the_swap(shown: Demo, loaded: ReplacementModel):
    from silverstain.organism.world import default_geography

    by_state = [town.state.name for town in default_geography().towns]
    assert shown.n_towns == (by_state.count("texas") - 1, by_state.count("california"))


def test_the_swap_adds_the_difference_of_means(loaded: ReplacementModel):
    recorded = RecordedQuestions.of(loaded.model, loaded.dictionary, questions(loaded.model, like=TEXAS.prompt))
    one, other = torch.tensor([0, 1, 2]), torch.tensor([7, 8])
    change = state_swap_edits(recorded, TEXAS.prompt, one, other)
    assert change
    own = harvest(loaded.model, torch.tensor([loaded.model.tokenize(TEXAS.prompt)])).mlp_inputs[:, 0, -1]
    for edit in change:
        (layer,) = {layer for layer, _ in edit.features}
        features = [feature for _, feature in edit.features]
        everyone = recorded.activations(layer, -1)
        difference = everyone[other].mean(0) - everyone[one].mean(0)
        expected = loaded.dictionary.encode_layer(layer, own[layer]) + difference
        torch.testing.assert_close(torch.tensor(edit.donor), expected[features])


def test_no_more_features_are_moved_than_are_allowed_and_these_are_written_largest(loaded: ReplacementModel):
    recorded = RecordedQuestions.of(loaded.model, loaded.dictionary, questions(loaded.model, like=TEXAS.prompt))
    one, other = torch.tensor([0, 1, 2]), torch.tensor([7, 8])

    def sizes(most: int | None) -> dict[tuple[int, int], float]:
        own = harvest(loaded.model, torch.tensor([loaded.model.tokenize(TEXAS.prompt)])).mlp_inputs[:, 0, -1]
        found = {}
        for edit in state_swap_edits(recorded, TEXAS.prompt, one, other, most=most):
            assert isinstance(edit.donor, tuple)
            for (layer, feature), value in zip(edit.features, edit.donor, strict=True):
                before = loaded.dictionary.encode_layer(layer, own[layer])[feature]
                row = loaded.dictionary.decoder_rows(layer, torch.tensor([feature])).flatten()
                found[layer, feature] = abs(float(value - before)) * float(row.norm())
        return found

    every, some = sizes(None), sizes(5)
    assert len(every) > 5 == len(some)
    assert min(some.values()) >= max(size for unit, size in every.items() if unit not in some) - 1e-5


def test_the_verdict_follows_from_the_runs(shown: Demo):
    assert shown.is_answered == (shown.swap.baseline[0].token == "austin")
    assert shown.is_swapped == (shown.swap.edited[0].token == "sacramento")
    assert shown.n_controls_changed == sum(c.is_changed for c in shown.controls)
    assert shown.control.kl == max(c.kl for c in shown.controls)
    edited, baseline = shown.swap.edited[0].id, shown.swap.baseline[0].id
    assert replace(shown, answer_id=baseline, other_answer_id=edited, controls=()).is_proved
    assert not replace(shown, answer_id=edited + 1, other_answer_id=edited).is_proved


def test_the_lead_is_the_difference_of_two_logits(shown: Demo, loaded: ReplacementModel):
    with torch.no_grad():
        ids = torch.tensor([loaded.model.tokenize(TEXAS.prompt)])
        logits = loaded.model.hf(input_ids=ids).logits[0, -1]
    wanted = float(logits[shown.answer_id] - logits[shown.other_answer_id])
    assert shown.lead(shown.swap, edited=False) == pytest.approx(wanted, abs=1e-3)


def test_controls_come_in_pairs_and_beside_them_other_active_features(shown: Demo):
    assert (len(shown.controls), len(shown.active_controls)) == (4, 2)
    assert shown.n_active_controls_changed == sum(control.is_changed for control in shown.active_controls)


def test_the_page_says_what_happened_and_no_more(shown: Demo):
    text = page(shown, 1_500_000, 100)
    assert "1.5 million weights" in text
    assert f"{TEXAS.prompt} → " in text
    assert ("this swap does not prove the drawing" in text) == (not shown.is_swapped)
    assert ("leave the answer as it was" in text) == (shown.n_controls_changed == 0)
    assert "exactness" in text
    seconds = {"record": 0.1, "attribute": 0.2, "total": 1.0}
    said = farewell(Path("runs/g.safetensors"), shown, seconds)
    assert "See it: open runs/g.html in a browser" in said
    assert "Or play with the live model:\n    silverstain explore runs/g.safetensors" in said


def test_the_evidence_is_kept_in_the_story(shown: Demo, tmp_path: Path):
    shown.story.save(tmp_path / "g.story.json")
    (evidence,) = json.loads((tmp_path / "g.story.json").read_text())["evidence"]
    assert evidence["from"] == "texas"
    assert len(evidence["controls"]) == 4  # each one way and the other

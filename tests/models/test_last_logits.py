"""What is said after many prompts is what is said after each alone, in every architecture."""

import torch

from silverstain.models.last_logits import first_choices, last_logits

PROMPTS = [[1, 3, 4], [1, 5], [1, 3, 4, 5, 6, 7, 8], [1, 6], [1, 3, 9], [1, 7, 7, 7, 7, 7, 7], [1, 5]]


def test_each_prompt_is_asked_once_and_as_if_alone(any_model, monkeypatch):
    monkeypatch.setattr("silverstain.models.last_logits.TOKENS_AT_ONCE", 4)
    alone = [any_model.logits(torch.tensor([prompt]))[0, -1] for prompt in PROMPTS]
    seen = []
    for numbers, logits in last_logits(any_model, PROMPTS):
        seen += numbers
        torch.testing.assert_close(logits, torch.stack([alone[number] for number in numbers]), rtol=1e-4, atol=1e-5)
    assert sorted(seen) == list(range(len(PROMPTS)))
    assert first_choices(any_model, PROMPTS) == [int(row.argmax()) for row in alone]


def test_no_prompts_need_no_pass(model):
    assert first_choices(model, []) == []

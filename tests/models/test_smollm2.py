"""SmolLM2 135M as it is kept: skipped where it was not fetched (silverstain models get smollm2-135m)."""

import torch

from silverstain.known_models import KNOWN_MODELS
from silverstain.models import LanguageModel, load_model


def test_it_knows_the_capital_of_france(smollm2: LanguageModel):
    ids = smollm2.tokenize("The capital of France is")
    assert smollm2.token_strings(ids) == ["The", " capital", " of", " France", " is"]  # no turn of a conversation
    best = smollm2.logits(torch.tensor(ids))[-1].softmax(-1).max(-1)
    assert smollm2.token_strings([int(best.indices)]) == [" Paris"]
    assert float(best.values) > 0.7


def test_its_tokens_read_as_the_text(smollm2: LanguageModel):
    text = "Hello  world,\n\tit's 2024 and  12.5% — naïve 日本 🎉   "
    assert smollm2.tokenizer.decode(smollm2.tokenize(text)) == text


def test_it_talks_in_its_template_and_ends_where_a_turn_ends(smollm2: LanguageModel):
    assert smollm2.token_strings(smollm2.chat("hi"))[:2] == ["<|im_start|>", "system"]
    assert smollm2.token_strings(sorted(smollm2.end_tokens)) == ["<|im_end|>"]


def test_the_hash_that_is_kept_is_the_hash(smollm2: LanguageModel):
    alone = LanguageModel(smollm2.hf, smollm2.tokenizer, name="alone")
    assert load_model("smollm2-135m").hash == alone.hash


def test_it_says_where_it_came_from(smollm2: LanguageModel):
    origin = smollm2.about["origin"]
    assert origin["weights"] == "dequantised from Q4_1"
    assert origin["sha256"] == KNOWN_MODELS["smollm2-135m"].sha256

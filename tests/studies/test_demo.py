"""The demonstration, on a tiny random model: what it shows follows from what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import silverstain.studies.demo as demo_module
from silverstain.cli.demo import farewell, page
from silverstain.dictionaries import Dictionary
from silverstain.errors import UsageError
from silverstain.graphs import Graph
from silverstain.models import LanguageModel, record
from silverstain.replacement import ReplacementModel
from silverstain.studies import Demo, SwapQuestion, demonstrate

WORDS = ["<bos>", "<unk>", "capital", "of", "dallas", "oakland", "is", "austin", "sacramento"]
QUESTION = SwapQuestion(
    prompt="capital of dallas is",
    donor_prompt="capital of oakland is",
    variable="state",
    value="texas",
    donor_value="california",
    answer="austin",
    donor_answer="sacramento",
)


@pytest.fixture(scope="module")
def loaded() -> ReplacementModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>")
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    dictionary = Dictionary.from_tensors(
        W_enc=[draw(20, 16), draw(20, 16)],
        b_enc=[draw(20), draw(20)],
        W_dec=[draw(20, 2, 16), draw(20, 1, 16)],
        b_dec=[draw(16), draw(16)],
        name="random",
    )
    return ReplacementModel(model=LanguageModel(LlamaForCausalLM(config), fast, name="tiny"), dictionary=dictionary)


@pytest.fixture(scope="module")
def shown(loaded: ReplacementModel) -> Demo:
    def at_the_town(found: ReplacementModel, prompt: str, variable: str) -> list[tuple[int, int, int]]:
        active = found.dictionary.encode(record(found.model, found.model.tokenize(prompt)).mlp_inputs)
        columns = zip(active.layer.tolist(), active.position.tolist(), active.feature.tolist(), strict=True)
        return [place for place in columns if place[1] == 3][:4]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "places_of_variable", at_the_town)
        return demonstrate(loaded, QUESTION, n_controls=2)


def test_a_dictionary_without_cards_cannot_be_demonstrated(loaded: ReplacementModel):
    with pytest.raises(UsageError, match=r"random has no feature cards.*silverstain organism grow --what cards"):
        demonstrate(loaded, QUESTION)


def test_the_swap_silences_and_inserts_what_it_names(shown: Demo):
    ops = [edit.op for edit in shown.swap.edits]
    assert ops == ["ablate", "patch"]
    silenced = {(layer, feature) for layer, _, feature in shown.silenced}
    assert set(shown.swap.edits[0].features) == silenced


def test_the_verdict_follows_from_the_runs(shown: Demo):
    assert shown.is_answered == (shown.swap.baseline[0].token == "austin")
    assert shown.is_swapped == (shown.swap.edited[0].token == "sacramento")
    assert shown.n_controls_changed == sum(c.is_changed for c in shown.controls)
    assert shown.control.kl == max(c.kl for c in shown.controls)
    as_swapped = replace(
        shown, answer_id=shown.swap.baseline[0].id, donor_answer_id=shown.swap.edited[0].id, controls=shown.controls[:0]
    )
    assert as_swapped.is_proved


def test_the_page_says_what_happened_and_no_more(shown: Demo):
    text = page(shown, 1_500_000, 100)
    assert "1.5 million weights" in text
    assert "capital of dallas is → " in text
    assert ("this swap does not prove the drawing" in text) == (not shown.is_swapped)
    assert ("change nothing" in text) == (shown.n_controls_changed == 0)
    assert "exactness" in text
    seconds = {"record": 0.1, "attribute": 0.2, "total": 1.0}
    assert "Next:\n    silverstain show runs/g.safetensors" in farewell(Path("runs/g.safetensors"), shown, seconds)


def test_the_evidence_is_kept_in_the_story(shown: Demo, tmp_path: Path):
    shown.story.save(tmp_path / "g.story.json")
    (evidence,) = json.loads((tmp_path / "g.story.json").read_text())["evidence"]
    assert evidence["from"] == "texas"
    assert len(evidence["controls"]) == 2
    assert isinstance(shown.graph, Graph)

"""Conversations become tokens by the model's own template, and its head is what all of them begin with."""

import pytest

from silverstain.attribution import trace
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, load_model

from ..attribution.conftest import tiny_dictionary, tiny_model  # noqa: TID252 - tests are no package to be named
from .conftest import tiny, word_tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %} the . {{ m.content }}"
    "{% elif m.role == 'user' %} capital . {{ m.content }} .{% elif m.role == 'assistant' %} ohio {{ m.content }}"
    "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} ohio{% endif %}"
)


@pytest.fixture
def instruct() -> LanguageModel:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return LanguageModel(tiny("llama"), tokenizer, name="instruct")


def words(model: LanguageModel, ids: list[int]) -> str:
    return " ".join(model.token_strings(ids))


def test_what_the_user_says_is_put_into_the_template_up_to_the_answer(instruct):
    assert words(instruct, instruct.chat("is texas")) == "<bos> capital . is texas . ohio"
    assert words(instruct, instruct.chat("is", system="of")) == "<bos> the . of capital . is . ohio"


def test_an_answer_that_is_begun_is_gone_on_with(instruct):
    said = [{"role": "user", "content": "is"}, {"role": "assistant", "content": "austin"}]
    assert words(instruct, instruct.chat(said)) == "<bos> capital . is . ohio austin"


def test_the_head_is_what_comes_before_the_user(instruct):
    assert instruct.chat_head() == 3
    assert instruct.chat_head(system="of is") == 7


def test_a_loaded_model_keeps_the_real_mlp_of_its_templates_head(instruct, saved):
    instruct.tokenizer.save_pretrained(saved)
    assert load_model(saved, n_real="chat").n_real == 3
    assert load_model(saved, n_real=5).n_real == 5
    assert load_model(saved).n_real == 1


def test_no_feature_lies_in_the_head():
    graph = trace(tiny_model("gemma2", n_real=3), tiny_dictionary("per-layer"), [0, 11, 5, 23, 5, 40, 17])
    assert graph.nodes.position[graph.nodes.is_kind("feature", "error")].min() == 3
    assert graph.exactness() < 1e-10


def test_what_cannot_be_said_is_refused(instruct, model):
    with pytest.raises(UsageError, match="tiny has no chat template; give it plain text, or an instruct model"):
        model.chat("is")
    with pytest.raises(UsageError, match="the conversation is empty"):
        instruct.chat([])
    with pytest.raises(UsageError, match="the chat template of instruct refuses the conversation: no such role"):
        instruct.chat([{"role": "judge", "content": "is"}])
    with pytest.raises(UsageError, match="the prompt has 17 tokens, instruct takes at most 12"):
        instruct.chat("is " * 12)
    with pytest.raises(UsageError, match="n_real is -1"):
        LanguageModel(tiny("llama"), word_tokenizer(), name="wrong", n_real=-1)

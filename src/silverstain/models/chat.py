"""Prompts of instruct models: the tokens of a conversation, and how many of them are the template's head.

The head is what comes before the first word of the user: the same tokens in every prompt, on which the MLPs of
instruct models do nothing that a prompt is about. It may keep its real MLP (`LanguageModel.n_real`).
"""

from collections.abc import Sequence
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from silverstain.errors import UsageError

PROBES = ("alpha", "7 is prime", "?")
"""Texts that begin differently, so that what their conversations share at the start is the template's."""

Message = dict[str, str]
"""{"role": "system", "user" or "assistant", "content": text}"""


def conversation(text: str, system: str | None = None) -> list[Message]:
    """One thing said by the user, after a word of the system's if there is one."""
    head = [] if system is None else [{"role": "system", "content": system}]
    return [*head, {"role": "user", "content": text}]


def chat_tokens(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], name: str) -> list[int]:
    """Token ids of a conversation in the model's own template, up to where the assistant is to answer.

    A last message of the assistant's is left open: the model goes on with it.
    """
    text = _written(tokenizer, messages, name)
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def head_length(tokenizer: PreTrainedTokenizerBase, name: str, system: str | None = None) -> int:
    """How many tokens of every conversation come before what the user says."""
    texts = [_written(tokenizer, conversation(text, system), name) for text in PROBES]
    if not tokenizer.is_fast:
        raise UsageError(f"the tokenizer of {name} does not say where a token begins; give n_real as a number")
    end = sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False)))
    offsets = tokenizer(texts[0], add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return sum(1 for _ in takewhile(lambda offset: offset[1] <= end, offsets))


def _written(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], name: str) -> str:
    """The conversation as one text, special tokens written out."""
    if not tokenizer.chat_template:
        raise UsageError(f"{name} has no chat template; give it plain text, or an instruct model")
    if not messages:
        raise UsageError('the conversation is empty; give at least one message, {"role": "user", "content": …}')
    is_begun = messages[-1].get("role") == "assistant"
    try:
        text = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=not is_begun, continue_final_message=is_begun, tokenize=False
        )
    except Exception as error:  # templates are programs of their authors, and raise what they like
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"the chat template of {name} refuses the conversation: {reason[0][:200]}") from error
    assert isinstance(text, str)  # one conversation, not tokenized
    return text

"""How a text begins: with BOS, exactly once, wherever the tokenizer has one.

Some tokenizers put it (Llama, Gemma), some have it and do not (GPT-2, Pythia, OLMo), some have none (Qwen), or call so
what opens the turns of a conversation and no text (SmolLM2: <|im_start|>), which is none. A model's first token gathers
attention whatever it is, and keeps its real MLP under a replacement (`n_real`); with BOS there, it is no word. Prompts
that are traced and contexts that dictionaries are trained on follow this one rule. Token ids that are given, and
conversations, which a model's own template writes, are run as they are.
"""

import warnings
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from silverstain.errors import Remark


def bos_of(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that every text begins with, None where the tokenizer has none."""
    token = tokenizer.bos_token_id
    return token if isinstance(token, int) and not _only_opens_turns(tokenizer, token) else None


def _only_opens_turns(tokenizer: PreTrainedTokenizerBase, bos: int) -> bool:
    """Whether the token that is called BOS opens a turn of a conversation and no text: the tokenizer does not put it,
    the chat template writes it, and it ends nothing, as a token between documents would."""
    if str(tokenizer.bos_token) not in str(tokenizer.chat_template or "") or bos == tokenizer.eos_token_id:
        return False
    return bos not in tokenizer("", verbose=False)["input_ids"]


def without_bos(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """The tokens of a text behind what BOS stands in front of it, put by the tokenizer or written in the text."""
    bos, start = bos_of(tokenizer), 0
    while bos is not None and start < len(ids) and ids[start] == bos:
        start += 1
    return list(ids[start:])


def begun(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """The tokens of a text with exactly one BOS in front; a remark where there is another one further on."""
    bos, rest = bos_of(tokenizer), without_bos(tokenizer, ids)
    if bos is None:
        return rest
    is_mark_of_turns = str(tokenizer.bos_token) in str(tokenizer.chat_template or "")
    if bos in rest and not is_mark_of_turns:
        places = [place for place, token in enumerate(rest, start=1) if token == bos]
        remark(f"{tokenizer.bos_token} stands in front of the prompt, and again at position {places[0]}")
    return [bos, *rest]


def remark_on_beginning(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> None:
    """A remark where token ids that were given do not begin with the BOS that a text would begin with."""
    bos = bos_of(tokenizer)
    if bos is not None and (not len(ids) or ids[0] != bos):
        remark(
            f"the token ids do not begin with {tokenizer.bos_token} (id {bos}), as text would; they are run as given"
        )
    elif bos is not None and list(ids[:2]) == [bos, bos]:
        remark(f"the token ids begin with {tokenizer.bos_token} (id {bos}) more than once; they are run as given")


def remark(text: str) -> None:
    """Something a person should know and may want to correct, which is no error."""
    warnings.warn(text, Remark, stacklevel=3)

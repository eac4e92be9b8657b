"""Continue a prompt under edits."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from silverstain.dictionaries import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.edits import Edit
from silverstain.interventions.intervene import Prompt, as_ids
from silverstain.interventions.passes import editing
from silverstain.interventions.positions import counted_from_start
from silverstain.models import LanguageModel


def generate(
    model: LanguageModel,
    prompt: Prompt,
    n: int,
    *,
    dictionary: Dictionary | None = None,
    edits: Sequence[Edit] = (),
    attention: str = "live",
    base: str = "clean",
    stop: int | None = None,
) -> list[int]:
    """The n likeliest next tokens, one after the other, stopping after token `stop`.

    Edits with positions act there; negative ones count from the end of the prompt. Edits without positions act on
    every token, also on those that are generated. The whole text is run anew for each token: right, and fast enough
    for short ones.
    """
    ids = as_ids(model, prompt).tolist()
    if edits and dictionary is None:
        raise UsageError("Edits name features of a dictionary; give the dictionary they belong to.")
    n_prompt = len(ids)
    fixed = [_fixed(edit, n_prompt) for edit in edits]
    for _ in range(min(n, model.max_positions - n_prompt)):
        tokens = torch.tensor(ids, device=model.device)
        if dictionary is None or not fixed:
            logits = model.logits(tokens)
        else:
            with editing(model, dictionary, fixed, attention=attention, base=base):
                logits = model.logits(tokens)
        ids.append(int(logits[-1].argmax()))
        if ids[-1] == stop:
            break
    return ids[n_prompt:]


def _fixed(edit: Edit, n_prompt: int) -> Edit:
    """The edit with positions counted from the start, so that they stay put while the text grows."""
    return replace(edit, positions=counted_from_start(edit.positions, n_prompt, edit))

"""Continue a prompt under edits, token by token, each token run once.

The edited text and its clean twin (the same tokens, no edits) share one key-value cache of two rows, so a new token
costs a pass of two tokens, and gives what running the whole text anew would give. Where rotary factors depend on the
length of the text (`models.rotary`) and change, the cache is of other factors, and the text is run anew.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.interventions.edits import AnyEdit
from silverstain.interventions.intervene import check_finite
from silverstain.interventions.passes import changes_for, edited_rows
from silverstain.interventions.positions import counted_from_start
from silverstain.interventions.regimes import Regime
from silverstain.models import LanguageModel
from silverstain.models.prompts import Prompt, as_ids


def generate(
    model: LanguageModel,
    prompt: Prompt,
    n: int,
    *,
    dictionary: Basis | None = None,
    edits: Sequence[AnyEdit] = (),
    regime: Regime | None = None,
    stop: int | Collection[int] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[int]:
    """The next n tokens, stopping after the first that ends a text; see `stream`.

    `stop` names the tokens that end it: None for the model's own (`LanguageModel.end_tokens`), as transformers does,
    () for none.
    """
    ends = model.end_tokens if stop is None else {stop} if isinstance(stop, int) else set(stop)
    tokens = stream(
        model, prompt, dictionary=dictionary, edits=edits, regime=regime, temperature=temperature, seed=seed
    )
    found: list[int] = []
    for token in islice(tokens, n):
        found.append(token)
        if token in ends:
            break
    return found


def stream(
    model: LanguageModel,
    prompt: Prompt,
    *,
    dictionary: Basis | None = None,
    edits: Sequence[AnyEdit] = (),
    regime: Regime | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[int]:
    """Token after token under the edits, as long as the model has positions; between two tokens it is as before.

    Edits with positions act there; negative ones count from the end of the prompt. Edits from a position on, and those
    without positions, also act on what is generated. Clean activations, patterns and outputs, where the regime needs
    them, are those of the same text without edits. Temperature 0 takes the likeliest token; above it tokens are drawn,
    the same ones for the same seed.
    """
    if not 0 <= temperature < float("inf"):
        raise UsageError(f"The temperature is {temperature}; give 0 for the likeliest token, or a number above it.")
    ids = as_ids(model, prompt).tolist()
    if edits and dictionary is None:
        raise UsageError("Edits name features of a dictionary; give the dictionary they belong to.")
    fixed = [replace(edit, positions=counted_from_start(edit.positions, len(ids), edit)) for edit in edits]
    return _tokens(model, dictionary, fixed, ids, Regime.of(regime, {}, n_layers=model.n_layers), temperature, seed)


def _tokens(
    model: LanguageModel,
    dictionary: Basis | None,
    edits: Sequence[AnyEdit],
    ids: list[int],
    regime: Regime,
    temperature: float,
    seed: int,
) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    cache, n_run, factors = DynamicCache(), 0, model.length_class(len(ids))
    while len(ids) < model.max_positions:
        if model.length_class(len(ids)) != factors:
            cache, n_run, factors = DynamicCache(), 0, model.length_class(len(ids))
        new = torch.tensor([ids[n_run:]], device=model.device)
        if dictionary is None or not edits:
            logits = _pass(model, new, cache)
        else:
            changes = changes_for(model, dictionary, [edits], [len(ids)]).from_position(n_run)
            twin = torch.ones(2, dtype=torch.long, device=model.device)
            with edited_rows(model, dictionary, changes, twin, regime):
                logits = _pass(model, new.expand(2, -1), cache)
        check_finite(logits)
        n_run = len(ids)
        ids.append(_chosen(logits, temperature, generator))
        yield ids[-1]


def _pass(model: LanguageModel, new: Tensor, cache: DynamicCache) -> Float[Tensor, " d_vocab"]:
    """Logits after the last token of the first row; the cache grows."""
    with torch.no_grad():
        return model.hf(input_ids=new, past_key_values=cache, use_cache=True).logits[0, -1]


def _chosen(logits: Float[Tensor, " d_vocab"], temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    chances = (logits.double().cpu() / temperature).softmax(-1)
    return int(torch.multinomial(chances, 1, generator=generator))

"""Many edits of one prompt, each alone, in few forward passes: what does each change?

    result = sweep(model, dictionary, prompt, [[edit] for edit in edits], readouts=Readouts(tokens=(17,)))
    result.logits.change     # [edit, token]

This is what verification is made of: edits are the sources of a graph's edges, readouts its targets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.dictionaries import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.edit_text import AnyEdit
from silverstain.interventions.intervene import Prompt, as_ids, divergence
from silverstain.interventions.passes import changes_for, edited_rows
from silverstain.interventions.readouts import (
    Reading,
    Readouts,
    all_targets,
    kept_reads,
    logits_only_at,
    position_in,
    read_changes,
)
from silverstain.interventions.regimes import Regime
from silverstain.models import LanguageModel

TOKENS_AT_ONCE = 1024
"""Rows times positions of a batch: larger ones fall out of the processor's caches."""


@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class SweepResult:
    """What each list of edits changed. Row i of every `change` is edits[i]."""

    edits: tuple[tuple[AnyEdit, ...], ...]
    regime: Regime
    readouts: Readouts
    logits: Reading
    """Of `readouts.tokens`: before any soft-cap, less the mean over the vocabulary, as a graph's logit nodes."""
    probabilities: Reading
    """Of the same tokens."""
    pre_activations: Reading
    """Of `readouts.features`: what their encoders read in the run; an edit of a feature does not show in itself."""
    activations: Reading
    """The same after the activation function."""
    groups: Reading
    """The sum of the activations of each of `readouts.groups`."""
    targets: Reading
    """Of `readouts.targets`."""
    kl: Float[Tensor, " edit"]
    """KL(clean ‖ edited) in nats at `readouts.position`."""
    top: Int[Tensor, " edit"]
    """The likeliest token there under each edit."""
    clean_top: int
    """And without any."""

    def __len__(self) -> int:
        return len(self.edits)


def sweep(
    model: LanguageModel,
    dictionary: Dictionary,
    prompt: Prompt,
    edits: Sequence[Sequence[AnyEdit]],
    *,
    regime: Regime | None = None,
    readouts: Readouts | None = None,
    batch_size: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SweepResult:
    """Apply each list of edits alone to the prompt, and read what changes.

    Args:
        regime: what is held meanwhile (see `Regime` and `regime_of`); by default nothing.
        readouts: what is reported; by default `kl` and `top` at the last token alone.
        batch_size: edited rows of one forward pass; by default as many as hold TOKENS_AT_ONCE tokens.
        on_progress: told (edits done, edits in all) after each pass.
    """
    regime, readouts = regime or Regime(), readouts or Readouts()
    if not edits:
        raise UsageError("A sweep needs at least one list of edits; none was given.")
    ids = as_ids(model, prompt)
    size = batch_size or max(1, TOKENS_AT_ONCE // len(ids))
    targets = all_targets(model, dictionary, readouts, len(ids))
    at = position_in(readouts.position, len(ids))
    parts: list[_Part] = []
    for first in range(0, len(edits), size):
        rows = edits[first : first + size]
        n = len(rows)
        changes = changes_for(model, dictionary, rows, [len(ids)] * n)
        twin = torch.full((n + 1,), n, device=model.device)
        with (
            torch.no_grad(),
            kept_reads(model, dictionary.reads_at, targets.layers) as kept,
            logits_only_at(model, at),
            edited_rows(model, dictionary, changes, twin, regime),
        ):
            logits = model.hf(input_ids=ids.expand(n + 1, -1), use_cache=False).logits[:, 0]
        before, change = read_changes(targets, kept, n)
        tokens = torch.tensor(readouts.tokens, dtype=torch.long, device=model.device)
        chance = logits.double().softmax(-1)[:, tokens].to(change)
        parts.append(
            _Part(
                before=before,
                change=change,
                chance_before=chance[n],
                chance_change=chance[:n] - chance[n],
                kl=divergence(logits[n:], logits[:n]),
                top=logits[:n].argmax(-1),
                clean_top=logits[n].argmax(),
            )
        )
        if on_progress is not None:
            on_progress(first + n, len(edits))
    return _assembled(dictionary, edits, regime, readouts, parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """What one pass gives."""

    before: Float[Tensor, " target"]
    change: Float[Tensor, "row target"]
    chance_before: Float[Tensor, " token"]
    chance_change: Float[Tensor, "row token"]
    kl: Float[Tensor, " row"]
    top: Int[Tensor, " row"]
    clean_top: Int[Tensor, ""]


def _assembled(
    dictionary: Dictionary,
    edits: Sequence[Sequence[AnyEdit]],
    regime: Regime,
    readouts: Readouts,
    parts: Sequence[_Part],
) -> SweepResult:
    first = parts[0]
    change = torch.cat([part.change for part in parts])
    places, n_tokens = readouts.places, len(readouts.tokens)
    n = len(places)
    pre = Reading(first.before[:n], change[:, :n])
    active = _activated(dictionary, readouts, pre)
    index = {place: i for i, place in enumerate(places)}
    own = torch.tensor([index[place] for place in readouts.features], dtype=torch.long)
    member = change.new_zeros(len(readouts.groups), n)
    for row, group in enumerate(readouts.groups):
        member[row, [index[place] for place in group]] = 1
    return SweepResult(
        edits=tuple(tuple(listed) for listed in edits),
        regime=regime,
        readouts=readouts,
        logits=Reading(first.before[n : n + n_tokens], change[:, n : n + n_tokens]),
        probabilities=Reading(first.chance_before, torch.cat([part.chance_change for part in parts])),
        pre_activations=Reading(pre.before[own], pre.change[:, own]),
        activations=Reading(active.before[own], active.change[:, own]),
        groups=Reading(member @ active.before, active.change @ member.T),
        targets=Reading(first.before[n + n_tokens :], change[:, n + n_tokens :]),
        kl=torch.cat([part.kl for part in parts]),
        top=torch.cat([part.top for part in parts]),
        clean_top=int(first.clean_top),
    )


def _activated(dictionary: Dictionary, readouts: Readouts, pre: Reading) -> Reading:
    """Pre-activations through the activation function."""
    if not readouts.places:
        return pre
    columns = torch.tensor(readouts.places, device=pre.before.device)
    threshold = torch.zeros_like(pre.before)
    for layer in columns[:, 0].unique().tolist():
        given = dictionary.threshold(layer)
        if given is not None:
            here = columns[:, 0] == layer
            threshold[here] = given[columns[here, 2]].to(threshold)
    before, after = (x * (x > threshold) for x in (pre.before, pre.after))
    return Reading(before, after - before)

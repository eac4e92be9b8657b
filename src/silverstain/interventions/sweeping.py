"""Many edits of one prompt, each alone, in few forward passes: what does each change?

    result = sweep(model, dictionary, prompt, [[edit] for edit in edits], readouts=Readouts(tokens=(17,)))
    result.logits.change     # [edit, token]

The prompt is run once as it is. Then edits are taken layer by layer, many in one batch beside one clean row. Layers
below the first that any edit of the batch touches, and positions before, are not run again: they give what they gave,
the positions through their keys and values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution import Targets
from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.clean_run import CleanRun, clean_run, prefix_of
from silverstain.interventions.edit_text import AnyEdit
from silverstain.interventions.intervene import Prompt, as_ids, check_finite
from silverstain.interventions.passes import changes_for, edited_rows
from silverstain.interventions.readouts import (
    Reading,
    Readouts,
    activation_changes,
    all_targets,
    kept_reads,
    logits_only_at,
    position_in,
    read_changes,
)
from silverstain.interventions.regimes import Regime
from silverstain.interventions.sweep_rows import SweepRows, SweepStore, sweep_key
from silverstain.models import LanguageModel
from silverstain.storage import hash_tensors

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
    resume: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SweepResult:
    """Apply each list of edits alone to the prompt, and read what changes.

    Args:
        regime: what is held meanwhile (see `Regime` and `regime_of`); by default nothing.
        readouts: what is reported; by default `kl` and `top` at the last token alone.
        batch_size: edited rows of one forward pass; by default as many as hold TOKENS_AT_ONCE tokens.
        resume: a file that keeps what is done when the sweep is interrupted, and that the same sweep goes on from;
            it is deleted at the end.
        on_progress: told (edits done, edits in all) after each pass.
    """
    regime, readouts = regime or Regime(), readouts or Readouts()
    if not edits:
        raise UsageError("A sweep needs at least one list of edits; none was given.")
    ids = as_ids(model, prompt)
    asked = _Asked(
        model=model,
        dictionary=dictionary,
        ids=ids,
        regime=regime,
        readouts=readouts,
        targets=all_targets(model, dictionary, readouts, len(ids)),
        position=position_in(readouts.position, len(ids)),
    )
    changes = changes_for(model, dictionary, edits, [len(ids)] * len(edits))  # refuses before any work
    places = changes.first_places(len(edits), n_layers=model.n_layers, n_positions=len(ids))
    order = sorted(range(len(edits)), key=places.__getitem__)
    store = None if resume is None else SweepStore(Path(resume), sweep_key(model, dictionary, ids, edits, asked.what))
    clean = clean_run(model, dictionary, ids, asked.targets)
    ordered = [edits[i] for i in order]
    rows = _swept(asked, clean, ordered, [places[i] for i in order], batch_size, store, on_progress)
    back = torch.tensor(order, device=ids.device).argsort()
    return _result(asked, edits, clean, rows[back])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """What every batch of one sweep shares."""

    model: LanguageModel
    dictionary: Dictionary
    ids: Int[Tensor, " pos"]
    regime: Regime
    readouts: Readouts
    targets: Targets
    position: int

    @property
    def what(self) -> str:
        """All that decides what a row holds, but for the edits and what they act on."""
        t = self.targets
        read = hash_tensors({"vectors": t.vectors, "layers": t.layers, "positions": t.positions})
        return f"{self.regime} {self.readouts.places} {self.readouts.tokens} {self.position} {read}"


def _swept(
    asked: _Asked,
    clean: CleanRun,
    edits: Sequence[Sequence[AnyEdit]],
    places: Sequence[tuple[int, int]],
    batch_size: int | None,
    store: SweepStore | None,
    on_progress: Callable[[int, int], None] | None,
) -> SweepRows:
    """The rows of all edits, from the store as far as it has them."""
    found = [] if store is None else store.rows()
    done = sum(map(len, found))
    try:
        while done < len(edits):
            stop = done + (batch_size or _fitting(places[done:], len(asked.ids)))
            found.append(_batch(asked, clean, edits[done:stop], places[done:stop]))
            done += len(found[-1])
            if store is not None:
                store.keep(found)
            if on_progress is not None:
                on_progress(done, len(edits))
    except BaseException:
        if store is not None:
            store.flush(found)
        raise
    if store is not None:
        store.discard()
    return SweepRows.joined(found)


def _fitting(places: Sequence[tuple[int, int]], n_positions: int) -> int:
    """How many of the next edits share a pass: those of one layer, as far as they fit."""
    layer, position = places[0]
    alike = sum(place[0] == layer for place in places)
    return min(alike, max(1, TOKENS_AT_ONCE // (n_positions - position)))


def _batch(
    asked: _Asked, clean: CleanRun, edits: Sequence[Sequence[AnyEdit]], places: Sequence[tuple[int, int]]
) -> SweepRows:
    """One pass: a row for each list of edits, and the clean one last."""
    model, dictionary, ids, n = asked.model, asked.dictionary, asked.ids, len(edits)
    layer = min(layer for layer, _ in places)
    first = min(asked.position, *(position for _, position in places))
    changes = changes_for(model, dictionary, edits, [len(ids)] * n).from_position(first)
    twin = torch.full((n + 1,), n, device=ids.device)
    with (
        torch.no_grad(),
        prefix_of(model, clean, layer, first, n + 1),
        kept_reads(model, dictionary.reads_at, asked.targets.layers) as kept,
        logits_only_at(model, asked.position - first),
        edited_rows(model, dictionary, changes, twin, asked.regime),
    ):
        rows = ids[first:].expand(n + 1, -1)
        logits = model.hf(input_ids=rows, past_key_values=clean.cache_before(first, n + 1), use_cache=True).logits[:, 0]
    check_finite(logits)
    change = read_changes(asked.targets, kept, n, first)
    tokens = torch.tensor(asked.readouts.tokens, dtype=torch.long, device=ids.device)
    chance = logits.double().softmax(-1)[:, tokens].to(change)
    return SweepRows(
        change=change,
        active=activation_changes(dictionary, asked.readouts.places, clean.values, change, kept, n, first),
        chance=chance[:n] - chance[n],
        kl=divergence(logits[n:].expand(n, -1), logits[:n], dtype=torch.float64),
        top=logits[:n].argmax(-1),
    )


def _result(asked: _Asked, edits: Sequence[Sequence[AnyEdit]], clean: CleanRun, rows: SweepRows) -> SweepResult:
    readouts, places = asked.readouts, asked.readouts.places
    n, n_tokens = len(places), len(readouts.tokens)
    index = {place: i for i, place in enumerate(places)}
    own = torch.tensor([index[place] for place in readouts.features], dtype=torch.long, device=rows.change.device)
    member = rows.active.new_zeros(len(readouts.groups), n)
    for row, group in enumerate(readouts.groups):
        member[row, [index[place] for place in group]] = 1
    last = clean.logits[asked.position]
    tokens = torch.tensor(readouts.tokens, dtype=torch.long, device=last.device)
    return SweepResult(
        edits=tuple(tuple(listed) for listed in edits),
        regime=asked.regime,
        readouts=readouts,
        logits=Reading(clean.values[n : n + n_tokens], rows.change[:, n : n + n_tokens]),
        probabilities=Reading(last.double().softmax(-1)[tokens].to(rows.chance), rows.chance),
        pre_activations=Reading(clean.values[own], rows.change[:, own]),
        activations=Reading(clean.active(places)[own], rows.active[:, own]),
        groups=Reading(member @ clean.active(places), rows.active @ member.T),
        targets=Reading(clean.values[n + n_tokens :], rows.change[:, n + n_tokens :]),
        kl=rows.kl,
        top=rows.top,
        clean_top=int(last.argmax()),
    )

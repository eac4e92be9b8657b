"""Many edits of one prompt, each alone, in few forward passes: what does each change?

    result = sweep(model, dictionary, prompt, [[edit] for edit in edits], readouts=Readouts(tokens=(17,)))
    result.logits.change     # [edit, token]

The prompt is run once as it is. Then edits are taken layer by layer, many in one batch beside one clean row. Layers
below the first that any edit of the batch touches, and positions before, are not run again: they give what they gave,
the positions through their keys and values.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.interventions.clean_run import CleanRun, clean_run, prefix_of
from silverstain.interventions.edits import AnyEdit
from silverstain.interventions.intervene import check_finite
from silverstain.interventions.passes import changes_for, edited_rows
from silverstain.interventions.readouts import (
    Reading,
    Readouts,
    ReadoutSet,
    kept_reads,
    logits_only_at,
    readout_set,
)
from silverstain.interventions.regimes import Regime
from silverstain.models import LanguageModel, Prompt, as_ids, position_in
from silverstain.resuming import ResumeStore
from silverstain.statistics import divergence
from silverstain.storage import hash_tensors

TOKENS_AT_ONCE = 1024
"""Rows times positions of a batch: larger ones fall out of the processor's caches."""


@brief
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


class SweepRows(NamedTuple):
    """What some lists of edits change, one row each."""

    change: Float[Tensor, "row target"]
    active: Float[Tensor, "row place"]
    chance: Float[Tensor, "row token"]
    """Changes of probabilities."""
    kl: Float[Tensor, " row"]
    top: Int[Tensor, " row"]

    def singly(self) -> Iterator["SweepRows"]:
        """Each row alone."""
        for row in range(len(self.kl)):
            yield SweepRows(*(column[row : row + 1] for column in self))


def sweep(
    model: LanguageModel,
    basis: Basis,
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
        resume: a folder that keeps what is done when the sweep is interrupted, and that the same sweep goes on from;
            it is deleted at the end.
        on_progress: told (edits done, edits in all) after each pass.
    """
    regime, readouts = Regime.of(regime, {}, n_layers=model.n_layers), readouts or Readouts()
    if not edits:
        raise UsageError("A sweep needs at least one list of edits; none was given.")
    ids = as_ids(model, prompt)
    readouts.check(model, basis, len(ids))
    changes = changes_for(model, basis, edits, [len(ids)] * len(edits))  # refuses before any work
    places = changes.first_places(len(edits), n_layers=model.n_layers, n_positions=len(ids))
    clean = clean_run(model, basis.reads_at, ids, readouts.layers(model.n_layers))
    swept = _Sweep(
        model=model,
        basis=basis,
        ids=ids,
        regime=regime,
        readouts=readouts,
        of=readout_set(model, basis, readouts, clean.reads, len(ids)),
        clean=clean,
    )
    store = None if resume is None else ResumeStore(resume, swept.identity)
    return _result(swept, edits, _rows(swept, edits, places, batch_size, store, on_progress))


@torch.no_grad()
def reads_under(
    model: LanguageModel,
    basis: Basis,
    ids: Int[Tensor, " pos"],
    edits: Sequence[Sequence[AnyEdit]],
    regime: Regime,
    layers: Sequence[int],
) -> dict[int, Float[Tensor, "edit pos d_model"]]:
    """By how much all that is read in some layers (n_layers: the final norm's output) changes under each list of
    edits, in one pass."""
    n = len(edits)
    changes = changes_for(model, basis, edits, [len(ids)] * n)
    twin = torch.full((n + 1,), n, device=ids.device)
    with (
        kept_reads(model, basis.reads_at, list(layers)) as kept,
        logits_only_at(model, len(ids) - 1),
        edited_rows(model, basis, changes, twin, regime),
    ):
        model.hf(input_ids=ids.expand(n + 1, -1), use_cache=False)
    return {layer: x[:n] - x[n] for layer, x in kept.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sweep:
    """What every batch of one sweep shares."""

    model: LanguageModel
    basis: Basis
    ids: Int[Tensor, " pos"]
    regime: Regime
    readouts: Readouts
    of: ReadoutSet
    clean: CleanRun

    @property
    def position(self) -> int:
        return position_in(self.readouts.position, len(self.ids))

    @property
    def identity(self) -> str:
        """All that decides what a row holds, but for its edits."""
        t = self.of.targets
        read = hash_tensors({"vectors": t.vectors, "layers": t.layers, "positions": t.positions})
        model, basis = (self.model.hash, str(self.model.dtype)), self.basis.hash
        asked = (str(self.regime), self.readouts.places, self.readouts.tokens, self.position, read)
        return json.dumps(["sweep", model, basis, self.ids.tolist(), asked])


def _rows(
    swept: _Sweep,
    edits: Sequence[Sequence[AnyEdit]],
    places: Sequence[tuple[int, int]],
    batch_size: int | None,
    store: ResumeStore | None,
    on_progress: Callable[[int, int], None] | None,
) -> SweepRows:
    """The rows of all edits, from the store as far as it has them."""
    keys = [""] * len(edits) if store is None else [_key(store, listed) for listed in edits]
    kept = [None if store is None else store.get(key) for key in keys]
    device = swept.ids.device  # files know no device
    found = {
        i: SweepRows(**{name: tensor.to(device) for name, tensor in tensors.items()})
        for i, tensors in enumerate(kept)
        if tensors is not None
    }
    todo = sorted((i for i in range(len(edits)) if i not in found), key=places.__getitem__)
    try:
        while todo:
            n = batch_size or _fitting([places[i] for i in todo], len(swept.ids))
            batch, todo = todo[:n], todo[n:]
            rows = _batch(swept, [edits[i] for i in batch], [places[i] for i in batch])
            found |= dict(zip(batch, rows.singly(), strict=True))
            if store is not None:
                for i in batch:
                    store.put(keys[i], found[i]._asdict())
            if on_progress is not None:
                on_progress(len(found), len(edits))
    except BaseException:
        if store is not None:
            store.flush()
        raise
    if store is not None:
        store.discard()
    return SweepRows(*(torch.cat(column) for column in zip(*(found[i] for i in range(len(edits))), strict=True)))


def _key(store: ResumeStore, edits: Sequence[AnyEdit]) -> str:
    return store.key(json.dumps([edit.to_json() for edit in edits]))


def _fitting(places: Sequence[tuple[int, int]], n_positions: int) -> int:
    """How many of the next edits share a pass: those of one layer, as far as they fit."""
    layer, position = places[0]
    alike = sum(place[0] == layer for place in places)
    return min(alike, max(1, TOKENS_AT_ONCE // (n_positions - position)))


def _batch(swept: _Sweep, edits: Sequence[Sequence[AnyEdit]], places: Sequence[tuple[int, int]]) -> SweepRows:
    """One pass: a row for each list of edits, and the clean one last."""
    model, basis, ids, clean, n = swept.model, swept.basis, swept.ids, swept.clean, len(edits)
    layer = min(layer for layer, _ in places)
    first = min(swept.position, *(position for _, position in places))
    changes = changes_for(model, basis, edits, [len(ids)] * n).from_position(first)
    twin = torch.full((n + 1,), n, device=ids.device)
    with (
        torch.no_grad(),
        prefix_of(model, clean, layer, first, n + 1),
        kept_reads(model, basis.reads_at, list(clean.reads)) as kept,
        logits_only_at(model, swept.position - first),
        edited_rows(model, basis, changes, twin, swept.regime),
    ):
        rows = ids[first:].expand(n + 1, -1)
        logits = model.hf(input_ids=rows, past_key_values=clean.cache_before(first, n + 1), use_cache=True).logits[:, 0]
    check_finite(logits)
    changed = swept.of.changes(n)
    for at, x in kept.items():
        changed.read_(at, x[:n] - x[n], first)
    tokens = torch.tensor(swept.readouts.tokens, dtype=torch.long, device=ids.device)
    chance = logits.double().softmax(-1)[:, tokens].to(changed.targets)
    return SweepRows(
        change=changed.targets,
        active=changed.active,
        chance=chance[:n] - chance[n],
        kl=divergence(logits[n:].expand(n, -1), logits[:n], dtype=torch.float64),
        top=logits[:n].argmax(-1),
    )


def _result(swept: _Sweep, edits: Sequence[Sequence[AnyEdit]], rows: SweepRows) -> SweepResult:
    readouts, of, places = swept.readouts, swept.of, swept.of.places
    n, n_tokens = len(places), len(readouts.tokens)
    index = {place: i for i, place in enumerate(places)}
    own = torch.tensor([index[place] for place in readouts.features], dtype=torch.long, device=rows.change.device)
    member = rows.active.new_zeros(len(readouts.groups), n)
    for row, group in enumerate(readouts.groups):
        member[row, [index[place] for place in group]] = 1
    last = swept.clean.logits[swept.position]
    tokens = torch.tensor(readouts.tokens, dtype=torch.long, device=last.device)
    return SweepResult(
        edits=tuple(tuple(listed) for listed in edits),
        regime=swept.regime,
        readouts=readouts,
        logits=Reading(of.values[n : n + n_tokens], rows.change[:, n : n + n_tokens]),
        probabilities=Reading(last.double().softmax(-1)[tokens].to(rows.chance), rows.chance),
        pre_activations=Reading(of.values[own], rows.change[:, own]),
        activations=Reading(of.active[own], rows.active[:, own]),
        groups=Reading(member @ of.active, rows.active @ member.T),
        targets=Reading(of.values[n + n_tokens :], rows.change[:, n + n_tokens :]),
        kl=rows.kl,
        top=rows.top,
        clean_top=int(last.argmax()),
    )

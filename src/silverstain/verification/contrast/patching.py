"""Real runs of the model with activations and patterns of the other run put in.

Nothing is held: what is computed from a patched unit is computed anew. A patched unit has exactly the other run's
activation, or the one that the patch names, whatever its layer's input has become.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.attribution.secant import Contrast
from silverstain.bases import Basis
from silverstain.bases.sites import MLP_OUTPUT
from silverstain.brief import brief
from silverstain.models import attention_through
from silverstain.models.recording import readers

BASE, CONTRAST = 0, 1
TOKENS_AT_ONCE = 1024
"""Tokens that run in one batch."""


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """One run to be made: the tokens of `run`, with some units having the activations of the other run."""

    run: int
    units: Int[Tensor, " some"]
    """Indices into all units, layer after layer (`Unit.offsets`)."""
    pairs: Int[Tensor, "pair 4"] = field(default_factory=lambda: torch.zeros(0, 4, dtype=torch.long))
    """(layer, head, query, key) of patterns that are patched."""
    all_but: bool = False
    """Every unit has the other run's activation but these, which stay live; so has what no unit stands for."""
    values: Float[Tensor, " some"] | None = None
    """The activations that the units get, where these are not the other run's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What patched runs come to."""

    value: Float[Tensor, " patch"]
    """The target: a difference of logits."""
    first: Int[Tensor, " patch"]
    """The likeliest token."""


@dataclass(frozen=True, eq=False)
class Patching:
    """A contrast whose runs can be made again with parts exchanged."""

    contrast: Contrast

    @cached_property
    def offsets(self) -> list[int]:
        """Where the units of each layer begin in the count of all."""
        counts = [0]
        for units in self.contrast.flow.units:
            counts.append(counts[-1] + len(units))
        return counts

    def run(self, patches: Sequence[Patch], on_progress: Callable[[int], None] | None = None) -> Measured:
        """Make the runs, in batches."""
        n_positions = self.contrast.pair.n_positions
        at_once = max(1, TOKENS_AT_ONCE // n_positions)
        value, first = [], []
        for start in range(0, len(patches), at_once):
            some = patches[start : start + at_once]
            final = self._final(some)
            logits = self.contrast.model.logits_of(final)
            value.append(self._value(logits))
            first.append(logits.argmax(dim=-1))
            if on_progress is not None:
                on_progress(len(some))
        return Measured(value=torch.cat(value), first=torch.cat(first))

    def logits(self, patches: Sequence[Patch]) -> Float[Tensor, "patch d_vocab"]:
        """All logits at the target's position, of as few runs as one batch takes."""
        return self.contrast.model.logits_of(self._final(patches))

    def ends(self) -> Measured:
        """Both runs as they are, the base first."""
        nothing = torch.zeros(0, dtype=torch.long)
        return self.run([Patch(run=run, units=nothing) for run in (BASE, CONTRAST)])

    def _value(self, logits: Float[Tensor, "patch d_vocab"]) -> Float[Tensor, " patch"]:
        root = self.contrast.roots[0]
        plus, minus = root.facts["ids"]
        return logits[:, plus] - logits[:, minus]

    @torch.no_grad()
    def _final(self, patches: Sequence[Patch]) -> Float[Tensor, "patch d_model"]:
        """The output of the final norm at the target's position."""
        model, position = self.contrast.model, self.contrast.roots[0].position
        ids = self.contrast.pair.token_ids[[patch.run for patch in patches]]
        kept: list[Tensor] = []
        with ExitStack() as stack:
            stack.enter_context(_units_patched(self, patches))
            if any(len(patch.pairs) for patch in patches):
                stack.enter_context(attention_through(model.hf, self._patterns(patches)))
            handle = model.final_norm.module.register_forward_hook(lambda *parts: kept.append(parts[2]))
            stack.callback(handle.remove)
            model.hf(input_ids=ids, use_cache=False, logits_to_keep=1)
        return kept[-1][:, position]

    def _patterns(self, patches: Sequence[Patch]) -> Callable[[int, Tensor], Tensor]:
        """Let single entries of patterns be those of the other run."""
        pairs = torch.cat([p.pairs for p in patches])
        rows = torch.repeat_interleave(torch.arange(len(patches)), torch.tensor([len(p.pairs) for p in patches]))
        other = torch.tensor([1 - patch.run for patch in patches])

        def patched(layer: int, pattern: Tensor) -> Tensor:
            here = pairs[:, 0] == layer
            if not bool(here.any()):
                return pattern
            _, head, query, key = pairs[here].T
            row = rows[here]
            theirs = self.contrast.pair.layers[layer].patterns()
            edited = pattern.clone()
            edited[row, head, query, key] = theirs[other[row], head, query, key].to(pattern)
            return edited

        return patched


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sites:
    """The patched units of one layer, over the rows of a batch."""

    row: Int[Tensor, " site"]
    position: Int[Tensor, " site"]
    feature: Int[Tensor, " site"]
    theirs: Float[Tensor, " site"]
    """The activations that they get."""


def _sites(patching: Patching, patches: Sequence[Patch]) -> list[_Sites]:
    """Layer by layer, what is patched in which row."""
    flow, offsets = patching.contrast.flow, patching.offsets
    rows = torch.repeat_interleave(torch.arange(len(patches)), torch.tensor([len(p.units) for p in patches]))
    units = torch.cat([patch.units for patch in patches])
    other = torch.tensor([1 - patch.run for patch in patches])
    named = torch.cat([torch.zeros(len(p.units)) if p.values is None else p.values for p in patches])
    is_named = torch.cat([torch.full((len(p.units),), p.values is not None) for p in patches])
    found = []
    for layer, (start, stop) in enumerate(pairwise(offsets)):
        here = ((units >= start) & (units < stop)).nonzero().flatten()
        unit, row, part = units[here] - start, rows[here], flow.units[layer]
        theirs = part.values[other[row], unit]
        theirs = torch.where(is_named[here], named[here].to(theirs), theirs)
        found.append(_Sites(row=row, position=part.position[unit], feature=part.feature[unit], theirs=theirs))
    return found


@contextmanager
def _units_patched(patching: Patching, patches: Sequence[Patch]) -> Iterator[None]:
    """A `with` in which every call runs under the patches, one a row."""
    contrast, model, basis = patching.contrast, patching.contrast.model, patching.contrast.basis
    sites = _sites(patching, patches)
    read: dict[int, Tensor] = {}
    pending: dict[int, Tensor] = {}
    held = torch.tensor([i for i, patch in enumerate(patches) if patch.all_but], dtype=torch.long)
    other = torch.tensor([1 - patch.run for patch in patches])

    def hook(layer: int) -> Callable[..., Any]:
        def leave(_: nn.Module, _arguments: tuple, output: Any) -> Any:
            out = output[0] if isinstance(output, tuple) else output
            out = out.clone()
            if len(held):
                paired = contrast.pair.layers[layer]
                theirs = paired.mlp_output if basis.writes_at == MLP_OUTPUT else paired.mlp_written
                out[held] = theirs[other[held]]
            _add_changes_(pending, basis, layer, sites[layer], read.pop(layer), held, out)
            if layer in pending:
                out += pending.pop(layer)
            return (out, *output[1:]) if isinstance(output, tuple) else out

        return leave

    def keep(layer: int) -> Callable[..., None]:
        def enter(_: nn.Module, arguments: tuple, named: dict[str, Any]) -> None:
            read[layer] = arguments[0] if arguments else named["hidden_states"]

        return enter

    with ExitStack() as stack:
        for layer, reader in enumerate(readers(model, basis.reads_at)):
            stack.callback(reader.register_forward_pre_hook(keep(layer), with_kwargs=True).remove)
            writer = model.mlp(layer) if basis.writes_at == MLP_OUTPUT else model.mlp_writer(layer)
            stack.callback(writer.register_forward_hook(hook(layer)).remove)
        yield


def _add_changes_(
    pending: dict[int, Tensor],
    basis: Basis,
    layer: int,
    sites: _Sites,
    read: Float[Tensor, "row pos d_model"],
    held: Int[Tensor, " some"],
    like: Float[Tensor, "row pos d_model"],
) -> None:
    """Let what changed units write wait for the MLP output of every layer that they write to."""
    if not len(sites.row):
        return
    live = basis.activations_at(layer, read, sites.row, sites.position, sites.feature).to(like)
    is_held = torch.isin(sites.row, held)
    # where everything else is the other run's, these are brought back from there to what they are live
    change = torch.where(is_held, live - sites.theirs, sites.theirs - live)
    features, which = sites.feature.unique(return_inverse=True)
    rows = basis.decoder_rows(layer, features).to(like)
    for k, target in enumerate(basis.targets(layer)):
        waiting = pending.setdefault(target, torch.zeros_like(like))
        waiting.index_put_((sites.row, sites.position), change[:, None] * rows[which, k], accumulate=True)

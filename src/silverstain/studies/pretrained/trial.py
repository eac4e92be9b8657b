"""One test pair: everything that is done to it, and what the model says then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from silverstain.bases import Basis
from silverstain.studies.pretrained.circuits import Circuit, Size
from silverstain.studies.pretrained.others import Moved, elsewhere, largest_changes, matched
from silverstain.studies.pretrained.recorded import Recorded
from silverstain.verification.contrast import Patch, Patching

SHARED, BY_PAIR = "shared", "by pair"
WAYS = (SHARED, BY_PAIR)
"""How units are chosen: one set for the task, or by the account of each pair."""
CIRCUIT, NONSENSE, SHUFFLED, ELSEWHERE = "circuit", "nonsense labels", "shuffled decoders", "at another token"
RANDOM, RANDOM_BACK = "random units", "random units, the other way"
ACTIVE, ACTIVE_BACK = "other active units", "other active units, the other way"
LARGEST, OTHER = "largest other changes", "circuit of "


@dataclass(frozen=True, kw_only=True)
class Turned:
    """What one edit did to one pair."""

    way: str
    edit: str
    hit: bool
    """The edit did what would be a success: of the nonsense task, that its label is said; of all others, that the
    answer is the contrast's."""
    kept: bool
    """The answer is still the base's."""
    first: bool
    """The contrast's answer is the likeliest of all tokens."""
    units: int


def tried(
    pair: Recorded, circuit: Circuit, others: Sequence[Circuit], seed: int, ways: Sequence[str] = WAYS
) -> list[Turned]:
    """Every edit of the pair, in one batch."""
    named: list[tuple[str, str, Patch]] = []
    for way in ways:
        size = circuit.shared if way == SHARED else circuit.by_pair
        units = circuit.own(pair) if way == SHARED else pair.best(size.k)
        own = Moved(units=units, change=pair.moved(units, size.strength))
        edits = edits_of(pair, own, circuit, others, size, way, seed)
        named += [(way, edit, patch) for edit, patch in edits.items()]
    logits = pair.patching.logits([patch for _, _, patch in named])
    found = [outcome(pair, way, edit, patch, row) for (way, edit, patch), row in zip(named, logits, strict=True)]
    if SHARED in ways:
        patch = next(patch for way, edit, patch in named if (way, edit) == (SHARED, CIRCUIT))
        (row,) = shuffled(pair, patch.units, seed).logits([patch])
        found.append(outcome(pair, SHARED, SHUFFLED, patch, row))
    return found


def edits_of(
    pair: Recorded, own: Moved, circuit: Circuit, others: Sequence[Circuit], size: Size, way: str, seed: int
) -> Mapping[str, Patch]:
    """The circuit's edit and its controls, by name."""
    generator = torch.Generator().manual_seed(seed)
    random, active = (matched(pair, own, generator, active=is_active) for is_active in (False, True))
    found = {
        CIRCUIT: own.patch(pair), RANDOM: random.patch(pair), ACTIVE: active.patch(pair),
        LARGEST: largest_changes(pair, own, size.strength).patch(pair),
    }  # fmt: skip
    if way == SHARED:
        found |= {RANDOM_BACK: random.patch(pair, -1.0), ACTIVE_BACK: active.patch(pair, -1.0)}
        moved = elsewhere(pair, own)
        if moved is not None:
            found[ELSEWHERE] = moved.patch(pair)
    for other in others:
        units = pair.units_of(other.keys(size.k)) if way == SHARED else _first_units(pair, other, len(own.units))
        found[OTHER + other.family.name] = pair.patch(units, pair.moved(units, size.strength))
    units = pair.units_of(circuit.nonsense[: size.k]) if way == SHARED else pair.best(size.k, target=1)
    found[NONSENSE] = pair.patch(units, pair.moved(units, size.strength))
    return found


def _first_units(pair: Recorded, circuit: Circuit, n: int) -> Tensor:
    """As many units of a circuit's best keys."""
    found: list[Tensor] = []
    total = 0
    for start in range(0, len(circuit.ranked), n):
        some = pair.units_of(circuit.ranked[start : start + n])
        found.append(some)
        total += len(some)
        if total >= n:
            break
    return torch.cat(found)[:n]


def shuffled(pair: Recorded, units: Tensor, seed: int) -> Patching:
    """The same runs, in which each of some units writes what another of them in its layer writes."""
    return replace(pair.patching, contrast=replace(pair.contrast, basis=_shuffled(pair, units, seed)))


def _shuffled(pair: Recorded, units: Tensor, seed: int) -> Basis:
    basis, generator = pair.contrast.basis, torch.Generator().manual_seed(seed)
    sources = {}
    for layer in range(basis.n_layers):
        here = pair.feature[units[pair.layer[units] == layer]].unique()
        if len(here) < 2:  # there is no other of them: any of the layer
            sources[layer] = torch.arange(basis.n_features).roll(1)
            continue
        ring = here[torch.randperm(len(here), generator=generator)]
        sources[layer] = torch.arange(basis.n_features)
        sources[layer][ring] = ring.roll(1)
    return basis.reordered(sources)


def outcome(pair: Recorded, way: str, edit: str, patch: Patch, logits: Tensor) -> Turned:
    is_nonsense = edit == NONSENSE
    return Turned(
        way=way, edit=edit, hit=pair.follows_label(logits) if is_nonsense else pair.is_turned(logits),
        kept=pair.is_kept(logits), first=int(logits.argmax()) in pair.tokens.contrast_answers, units=len(patch.units),
    )  # fmt: skip

"""Units that are changed in a circuit's stead: what must not turn the answer.

Each draws as many units as the circuit has, at the same layers and positions, and changes them so that what they add,
layer and position for layer and position, is as long as what the circuit adds.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.studies.pretrained.recorded import Recorded
from silverstain.verification.contrast import Patch
from silverstain.verification.contrast.rankings import write_sizes

STRONGEST = 4
"""Other active units are drawn among so many times as many: those that write most at the place."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Moved:
    """Units, and by how much each is moved."""

    units: Int[Tensor, " some"]
    change: Float[Tensor, " some"]

    def patch(self, pair: Recorded, sign: float = 1.0) -> Patch:
        return pair.patch(self.units, sign * self.change)


def matched(pair: Recorded, own: Moved, generator: torch.Generator, *, active: bool) -> Moved:
    """Other units at the circuit's layers and positions, drawn from all, or from those that write most there."""
    place = pair.layer * pair.n_positions + pair.position
    is_free = pair.able.clone()
    is_free[own.units] = False
    units, changes = [], []
    for here in place[own.units].unique().tolist():
        mine = (place[own.units] == here).nonzero().flatten()
        free = ((place == here) & is_free).nonzero().flatten()
        if active:
            free = free[_writing(pair, free).topk(min(STRONGEST * len(mine), len(free))).indices]
        drawn = free[torch.randperm(len(free), generator=generator)[: len(mine)]]
        amounts = own.change[mine][: len(drawn)]
        length = _added(pair, drawn, amounts)
        units.append(drawn)
        changes.append(amounts * (_added(pair, own.units[mine], own.change[mine]) / length if length else 1.0))
    return Moved(units=torch.cat(units), change=torch.cat(changes))


def _writing(pair: Recorded, units: Int[Tensor, " some"]) -> Float[Tensor, " some"]:
    """How long what each unit writes in the base is."""
    layer = int(pair.layer[units[0]])
    rows = pair.contrast.basis.decoder_rows(layer, pair.feature[units])
    return pair.values[0, units].abs() * rows.flatten(1).norm(dim=1)


def _added(pair: Recorded, units: Int[Tensor, " some"], amounts: Float[Tensor, " some"]) -> float:
    """How long what units of one layer and position add is."""
    if not len(units):
        return 0.0
    rows = pair.contrast.basis.decoder_rows(int(pair.layer[units[0]]), pair.feature[units])
    return float((amounts.to(rows) @ rows.flatten(1)).norm())


def largest_changes(pair: Recorded, own: Moved, strength: float) -> Moved:
    """As many other units, those whose writing changes most between the two runs, moved as the circuit's are."""
    sizes = torch.where(pair.able, write_sizes(pair.contrast), -torch.inf)
    sizes[own.units] = -torch.inf
    units = sizes.topk(len(own.units)).indices
    return Moved(units=units, change=pair.moved(units, strength))


def elsewhere(pair: Recorded, own: Moved) -> Moved | None:
    """The same changes of the same units at tokens before what differs; None where there is none but the first token.

    What lands on one place from several positions is added up.
    """
    first, room = pair.tokens.changed[0], pair.tokens.changed[0] - 1
    if room < 1 or not len(own.units):
        return None
    to = 1 + (pair.position[own.units] - first) % room
    index = _index(pair)
    at = index[pair.layer[own.units], to, pair.feature[own.units]]
    units, which = at[at >= 0].unique(return_inverse=True)
    change = torch.zeros(len(units)).index_add_(0, which, own.change[at >= 0].float())
    return Moved(units=units, change=change.to(own.change))


def _index(pair: Recorded) -> Int[Tensor, "layer pos feature"]:
    """Where the unit of a layer, position and feature is; -1 where there is none."""
    basis = pair.contrast.basis
    found = torch.full((basis.n_layers, pair.n_positions, basis.n_features), -1)
    found[pair.layer, pair.position, pair.feature] = torch.arange(len(pair.layer))
    return found

"""Groups found in one graph, found again in another: by who their members are, else by what they do.

A family of prompts asks the same of different words, so that many units of its next prompt were in no graph before. A
unit that a group has is in that group wherever it comes up again, at the same place counted from the end of the prompt.
Any other is in the group whose members, on average, are fed by the same places of the prompt and feed the same, if it
is alike enough and moves the answer the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from silverstain.brief import brief
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.influence import influence
from silverstain.graphs.kinds import ATTENTION
from silverstain.graphs.profiles import TINY, Profiles, profiles
from silverstain.graphs.roles import ALIKE_ROLES, SMALLEST
from silverstain.graphs.supernodes import Group

Key = tuple[int, int, int, int, int]
"""Kind, layer, position from the end, feature and the key from the end: what a unit is in every prompt."""


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class GroupRoles:
    """Groups of a graph, ready to be found in others."""

    groups: tuple[Group, ...]
    group_of: Mapping[Key, int]
    """Which group has a unit."""
    views: tuple[Float64[Tensor, "group column"], Float64[Tensor, "group sink"]]
    """What feeds each group's members and what they feed, on average; the last position first."""
    effects: Float64[Tensor, " group"]
    is_attention: Bool[Tensor, " group"]

    @classmethod
    def of(cls, source: GraphArrays, groups: Sequence[Group]) -> "GroupRoles":
        """The groups of a graph. Each has members."""
        keys = unit_keys(source)
        members = [member for group in groups for member in group.members]
        owner = torch.tensor([i for i, group in enumerate(groups) for _ in group.members], dtype=torch.long)
        found = profiles(source, torch.tensor(members, dtype=torch.long))
        weight = influence(source)[members].clamp_min(TINY)
        whole = torch.zeros(len(groups), dtype=torch.float64).index_add_(0, owner, weight)
        share = (weight / whole[owner])[:, None]
        words, sinks = (
            torch.zeros(len(groups), view.shape[1], dtype=torch.float64).index_add_(0, owner, share * view)
            for view in _aligned(found)
        )
        return cls(
            groups=tuple(groups), group_of={keys[member]: int(i) for member, i in zip(members, owner, strict=True)},
            views=(words, sinks), effects=torch.zeros_like(whole).index_add_(0, owner, found.effect),
            is_attention=torch.tensor([bool(source.nodes.kind[g.members[0]] == ATTENTION) for g in groups]),
        )  # fmt: skip

    def found_in(self, graph: GraphArrays, *, by_role: bool = True) -> list[Group]:
        """The groups, in their order, each with the members that it has in another graph (perhaps none).

        Without `by_role` a unit must be a member itself.
        """
        reached = influence(graph)
        weight = torch.where(graph.nodes.is_unit, reached, 0.0)
        units = (weight > SMALLEST * weight.sum()).nonzero().flatten()
        keys = unit_keys(graph)
        found = [self.group_of.get(keys[unit], -1) for unit in units.tolist()]
        new = torch.tensor([i for i, group in enumerate(found) if group < 0], dtype=torch.long)
        if by_role and len(new) and self.groups:
            for i, group in zip(new.tolist(), self._by_role(graph, units[new]), strict=True):
                found[i] = group
        members: list[list[int]] = [[] for _ in self.groups]
        for unit, group in zip(units.tolist(), found, strict=True):
            if group >= 0:
                members[group].append(unit)
        return [replace(group, members=tuple(some)) for group, some in zip(self.groups, members, strict=True)]

    def _by_role(self, graph: GraphArrays, units: Int64[Tensor, " unit"]) -> list[int]:
        """The group whose members do the same as each unit; -1 where none does."""
        here = profiles(graph, units)
        alike = [
            _cosines(view, _as_wide(there, view.shape[1])).clamp_min(TINY)
            for view, there in zip(_aligned(here), self.views, strict=True)
        ]
        both = 2 / (1 / alike[0] + 1 / alike[1])
        attention = graph.nodes.kind[units] == ATTENTION
        is_other = attention[:, None] != self.is_attention[None]
        is_opposite = here.effect.sign()[:, None] * self.effects.sign()[None] < 0
        best = both.masked_fill(is_other | is_opposite, 0.0).max(dim=1)
        return torch.where(best.values >= ALIKE_ROLES, best.indices, -1).tolist()


def transferred(
    source: GraphArrays, groups: Sequence[Group], graph: GraphArrays, *, by_role: bool = True
) -> list[Group]:
    """The groups of `source` in `graph`: see `GroupRoles.found_in`."""
    return GroupRoles.of(source, groups).found_in(graph, by_role=by_role)


def _aligned(found: Profiles) -> list[Float64[Tensor, "unit column"]]:
    """What feeds units and what they feed, the last position first."""
    errors, words = found.fed_by[:, -1:], found.by_word
    return [torch.cat([errors, words.flip(1)], 1), torch.cat([found.feeds[:, :1], found.feeds[:, 1:].flip(1)], 1)]


def _as_wide(views: Float64[Tensor, "group column"], n: int) -> Float64[Tensor, "group other_column"]:
    """The views with as many columns as those of another graph: places that it does not have are cut off."""
    return torch.nn.functional.pad(views, (0, max(n - views.shape[1], 0)))[:, :n]


def _cosines(
    left: Float64[Tensor, "left column"], right: Float64[Tensor, "right column"]
) -> Float64[Tensor, "left right"]:
    unit = [rows / rows.norm(dim=1, keepdim=True).clamp_min(TINY) for rows in (left, right)]
    return (unit[0] @ unit[1].T).clamp(-1, 1)


def unit_keys(graph: GraphArrays) -> list[Key]:
    """What each node is in every prompt."""
    nodes = graph.nodes
    last = int(nodes.position.max()) if len(nodes) else 0
    key = torch.full_like(nodes.kind, -1) if nodes.key is None else nodes.key
    columns = (nodes.kind, nodes.layer, last - nodes.position, nodes.feature, torch.where(key >= 0, last - key, -1))
    return list(zip(*(column.tolist() for column in columns), strict=True))

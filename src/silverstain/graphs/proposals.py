"""Groups that were found, as a difference to those that a person has: nothing is taken over that nobody agreed to.

A `Proposal` is a value. `accepted`, `rejected`, `split` and `merged` give another one, and `applied` the story with the
changes that are accepted. Groups of the story are never lost: one is replaced only by a change that says so.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.roles import Roles, find_roles
from silverstain.graphs.story import Story, StoryGroup, story_groups
from silverstain.printable import printable

SAME = 0.5
"""Jaccard index of the members from which on a found group is a group of the story, changed."""


@brief
@dataclass(frozen=True, kw_only=True)
class Change:
    """One step from a story's groups to those that were found."""

    op: Literal["add", "change", "same"]
    group: StoryGroup
    """As found; without members that a group of the story has which stays."""
    before: str = ""
    """The label of the story's group that it would stand in for."""
    jaccard: float = 0.0
    is_accepted: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "op": self.op, "label": self.group.label, "kind": self.group.kind, "members": list(self.group.members),
            "before": self.before, "jaccard": self.jaccard, "accepted": self.is_accepted,
        }  # fmt: skip


@brief
@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What was found beside what is there."""

    story: Story
    changes: tuple[Change, ...]

    def accepted(self, labels: Iterable[str] | None = None) -> "Proposal":
        """The proposal with these changes accepted, or all; UsageError for one that is not in it."""
        return self._marked(labels, is_accepted=True)

    def rejected(self, labels: Iterable[str] | None = None) -> "Proposal":
        return self._marked(labels, is_accepted=False)

    def merged(self, labels: Sequence[str]) -> "Proposal":
        """Two or more of the found groups as one, called like the first."""
        known = self._known(labels)
        if len(set(known)) < 2:
            raise UsageError(
                f"merging takes two groups or more, and {', '.join(map(_shown, labels))} is one; name another"
            )
        some = [change for change in self.changes if change.group.label in known]
        first = next(change for change in some if change.group.label == known[0])
        members = dict.fromkeys(member for change in some for member in change.group.members)
        one = replace(first, group=replace(first.group, members=tuple(members)), is_accepted=True)
        left = [one if change is first else change for change in self.changes if change is first or change not in some]
        return replace(self, changes=tuple(left))

    def split(self, graph: GraphArrays, label: str, *, alike: float = 0.9) -> "Proposal":
        """A found group in the parts that it falls into when units must be more alike; UsageError if it does not."""
        (name,) = self._known([label])
        whole = next(change for change in self.changes if change.group.label == name)
        inside = set(whole.group.members)
        finer = story_groups(graph, find_roles(graph, alike=alike).groups)
        parts = [tuple(member for member in group.members if member in inside) for group in finer]
        parts = [part for part in parts if part]
        left = inside - {member for part in parts for member in part}
        parts += [tuple(member for member in whole.group.members if member in left)] if left else []
        if len(parts) < 2:
            raise UsageError(f"the group {_shown(label)} does not fall apart: all of its members are alike")
        pieces = [
            replace(whole, op="add", before="", is_accepted=True,
                    group=replace(whole.group, label=f"{name} / {i}", members=part))
            for i, part in enumerate(parts, start=1)
        ]  # fmt: skip
        return replace(self, changes=tuple(c for one in self.changes for c in (pieces if one is whole else [one])))

    def applied(self) -> Story:
        """The story with what is accepted. What a found group takes, other groups lose."""
        taken = [change for change in self.changes if change.is_accepted and change.op != "same"]
        gone = {change.before for change in taken if change.op == "change"}
        kept = [group for group in self.story.groups if group.label not in gone]
        held = {member for change in taken for member in change.group.members}
        kept = [replace(group, members=tuple(m for m in group.members if m not in held)) for group in kept]
        groups = [*(group for group in kept if group.members), *(change.group for change in taken)]
        return replace(self.story, groups=_named_apart(groups))

    def _marked(self, labels: Iterable[str] | None, *, is_accepted: bool) -> "Proposal":
        wanted = {change.group.label for change in self.changes} if labels is None else set(self._known(list(labels)))
        changes = (
            replace(change, is_accepted=is_accepted) if change.group.label in wanted else change
            for change in self.changes
        )
        return replace(self, changes=tuple(changes))

    def _known(self, labels: Sequence[str]) -> list[str]:
        there = [change.group.label for change in self.changes]
        for label in labels:
            if label not in there:
                said = ", ".join(map(_shown, there[:12])) or "none"
                raise UsageError(f"no group {_shown(label)} was found; found are {said}")
        return list(labels)


def propose(graph: GraphArrays, story: Story, roles: Roles, *, replacing: bool = False) -> Proposal:
    """What was found as changes to a story.

    By default only what no group of the story has is new, and accepted; a found group that is much like one of the
    story is a change, not accepted. With `replacing` all are accepted as they were found.
    """
    found = story_groups(graph, roles.groups)
    known = [(group.label, set(group.members)) for group in story.groups]
    changes = []
    for group in found:
        members = set(group.members)
        best, before = max(((_jaccard(members, others), label) for label, others in known), default=(0.0, ""))
        if best == 1:
            changes.append(Change(op="same", group=group, before=before, jaccard=1.0))
        elif best >= SAME or replacing:
            same = best >= SAME
            changes.append(
                Change(op="change" if same else "add", group=group, before=before if same else "", jaccard=best,
                       is_accepted=replacing)
            )  # fmt: skip
        else:
            held: Collection[str] = {member for _, others in known for member in others}
            free = tuple(member for member in group.members if member not in held)
            if free:
                changes.append(Change(op="add", group=replace(group, members=free), jaccard=best))
    return Proposal(story=story, changes=tuple(changes))


def _jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / max(len(left | right), 1)


def _named_apart(groups: Sequence[StoryGroup]) -> tuple[StoryGroup, ...]:
    used: dict[str, int] = {}
    out = []
    for group in groups:
        used[group.label] = n = used.get(group.label, 0) + 1
        out.append(group if n == 1 else replace(group, label=f"{group.label} ({n})"))
    return tuple(out)


def _shown(label: str) -> str:
    return printable(repr(label), 60)

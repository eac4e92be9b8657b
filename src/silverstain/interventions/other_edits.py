"""Edits of what is no feature: error and token nodes, directions of the stream, attention patterns.

Like `Edit` they are plain values. What each does is again one affine rule, new = factor · old + constant: on a vector
(what an error or token node writes), on a number (the stream's component along a direction), or on the entries of an
attention pattern. Entries are left as they are set: nothing makes their row sum to 1 again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from silverstain.errors import UsageError
from silverstain.interventions.positions import Positions, positions_text, positions_to_json, problem_with

VECTOR_OPERATIONS = ("ablate", "scale", "patch")
DIRECTION_OPERATIONS = ("ablate", "scale", "set", "add")
PATTERN_OPERATIONS = ("ablate", "scale", "set", "add", "patch")


@dataclass(frozen=True, kw_only=True)
class VectorEdit:
    """An edit of what an error node or a token node writes: its vector in the clean run, scaled or exchanged."""

    op: str
    """One of VECTOR_OPERATIONS."""
    layer: int | None = None
    """The layer of an error node: what its MLP adds and the dictionary misses. None: the embedding."""
    positions: Positions = None
    value: float | None = None
    """The factor of `scale`."""
    donor: tuple[float, ...] | None = None
    """For `patch`: the vector [d_model] written instead, at the one position named."""

    def __post_init__(self) -> None:
        problem = _problem(self.op, VECTOR_OPERATIONS, self.positions, (self.value, self.donor), ("scale",))
        if self.op == "patch" and not (isinstance(self.positions, Sequence) and len(self.positions) == 1):
            problem = problem or "patch of an error or token node names one position"
        _refuse(problem)

    @property
    def factor(self) -> float:
        return (self.value or 0.0) if self.op == "scale" else 0.0

    def __str__(self) -> str:
        what = "token" if self.layer is None else f"L{self.layer}.error"
        given = "=…" if self.op == "patch" else "" if self.value is None else f"={self.value!r}"
        return f"{self.op}:{what}{positions_text(self.positions)}{given}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; keys that say nothing are left out."""
        return _json(self, "token" if self.layer is None else "error")


@dataclass(frozen=True, kw_only=True)
class DirectionEdit:
    """An edit of the stream's component along a direction, where block `layer` leaves it."""

    op: str
    """One of DIRECTION_OPERATIONS: `ablate` projects it out, `add` adds `value` unit vectors."""
    layer: int
    direction: tuple[float, ...]
    """[d_model], of any length but zero: only where it points counts."""
    name: str = "direction"
    positions: Positions = None
    value: float | None = None

    def __post_init__(self) -> None:
        problem = _problem(self.op, DIRECTION_OPERATIONS, self.positions, (self.value, None), ("scale", "set", "add"))
        if not any(self.direction) or not all(abs(x) < float("inf") for x in self.direction):
            problem = problem or f"the direction {self.name!r} is zero or not finite"
        _refuse(problem)

    @property
    def rule(self) -> tuple[float, float]:
        """(factor, constant) of the component."""
        value = self.value or 0.0
        return {"ablate": (0.0, 0.0), "scale": (value, 0.0), "set": (0.0, value), "add": (1.0, value)}[self.op]

    def __str__(self) -> str:
        given = "" if self.value is None else f"={self.value!r}"
        return f"{self.op}:L{self.layer}.{self.name}{positions_text(self.positions)}{given}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; keys that say nothing are left out."""
        return _json(self, "direction")


@dataclass(frozen=True, kw_only=True)
class PatternEdit:
    """An edit of attention: how much each head, at each position, takes from each key."""

    op: str
    """One of PATTERN_OPERATIONS."""
    heads: tuple[tuple[int, int], ...]
    """(layer, head) pairs."""
    positions: Positions = None
    """Where the heads write (queries)."""
    keys: tuple[int, ...] | None = None
    """Where they read, positions from the start; None: everywhere they can."""
    value: float | None = None
    donor: tuple[float, ...] | None = None
    """For `patch`: the weight of each of the keys, or without `keys` of each key from the first on."""

    def __post_init__(self) -> None:
        problem = _problem(
            self.op, PATTERN_OPERATIONS, self.positions, (self.value, self.donor), ("scale", "set", "add")
        )
        if not self.heads or len(set(self.heads)) < len(self.heads) or min(min(h) for h in self.heads) < 0:
            problem = problem or f"heads are (layer, head), each named once and counted from 0, not {self.heads}"
        if self.keys is not None and (not self.keys or min(self.keys) < 0 or len(set(self.keys)) < len(self.keys)):
            problem = problem or f"keys are positions from the start, each named once, not {self.keys}"
        if self.keys is not None and self.donor is not None and len(self.keys) != len(self.donor):
            problem = problem or f"{len(self.keys)} keys but {len(self.donor)} weights"
        _refuse(problem)

    @property
    def rule(self) -> tuple[float, float]:
        """(factor, constant) of every entry, where there is no donor."""
        value = self.value or 0.0
        return {"ablate": (0.0, 0.0), "scale": (value, 0.0), "set": (0.0, value), "add": (1.0, value)}[self.op]

    def __str__(self) -> str:
        text = f"{self.op}:" + "+".join(f"L{layer}.H{head}" for layer, head in self.heads)
        text += positions_text(self.positions) + ("" if self.keys is None else "<" + ",".join(map(str, self.keys)))
        if self.donor is not None:
            return text + "=" + ",".join(map(repr, self.donor))
        return text if self.value is None else f"{text}={self.value!r}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; keys that say nothing are left out."""
        return _json(self, "attention")


def _problem(
    op: str,
    operations: Sequence[str],
    positions: Positions,
    given: tuple[float | None, tuple[float, ...] | None],
    valued: Sequence[str],
) -> str | None:
    """What is wrong with what all kinds share, if anything."""
    value, donor = given
    if op not in operations:
        return f"the operation is {op!r}; here it is one of {', '.join(operations)}"
    if problem := problem_with(positions):
        return problem
    if (op in valued) != (value is not None):
        return f"{op} needs a value" if op in valued else f"{op} takes no value"
    if (op == "patch") != (donor is not None):
        return "patch needs the donor's values" if op == "patch" else f"{op} takes no donor"
    if not all(abs(number) < float("inf") for number in (value or 0.0, *(donor or ()))):
        return f"values must be finite, but {value if donor is None else donor} was given"
    return None


def _refuse(problem: str | None) -> None:
    if problem:
        raise UsageError(
            f"Not an edit: {problem}; write for example ablate:L1.error@5, scale:token@3=2 or ablate:L1.H3@7<2."
        )


def _json(edit: Any, kind: str) -> dict[str, Any]:
    said = {key: value for key, value in vars(edit).items() if value is not None}
    if "positions" in said:
        said["positions"] = positions_to_json(said["positions"])
    return {"kind": kind, **said}

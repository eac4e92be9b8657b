"""What is done to a running model, as a plain value.

An `Edit` says which features are changed, where, and how; it holds no tensors and no model, so it can be written in
JSON, typed on a command line, compared and stored beside a graph. Every operation is one affine rule, new = factor ·
old + constant. On a feature's activation:

    ablate  0·a          scale  value·a      set  value
    add     a + value    patch  donor value of each feature (from another run)

`add` with a donor injects: a + donor value of each feature. The other kinds of edit apply the same rules to a vector
(what an error or token node writes), to a number (the stream's component along a direction), and to the entries of an
attention pattern. Entries of a pattern are left as they are set: nothing makes their row sum to 1 again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from silverstain.attribution import Place
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.interventions.outside_edits import OutsideFeatureEdit, pairs, positions_read
from silverstain.interventions.positions import Positions, positions_text, positions_to_json, problem_with
from silverstain.notation import feature_name
from silverstain.validation import validated

OPERATIONS = ("ablate", "scale", "set", "add", "patch")
VALUED = ("scale", "set", "add")
VECTOR_OPERATIONS = ("ablate", "scale", "patch", "add")
DIRECTION_OPERATIONS = ("ablate", "scale", "set", "add")
PATTERN_OPERATIONS = ("ablate", "scale", "set", "add", "patch")

EXAMPLE = "write for example ablate:L1.F23@5, scale:L0.F7=-1 or set:L1.F23+L2.F4@5,6=2.0"


@brief
@dataclass(frozen=True, kw_only=True)
class Edit:
    """One operation on one or more features at one or more positions."""

    op: str
    """One of OPERATIONS."""
    features: tuple[tuple[int, int], ...]
    """(layer, feature) pairs."""
    positions: Positions = None
    """Token positions (negative: from the end), or Onward(first); None: every position whose MLP is not kept real."""
    value: float | None = None
    """Factor of `scale`, activation of `set`, activation added by `add`."""
    donor: tuple[float, ...] | None = None
    """For `patch`: the activation each feature is given, in the order of `features`; for `add`: what each gets more,
    instead of one value for all."""

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise UsageError(f"Not an edit: {problem}; {EXAMPLE}.")

    def rules(self) -> list[tuple[int, int, float, float]]:
        """(layer, feature, factor, constant) of every feature: new = factor · activation + constant."""
        value = 0.0 if self.value is None else self.value
        if self.donor is not None:
            kept = 1.0 if self.op == "add" else 0.0
            return [(*at, kept, given) for at, given in zip(self.features, self.donor, strict=True)]
        factor, constant = _affine(self.op, value)
        return [(*at, factor, constant) for at in self.features]

    def __str__(self) -> str:
        """The command-line form, which `parse_edit` reads back."""
        text = f"{self.op}:" + "+".join(feature_name(*at) for at in self.features)
        text += positions_text(self.positions)
        if self.donor is not None:
            return text + "=" + ",".join(map(repr, self.donor))
        return text if self.value is None else f"{text}={self.value!r}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; keys that say nothing are left out."""
        out: dict[str, Any] = {"op": self.op, "features": [list(at) for at in self.features]}
        if self.positions is not None:
            out["positions"] = positions_to_json(self.positions)
        if self.value is not None:
            out["value"] = self.value
        if self.donor is not None:
            out["donor"] = list(self.donor)
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Edit":
        """Read what `to_json` wrote; UsageError when a key is missing, unknown or of the wrong kind."""
        said = validated(OutsideFeatureEdit, data, "the edit", EXAMPLE)
        return cls(
            op=said.op, features=pairs(said.features), positions=positions_read(said.positions), value=said.value,
            donor=None if said.donor is None else tuple(said.donor),
        )  # fmt: skip


@brief
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
    """For `patch`: the vector [d_model] written instead, at the one position named; for `add`: what is written more."""

    def __post_init__(self) -> None:
        given = (self.value, self.donor)
        problem = _shared_problem(self.op, VECTOR_OPERATIONS, self.positions, given, ("scale",), ("patch", "add"))
        if self.op == "patch" and not (isinstance(self.positions, Sequence) and len(self.positions) == 1):
            problem = problem or "patch of an error or token node names one position"
        _refuse(problem)

    @property
    def factor(self) -> float:
        return {"scale": self.value or 0.0, "add": 1.0}.get(self.op, 0.0)

    def __str__(self) -> str:
        what = "token" if self.layer is None else f"L{self.layer}.error"
        given = "=…" if self.donor is not None else "" if self.value is None else f"={self.value!r}"
        return f"{self.op}:{what}{positions_text(self.positions)}{given}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; keys that say nothing are left out."""
        return _json(self, "token" if self.layer is None else "error")


@brief
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
        problem = _shared_problem(self.op, DIRECTION_OPERATIONS, self.positions, (self.value, None), VALUED)
        if not any(self.direction) or not all(abs(x) < float("inf") for x in self.direction):
            problem = problem or f"the direction {self.name!r} is zero or not finite"
        _refuse(problem)

    @property
    def rule(self) -> tuple[float, float]:
        """(factor, constant) of the component."""
        return _affine(self.op, self.value or 0.0)

    def __str__(self) -> str:
        given = "" if self.value is None else f"={self.value!r}"
        return f"{self.op}:L{self.layer}.{self.name}{positions_text(self.positions)}{given}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; keys that say nothing are left out."""
        return _json(self, "direction")


@brief
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
        problem = _shared_problem(self.op, PATTERN_OPERATIONS, self.positions, (self.value, self.donor), VALUED)
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
        return _affine(self.op, self.value or 0.0)

    def __str__(self) -> str:
        text = f"{self.op}:" + "+".join(f"L{layer}.H{head}" for layer, head in self.heads)
        text += positions_text(self.positions) + ("" if self.keys is None else "<" + ",".join(map(str, self.keys)))
        if self.donor is not None:
            return text + "=" + ",".join(map(repr, self.donor))
        return text if self.value is None else f"{text}={self.value!r}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; keys that say nothing are left out."""
        return _json(self, "attention")


AnyEdit = Edit | VectorEdit | DirectionEdit | PatternEdit


def _affine(op: str, value: float) -> tuple[float, float]:
    """(factor, constant) of an operation without a donor: new = factor · old + constant."""
    return {"ablate": (0.0, 0.0), "scale": (value, 0.0), "set": (0.0, value), "add": (1.0, value)}[op]


def _problem(edit: Edit) -> str | None:
    if edit.op not in OPERATIONS:
        return f"the operation is {edit.op!r}, not one of {', '.join(OPERATIONS)}"
    if not edit.features:
        return "no feature is named"
    if any(layer < 0 or feature < 0 for layer, feature in edit.features):
        return f"layers and features count from 0, but {edit.features} was given"
    if len(set(edit.features)) < len(edit.features):
        return f"a feature is named twice in {edit.features}"
    if problem := problem_with(edit.positions):
        return problem
    if edit.op == "add" and len(edit.features) == 1 and edit.donor is not None:
        return "add to one feature takes a value, not a donor"  # so that every edit has one form
    if (edit.op in VALUED) != (edit.value is not None) and not (edit.op == "add" and edit.donor is not None):
        return f"{edit.op} needs a value" if edit.op in VALUED else f"{edit.op} takes no value"
    if edit.value is not None and edit.donor is not None:
        return f"{edit.op} takes a value or a donor's values, not both"
    if edit.op == "patch" and edit.donor is None:
        return "patch needs the donor's activations"
    if edit.donor is not None and edit.op not in ("patch", "add"):
        return f"{edit.op} takes no donor"
    if edit.donor is not None and len(edit.donor) != len(edit.features):
        return f"{len(edit.features)} features but {len(edit.donor)} donor activations"
    numbers = [edit.value or 0.0, *(edit.donor or ())]
    if not all(abs(number) < float("inf") for number in numbers):
        return f"values must be finite, but {numbers} was given"
    return None


def at_places(op: str, places: Sequence[Place], value: float | None = None) -> tuple[Edit, ...]:
    """The edits that do `op` to each (layer, position, feature), one edit a position."""
    positions = sorted({position for _, position, _ in places})
    return tuple(
        Edit(
            op=op,
            features=tuple(sorted({(layer, feature) for layer, at, feature in places if at == position})),
            positions=(position,),
            value=value,
        )
        for position in positions
    )


def _shared_problem(
    op: str,
    operations: Sequence[str],
    positions: Positions,
    given: tuple[float | None, tuple[float, ...] | None],
    valued: Sequence[str],
    donated: Sequence[str] = ("patch",),
) -> str | None:
    """What is wrong with what all kinds share, if anything."""
    value, donor = given
    if op not in operations:
        return f"the operation is {op!r}; here it is one of {', '.join(operations)}"
    if problem := problem_with(positions):
        return problem
    if (op in donated) != (donor is not None):
        return f"{op} needs the donor's values" if op in donated else f"{op} takes no donor"
    if (op in valued) != (value is not None):
        return f"{op} needs a value" if op in valued else f"{op} takes no value"
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

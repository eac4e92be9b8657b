"""What is done to a running model, as a plain value.

An `Edit` says which features are changed, where, and how; it holds no tensors and no model, so it can be written in
JSON, typed on a command line, compared and stored beside a graph. Every operation is one affine rule on a feature's
activation, new = factor · activation + constant:

    ablate  0·a          scale  value·a      set  value
    add     a + value    patch  donor value of each feature (from another run)

`add` with a donor injects: a + donor value of each feature. What else can be edited is in `other_edits`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from silverstain.errors import UsageError
from silverstain.interventions.positions import (
    Positions,
    positions_from_json,
    positions_text,
    positions_to_json,
    problem_with,
)

OPERATIONS = ("ablate", "scale", "set", "add", "patch")
VALUED = ("scale", "set", "add")

Place = tuple[int, int, int]
"""(layer, position, feature): one feature at one token."""

EXAMPLE = "write for example ablate:L1.F23@5, scale:L0.F7=-1 or set:L1.F23+L2.F4@5,6=2.0"


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
        factor, constant = {"ablate": (0.0, 0.0), "scale": (value, 0.0), "set": (0.0, value), "add": (1.0, value)}[
            self.op
        ]
        return [(*at, factor, constant) for at in self.features]

    def __str__(self) -> str:
        """The command-line form, which `parse_edit` reads back."""
        text = f"{self.op}:" + "+".join(f"L{layer}.F{feature}" for layer, feature in self.features)
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
        unknown = set(data) - {"op", "features", "positions", "value", "donor"}
        if unknown:
            raise UsageError(f"Not an edit: unknown keys {sorted(unknown)} in {json.dumps(dict(data))}; {EXAMPLE}.")
        try:
            value, donor = data.get("value"), data.get("donor")
            return cls(
                op=data["op"],
                features=tuple((int(layer), int(feature)) for layer, feature in data["features"]),
                positions=positions_from_json(data.get("positions")),
                value=None if value is None else float(value),
                donor=None if donor is None else tuple(float(v) for v in donor),
            )
        except (KeyError, TypeError, ValueError) as reason:
            raise UsageError(f"Not an edit: {json.dumps(dict(data), default=str)} ({reason!r}); {EXAMPLE}.") from None


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

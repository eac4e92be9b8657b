"""What is done to a running model, as a plain value.

An `Edit` says which features are changed, where, and how; it holds no tensors and no model, so it can be written in
JSON, typed on a command line, compared and stored beside a graph. Every operation is one affine rule on a feature's
activation, new = factor · activation + constant:

    ablate  0·a          scale  value·a      set  value
    add     a + value    patch  donor value of each feature (from another run)
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silverstain.errors import UsageError
from silverstain.storage import read_json, write_json_whole

OPERATIONS = ("ablate", "scale", "set", "add", "patch")
VALUED = ("scale", "set", "add")
FORMAT = "silverstain.edits/1"

Place = tuple[int, int, int]
"""(layer, position, feature): one feature at one token."""

_EXAMPLE = "write for example ablate:L1.F23@5, scale:L0.F7=-1 or set:L1.F23+L2.F4@5,6=2.0"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One operation on one or more features at one or more positions."""

    op: str
    """One of OPERATIONS."""
    features: tuple[tuple[int, int], ...]
    """(layer, feature) pairs."""
    positions: tuple[int, ...] | None = None
    """Token positions (negative: from the end); None: every position whose MLP is not kept real."""
    value: float | None = None
    """Factor of `scale`, activation of `set`, activation added by `add`."""
    donor: tuple[float, ...] | None = None
    """For `patch`: the activation each feature is given, in the order of `features`."""

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise UsageError(f"Not an edit: {problem}; {_EXAMPLE}.")

    def rules(self) -> list[tuple[int, int, float, float]]:
        """(layer, feature, factor, constant) of every feature: new = factor · activation + constant."""
        value = 0.0 if self.value is None else self.value
        if self.op == "patch":
            assert self.donor is not None  # checked at construction
            return [(*at, 0.0, given) for at, given in zip(self.features, self.donor, strict=True)]
        factor, constant = {"ablate": (0.0, 0.0), "scale": (value, 0.0), "set": (0.0, value), "add": (1.0, value)}[
            self.op
        ]
        return [(*at, factor, constant) for at in self.features]

    def __str__(self) -> str:
        """The command-line form, which `parse_edit` reads back."""
        text = f"{self.op}:" + "+".join(f"L{layer}.F{feature}" for layer, feature in self.features)
        if self.positions is not None:
            text += "@" + ",".join(map(str, self.positions))
        if self.op == "patch":
            assert self.donor is not None
            return text + "=" + ",".join(map(repr, self.donor))
        return text if self.value is None else f"{text}={self.value!r}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; keys that say nothing are left out."""
        out: dict[str, Any] = {"op": self.op, "features": [list(at) for at in self.features]}
        if self.positions is not None:
            out["positions"] = list(self.positions)
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
            raise UsageError(f"Not an edit: unknown keys {sorted(unknown)} in {json.dumps(dict(data))}; {_EXAMPLE}.")
        try:
            positions, value, donor = data.get("positions"), data.get("value"), data.get("donor")
            return cls(
                op=data["op"],
                features=tuple((int(layer), int(feature)) for layer, feature in data["features"]),
                positions=None if positions is None else tuple(int(p) for p in positions),
                value=None if value is None else float(value),
                donor=None if donor is None else tuple(float(v) for v in donor),
            )
        except (KeyError, TypeError, ValueError) as reason:
            raise UsageError(f"Not an edit: {json.dumps(dict(data), default=str)} ({reason!r}); {_EXAMPLE}.") from None


def _problem(edit: Edit) -> str | None:
    if edit.op not in OPERATIONS:
        return f"the operation is {edit.op!r}, not one of {', '.join(OPERATIONS)}"
    if not edit.features:
        return "no feature is named"
    if any(layer < 0 or feature < 0 for layer, feature in edit.features):
        return f"layers and features count from 0, but {edit.features} was given"
    if len(set(edit.features)) < len(edit.features):
        return f"a feature is named twice in {edit.features}"
    if edit.positions is not None and not edit.positions:
        return "the list of positions is empty (leave it out to edit everywhere)"
    if (edit.op in VALUED) != (edit.value is not None):
        return f"{edit.op} needs a value" if edit.op in VALUED else f"{edit.op} takes no value"
    if (edit.op == "patch") != (edit.donor is not None):
        return "patch needs the donor's activations" if edit.op == "patch" else f"{edit.op} takes no donor"
    if edit.donor is not None and len(edit.donor) != len(edit.features):
        return f"{len(edit.features)} features but {len(edit.donor)} donor activations"
    numbers = [edit.value or 0.0, *(edit.donor or ())]
    if not all(abs(number) < float("inf") for number in numbers):
        return f"values must be finite, but {numbers} was given"
    return None


_FORM = re.compile(r"(?P<op>\w+):(?P<what>[^@]+?)(?:@(?P<where>[-\d,. ]+?))?(?:=(?P<value>[^=]+))?")
_FEATURE = re.compile(r"L(\d+)\.F(\d+)", re.IGNORECASE)


def parse_edit(text: str) -> Edit:
    """Read one edit: OP:L<layer>.F<feature>[+…][@position[,…]][=value].

    Positions are numbers (negative: from the end) or inclusive ranges such as 3..6. Several features are joined by +.
    """
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise UsageError(f"Cannot read the edit {text!r}; {_EXAMPLE}.")
    pieces = [_FEATURE.fullmatch(piece.strip()) for piece in form["what"].split("+")]
    features = tuple((int(piece[1]), int(piece[2])) for piece in pieces if piece)
    if len(features) < len(pieces):
        raise UsageError(f"Cannot read the features {form['what']!r} of the edit {text!r}; {_EXAMPLE}.")
    op = form["op"].lower()
    values = _numbers(form["value"], text)
    if op == "patch":
        donor, value = values, None
    elif values is not None and len(values) > 1:
        raise UsageError(f"{op} takes one value, but the edit {text!r} gives {len(values)}; {_EXAMPLE}.")
    else:
        donor, value = None, values[0] if values else None
    positions = _positions(form["where"], text)
    return Edit(op=op, features=features, positions=positions, value=value, donor=donor)


def parse_edits(texts: Iterable[str], groups: Mapping[str, Sequence[Place]] | None = None) -> tuple[Edit, ...]:
    """Read several edits; `groups` lets a group's label stand for its members, each at its own position.

    `ablate:state = texas` and `scale:state = texas=-2` are read with groups={"state = texas": places}; a group takes
    no positions of its own, and `patch` needs features, because donors are listed by feature.
    """
    edits: list[Edit] = []
    for text in texts:
        found = _group_named(text, groups or {})
        edits.extend([parse_edit(text)] if found is None else at_places(found[0], found[2], found[1]))
    return tuple(edits)


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


def save_edits(edits: Sequence[Edit], path: str | Path) -> None:
    """Write the edits as JSON, whole or not at all."""
    write_json_whole(Path(path), {"format": FORMAT, "edits": [edit.to_json() for edit in edits]})


def load_edits(path: str | Path) -> tuple[Edit, ...]:
    """Read what `save_edits` wrote; UsageError naming the file when it is missing or of another format."""
    data = read_json(Path(path), FORMAT)
    if not isinstance(data.get("edits"), list):
        raise UsageError(f'{path} holds no list of edits under "edits"; write it with save_edits.')
    return tuple(Edit.from_json(entry) for entry in data["edits"])


def _numbers(text: str | None, whole: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise UsageError(f"Cannot read the value {text!r} of the edit {whole!r}; {_EXAMPLE}.") from None


def _positions(text: str | None, whole: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    positions: list[int] = []
    for piece in text.split(","):
        span = re.fullmatch(r"\s*(-?\d+)\s*(?:\.\.\s*(-?\d+)\s*)?", piece)
        if span is None or (span[2] and int(span[2]) < int(span[1])):
            raise UsageError(f"Cannot read the positions {text!r} of the edit {whole!r}; {_EXAMPLE}.")
        positions.extend(range(int(span[1]), int(span[2] or span[1]) + 1))
    return tuple(dict.fromkeys(positions))


def _group_named(text: str, groups: Mapping[str, Sequence[Place]]) -> tuple[str, float | None, Sequence[Place]] | None:
    op, _, rest = text.strip().partition(":")
    op, rest = op.strip().lower(), rest.strip()
    if op not in OPERATIONS or op == "patch":
        return None
    if rest in groups:
        return op, None, groups[rest]
    label, _, number = rest.rpartition("=")  # labels such as "state = texas" hold the sign too: the last one counts
    if label.strip() not in groups:
        return None
    values = _numbers(number, text)
    assert values is not None
    return op, values[0], groups[label.strip()]

"""Edits as they are typed.

    OP:WHAT[@POSITIONS][<SOURCE][=VALUE]

WHAT is features (L1.F23+L2.F4), an error node (L1.error), `token`, heads (L1.H3), a named direction (L1.name), ids of
nodes with their position in them (1_23_5), or the label of a group. POSITIONS are numbers, negative from the end,
inclusive ranges (3..6), or all from one on (5..).
SOURCE is, of heads, the keys they read; of `patch` and `add`, the position in the donor's run (none: the same).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from silverstain.attribution import Place
from silverstain.errors import UsageError
from silverstain.interventions.edits import (
    EXAMPLE,
    OPERATIONS,
    AnyEdit,
    DirectionEdit,
    Edit,
    PatternEdit,
    VectorEdit,
    at_places,
)
from silverstain.interventions.positions import Positions, read_positions
from silverstain.notation import NodeName, read_node

if TYPE_CHECKING:
    from silverstain.interventions.donors import Donor

_FORM = re.compile(
    r"(?P<op>\w+):(?P<what>[^@<]+?)(?:@(?P<where>[-\d,. ]+?))?\s*(?P<source><[\d,. ]*?)?(?:=(?P<value>[^=]+))?"
)
_ENDS = re.compile(r"[@<+=]")
"""Where the first name in an edit is over."""
MOST_NAMED = 8
"""Groups that an error names; of more, it says how many."""


class _Parts(NamedTuple):
    """One edit as typed, its pieces read."""

    text: str
    op: str
    what: list[NodeName]
    positions: Positions
    source: tuple[int, ...] | None
    """None: no `<`; empty: a `<` with nothing behind it."""
    values: tuple[float, ...] | None


def parse_edit(text: str) -> AnyEdit:
    """Read one edit that needs neither groups nor directions nor a donor; UsageError in one line otherwise."""
    found = parse_edits([text])
    if len(found) != 1:
        raise _cannot("edit", text, text)
    return found[0]


def parse_edits(
    texts: Iterable[str],
    groups: Mapping[str, Sequence[Place]] | None = None,
    *,
    directions: Mapping[str, Sequence[float]] | None = None,
    donor: "Donor | None" = None,
) -> tuple[AnyEdit, ...]:
    """Read several edits.

    `groups` lets a group's label stand for its members, each at its own position: `ablate:state = texas`,
    `scale:state = texas=-2`, `patch:state = texas<`; None where no graph is given. `directions` are vectors by name,
    `donor` the run of the prompt that a `<` takes from.
    """
    edits: list[AnyEdit] = []
    for text in texts:
        group = _group_named(text, groups or {})
        if group is None:
            _check_name(text, groups)
        edits.extend(_read(text, directions or {}, donor) if group is None else _of_group(*group, text, donor))
    return tuple(edits)


def _read(text: str, directions: Mapping[str, Sequence[float]], donor: "Donor | None") -> Sequence[AnyEdit]:
    parts = _parts(text)
    first, kinds = parts.what[0], {name.kind for name in parts.what}
    if kinds == {"feature"}:
        pairs = tuple((name.layer, name.index) for name in parts.what)
        return [_features(parts, pairs)] if parts.source is None else _from_donor(parts, pairs, donor)
    if kinds == {"head"}:
        return [_heads(parts, donor)]
    if len(parts.what) == 1 and first.kind in ("token", "error"):
        return [_vector(parts, donor)]
    if len(parts.what) == 1 and first.direction in directions:
        return [
            DirectionEdit(
                op=parts.op, layer=first.layer, direction=tuple(directions[first.direction]), name=first.direction,
                positions=parts.positions, value=_one_value(parts),
            )
        ]  # fmt: skip
    raise _cannot("features", "+".join(map(str, parts.what)), text)


def _parts(text: str) -> _Parts:
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise UsageError(f"Cannot read the edit {text!r}; {EXAMPLE}.")
    try:
        positions = read_positions(form["where"])
        source = None if form["source"] is None else _source(form["source"][1:])
    except ValueError:
        raise _cannot("positions", f"{form['where'] or ''}{form['source'] or ''}", text) from None
    pieces = form["what"].split("+")
    what = [name for piece in pieces if (name := read_node(piece))]
    if len(what) < len(pieces):
        raise _cannot("features", form["what"].strip(), text)
    positions = _positions_of_ids(what, positions, text)
    return _Parts(text, form["op"].lower(), what, positions, source, _numbers(form["value"], text))


def _positions_of_ids(what: Sequence[NodeName], positions: Positions, text: str) -> Positions:
    """The positions that were typed, or the one position that ids such as 1_23_5 have in them."""
    said = {name.position for name in what}
    if said == {None}:
        return positions
    if positions is not None or len(said) > 1:
        raise UsageError(
            f"The edit {text!r} has ids of nodes at other positions; give all one position, or an edit each; {EXAMPLE}."
        )
    return tuple(position for position in said if position is not None)


def _source(text: str) -> tuple[int, ...]:
    found = read_positions(text) if text.strip() else ()
    if not isinstance(found, tuple) or any(position < 0 for position in found):
        raise ValueError(text)
    return found


def _features(parts: _Parts, pairs: tuple[tuple[int, int], ...]) -> Edit:
    if parts.op == "patch" or (parts.op == "add" and parts.values is not None and len(parts.values) > 1):
        return Edit(op=parts.op, features=pairs, positions=parts.positions, donor=parts.values)
    return Edit(op=parts.op, features=pairs, positions=parts.positions, value=_one_value(parts))


def _from_donor(parts: _Parts, pairs: tuple[tuple[int, int], ...], donor: "Donor | None") -> Sequence[Edit]:
    """`patch` or `add` of features with what they are in the donor's run, times the value."""
    run, strength = _needs(donor, parts.text), _one_value(parts)
    if parts.op not in ("patch", "add"):
        raise UsageError(f"Only patch and add take from a donor, but the edit {parts.text!r} does; leave out the <.")
    moves = _moves(parts, donor)
    places = [(layer, position, feature) for layer, feature in pairs for position in moves]
    take = run.patch if parts.op == "patch" else run.inject
    return take(places, to=moves, strength=1.0 if strength is None else strength)


def _heads(parts: _Parts, donor: "Donor | None") -> PatternEdit:
    heads = tuple((name.layer, name.index) for name in parts.what)
    if parts.op == "patch" and parts.values is None:
        moves = _moves(parts, donor)
        if len(heads) != 1 or len(moves) != 1:
            raise UsageError(
                f"A head is patched at one position at a time, unlike in {parts.text!r}; write one edit each."
            )
        ((source, to),) = moves.items()
        return _needs(donor, parts.text).patch_pattern(*heads[0], source, to=to)
    values = {"donor": parts.values} if parts.op == "patch" else {"value": _one_value(parts)}
    return PatternEdit(op=parts.op, heads=heads, positions=parts.positions, keys=parts.source or None, **values)  # pyright: ignore


def _vector(parts: _Parts, donor: "Donor | None") -> VectorEdit:
    layer = parts.what[0].layer if parts.what[0].kind == "error" else None
    if parts.op != "patch":
        if parts.source is not None:
            raise UsageError(f"Only patch takes from a donor, but the edit {parts.text!r} does; leave out the <.")
        return VectorEdit(op=parts.op, layer=layer, positions=parts.positions, value=_one_value(parts))
    run, moves = _needs(donor, parts.text), _moves(parts, donor)
    if len(moves) > 1:
        raise UsageError(f"{parts.what[0]} is patched at one position at a time, unlike in {parts.text!r}.")
    ((source, to),) = moves.items()
    return run.patch_token(source, to=to) if layer is None else run.patch_error(layer, source, to=to)


def _moves(parts: _Parts, donor: "Donor | None") -> dict[int, int]:
    """Donor position → position, as far as typed."""
    _needs(donor, parts.text)
    if not isinstance(parts.positions, tuple) or any(position < 0 for position in parts.positions):
        raise UsageError(
            f"What comes from a donor needs positions counted from the start, unlike in {parts.text!r}; "
            "write for example patch:L1.F23@5<5."
        )
    if not parts.source:
        return {position: position for position in parts.positions}
    if len(parts.source) != len(parts.positions):
        raise UsageError(
            f"{len(parts.positions)} positions take from {len(parts.source)} of the donor in {parts.text!r}; "
            "give as many."
        )
    return dict(zip(parts.source, parts.positions, strict=True))


def _needs(donor: "Donor | None", text: str) -> "Donor":
    if donor is None:
        raise UsageError(f"The edit {text!r} takes from a donor, but no donor prompt is given; name one (--donor).")
    return donor


def _of_group(
    op: str, value: float | None, takes: bool, places: Sequence[Place], text: str, donor: "Donor | None"
) -> Sequence[Edit]:
    if not takes:
        return at_places(op, places, value)
    run = _needs(donor, text)
    return (run.patch if op == "patch" else run.inject)(places, strength=1.0 if value is None else value)


def _group_named(
    text: str, groups: Mapping[str, Sequence[Place]]
) -> tuple[str, float | None, bool, Sequence[Place]] | None:
    """(operation, value, whether it takes from a donor, members) if the text names a group."""
    op, _, rest = text.strip().partition(":")
    op, rest = op.strip().lower(), rest.strip()
    if op not in OPERATIONS:
        return None
    if op in ("patch", "add"):
        label, takes, number = rest.partition("<")
        if takes and label.strip() in groups:
            values = _numbers(number.strip().removeprefix("=") or None, text)
            return op, values[0] if values else None, True, groups[label.strip()]
    if op == "patch":
        return None
    if rest in groups:
        return op, None, False, groups[rest]
    label, _, number = rest.rpartition("=")  # labels such as "state = texas" hold the sign too: the last one counts
    if label.strip() not in groups:
        return None
    if "<" in number or not _reads_as_numbers(number):  # "state = texas", beside a group called "state"
        raise _no_group(rest, text, groups)
    values = _numbers(number, text)
    assert values is not None
    return op, values[0], False, groups[label.strip()]


def _reads_as_numbers(text: str) -> bool:
    try:
        return bool([float(number) for number in text.split(",")])
    except ValueError:
        return False


def _check_name(text: str, groups: Mapping[str, Sequence[Place]] | None) -> None:
    """UsageError for what can only be a group, and is none of those given."""
    op, colon, rest = text.strip().partition(":")
    if op.strip().lower() not in OPERATIONS or not colon or not rest.strip() or read_node(_ENDS.split(rest)[0]):
        return
    raise _no_group(rest.strip(), text, groups)


def _no_group(name: str, text: str, groups: Mapping[str, Sequence[Place]] | None) -> UsageError:
    if groups is None:
        there = "groups come from a graph: --story GRAPH"
    elif not groups:
        there = "the story of that graph has no groups"
    else:
        more = f" and {len(groups) - MOST_NAMED} more" if len(groups) > MOST_NAMED else ""
        there = f"groups are: {', '.join(map(repr, list(groups)[:MOST_NAMED]))}{more}"
    return UsageError(
        f"The edit {text!r} names no feature, error, token or head, and there is no group {name!r}; {there}; {EXAMPLE}."
    )


def _one_value(parts: _Parts) -> float | None:
    if parts.values is not None and len(parts.values) > 1:
        raise UsageError(
            f"{parts.op} takes one value, but the edit {parts.text!r} gives {len(parts.values)}; {EXAMPLE}."
        )
    return parts.values[0] if parts.values else None


def _numbers(text: str | None, whole: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise _cannot("value", text, whole) from None


def _cannot(what: str, piece: str, text: str) -> UsageError:
    return UsageError(f"Cannot read the {what} {piece!r} of the edit {text!r}; {EXAMPLE}.")

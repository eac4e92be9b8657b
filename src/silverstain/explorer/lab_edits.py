"""What a person changes in the lab, as edits of the running model.

The page names nodes by their ids. Each becomes the edit that its kind has: features are ablated, scaled, set or given
another run's activation; errors and words are vectors; attention is an entry of a pattern. An edge is cut, or scaled,
by giving its target that much less of what its source sends directly: the target alone is changed, by the edge's own
value, and everything else stays live.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from silverstain.errors import UsageError
from silverstain.explorer.tracing import Text
from silverstain.graphs import Graph
from silverstain.graphs.kinds import ATTENTION, ERROR, FEATURE, TOKEN
from silverstain.interventions import AnyEdit, Donor, Edit, PatternEdit, VectorEdit, at_places, edit_from_json
from silverstain.notation import feature_name
from silverstain.printable import printable
from silverstain.validation import Count, Finite, FromOutside, ShortText

if TYPE_CHECKING:
    from silverstain.attribution import RecordedRun

LARGEST_FACTOR = 50.0
"""Beyond so many times what it ever is, what a model says tells nothing of it."""
MOST_NODES = 20_000
MOST_TOKENS = 60
"""That the model continues by."""


class LabEdit(FromOutside):
    """One edit as the page has it."""

    op: Literal["ablate", "scale", "set", "inject", "patch"]
    what: Literal["nodes", "edge", "position"] = "nodes"
    nodes: list[ShortText] = Field(default_factory=list)
    """Ids; of an edge its source and its target."""
    position: Count | None = None
    """Of `position`: everything that is active at this token."""
    value: Finite | None = None
    """Factor of `scale`, activation of `set`, strength of `inject` and `patch`."""


class LabAsked(FromOutside):
    """An experiment as the page asks for it."""

    graph: ShortText
    run: Literal["base", "contrast"] = "contrast"
    """Of a contrast, which of the two prompts is changed."""
    edits: list[LabEdit] = Field(default_factory=list, max_length=200)
    raw: list[dict[str, Any]] = Field(default_factory=list, max_length=200)
    """Edits as a story keeps them, after the others."""
    donor: Text = ""
    """The prompt that `patch` and `inject` take from."""
    attention: Literal["live", "frozen"] = "live"
    base: Literal["current", "clean"] = "current"
    tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] = 12
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    control: bool = True


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What edits are made on: a graph, the recorded run that is changed, and the run that is taken from."""

    graph: Graph
    run: "RecordedRun"
    donor: Donor | None

    def edits(self, asked: Sequence[LabEdit]) -> tuple[AnyEdit, ...]:
        """The edits of all that is asked; UsageError says which cannot be made, and why."""
        index = {node_id: node for node, node_id in enumerate(self.graph.nodes.ids())}
        return tuple(edit for one in asked for edit in self._of(one, index))

    def _of(self, one: LabEdit, index: Mapping[str, int]) -> Sequence[AnyEdit]:
        check_value(one)
        if one.what == "position":
            return self._everything_at(one)
        nodes = _nodes(one.nodes, index)
        if one.what == "edge":
            return [self._edge(one, nodes)]
        return self._nodes(one, nodes)

    def _nodes(self, one: LabEdit, nodes: Sequence[int]) -> list[AnyEdit]:
        table = self.graph.nodes
        kinds = table.kind.tolist()
        features = [self._place(node) for node in nodes if kinds[node] == FEATURE]
        found: list[AnyEdit] = list(self._features(one, features)) if features else []
        for node in nodes:
            layer, position, feature = self._place(node)
            if kinds[node] in (ERROR, TOKEN):
                found.append(self._vector(one, None if kinds[node] == TOKEN else layer, position))
            elif kinds[node] == ATTENTION:
                if feature < 0 or table.key is None:
                    raise UsageError("all the rest of attention is no one thing that could be changed; choose a head")
                found.append(self._pattern(one, layer, feature, position, int(table.key[node])))
            elif kinds[node] != FEATURE:
                raise UsageError("an answer or a constant cannot be changed; choose what leads to it")
        return found

    def _features(self, one: LabEdit, places: list[tuple[int, int, int]]) -> Sequence[Edit]:
        if one.op in ("patch", "inject"):
            donor = self._needs_donor()
            take = donor.patch if one.op == "patch" else donor.inject
            moves = self.moves()
            back = {to: source for source, to in moves.items()}
            given = [(layer, back[at], feature) for layer, at, feature in places if at in back]
            if not given:
                raise UsageError("the other prompt has no token where these nodes are; choose a prompt that ends alike")
            return take(given, to=moves, strength=1.0 if one.value is None else one.value)
        if one.op == "set":
            self._check_set(one, places)
        return at_places(one.op, places, one.value)

    def _check_set(self, one: LabEdit, places: Sequence[tuple[int, int, int]]) -> None:
        now = self.run.activations(places).abs().max()
        most = LARGEST_FACTOR * max(float(now), 1.0)
        if one.value is not None and abs(one.value) > most:
            name = feature_name(places[0][0], places[0][2])
            raise UsageError(
                f"{one.value:g} is out of range: {name} is at {float(now):.3g} here, and the lab sets it to "
                f"{most:.3g} at most"
            )

    def _vector(self, one: LabEdit, layer: int | None, position: int) -> VectorEdit:
        what = "a word" if layer is None else "an error"
        if one.op == "patch":
            donor, back = self._needs_donor(), {to: source for source, to in self.moves().items()}
            if position not in back:
                raise UsageError("the other prompt has no token there; choose a prompt that ends alike")
            if layer is None:
                return donor.patch_token(back[position], to=position)
            return donor.patch_error(layer, back[position], to=position)
        if one.op not in ("ablate", "scale"):
            raise UsageError(f"{what} is a vector: it can be ablated, scaled or patched, not {one.op}")
        return VectorEdit(op=one.op, layer=layer, positions=(position,), value=one.value)

    def _pattern(self, one: LabEdit, layer: int, head: int, position: int, key: int) -> PatternEdit:
        if one.op == "inject":
            raise UsageError("attention can be ablated, scaled, set or patched, not injected")
        if one.op == "set" and not 0 <= (one.value or 0.0) <= 1:
            raise UsageError(f"{one.value:g} is out of range: how much a head looks somewhere is between 0 and 1")
        donor: tuple[float, ...] | None = None
        if one.op == "patch":
            back = {to: source for source, to in self.moves().items()}
            other = self._needs_donor().run
            if position not in back or key not in back:
                raise UsageError("the other prompt has no token there; choose a prompt that ends alike")
            donor = (float(other.recording.patterns[layer, head, back[position], back[key]]),)
        value = None if one.op == "patch" else one.value
        return PatternEdit(
            op=one.op, heads=((layer, head),), positions=(position,), keys=(key,), value=value, donor=donor
        )

    def _edge(self, one: LabEdit, nodes: Sequence[int]) -> Edit:
        if len(nodes) != 2:
            raise UsageError("an edge has a source and a target; choose two nodes")
        if one.op not in ("ablate", "scale"):
            raise UsageError(f"an edge can be cut (ablate) or scaled, not {one.op}")
        source, target = sorted(nodes, key=lambda node: int(self.graph.nodes.depth[node]))
        if int(self.graph.nodes.kind[target]) != FEATURE:
            raise UsageError("only edges into features can be changed in the running model; ablate the source instead")
        weight = edge_value(self.graph, source, target)
        if weight is None:
            raise UsageError("there is no edge between these two nodes in this graph; choose two that are joined")
        layer, position, feature = self._place(target)
        now = float(self.run.activations([(layer, position, feature)])[0])
        change = ((one.value or 0.0) - 1.0) * weight
        after = now + change if self.run.basis.is_dense else max(now + change, 0.0)
        return Edit(op="add", features=((layer, feature),), positions=(position,), value=after - now)

    def _everything_at(self, one: LabEdit) -> Sequence[AnyEdit]:
        position, n = one.position, self.run.n_positions
        if position is None or not self.run.n_real <= position < n:
            raise UsageError(
                f"there is nothing to change at position {position}; choose one from {self.run.n_real} to {n - 1}"
            )
        places = _active_at(self.run, position)
        if one.op in ("patch", "inject"):
            back = {to: source for source, to in self.moves().items()}
            if position in back:
                theirs = _active_at(self._needs_donor().run, back[position])
                places = sorted({*places, *((layer, position, feature) for layer, _, feature in theirs)})
        elif one.op == "set":
            raise UsageError("everything at a word cannot be set to one value; ablate, scale or patch it")
        if not places:
            raise UsageError(f"nothing is active at position {position}")
        return self._features(one, places)

    def moves(self) -> dict[int, int]:
        """Donor position → position: the same where the prompts are of one length, else counted from the end."""
        theirs, ours = self._needs_donor().run.n_positions, self.run.n_positions
        lowest = max(self.run.n_real, ours - theirs + self.run.n_real)
        return {position + theirs - ours: position for position in range(lowest, ours)}

    def _needs_donor(self) -> Donor:
        if self.donor is None:
            raise UsageError("patch and inject take from the run of another prompt; type one")
        return self.donor

    def _place(self, node: int) -> tuple[int, int, int]:
        table = self.graph.nodes
        return int(table.layer[node]), int(table.position[node]), int(table.feature[node])


def check_value(one: LabEdit) -> None:
    """UsageError for a value that is missing, not wanted, or out of range."""
    if one.op in ("scale", "set") and one.value is None:
        raise UsageError(f"{one.op} needs a number; give one")
    if one.op == "ablate" and one.value is not None:
        raise UsageError("ablate takes no number; leave it empty")
    if one.op in ("scale", "inject", "patch") and one.value is not None and abs(one.value) > LARGEST_FACTOR:
        raise UsageError(
            f"{one.value:g} times is out of range: the lab takes factors from −{LARGEST_FACTOR:g} to "
            f"{LARGEST_FACTOR:g}, "
            "as beyond them what a model says tells nothing of it"
        )


def raw_edits(asked: Sequence[Mapping[str, Any]]) -> tuple[AnyEdit, ...]:
    """Edits as a story keeps them."""
    return tuple(edit_from_json(one) for one in asked)


def edge_value(graph: Graph, source: int, target: int) -> float | None:
    """The value of the edge between two nodes; None where there is none."""
    here = ((graph.targets == target) & (graph.indices == source)).nonzero().flatten()
    return float(graph.values[here[0]]) if len(here) else None


def _nodes(ids: Sequence[str], index: Mapping[str, int]) -> list[int]:
    if not ids:
        raise UsageError("an edit names no node; choose some in the picture")
    if len(ids) > MOST_NODES:
        raise UsageError(f"an edit names {len(ids):,} nodes; the lab changes at most {MOST_NODES:,} at a time")
    lost = [one for one in ids if one not in index]
    if lost:
        raise UsageError(f"there is no node {printable(lost[0], 60)!r} in this graph; load the page again")
    return [index[one] for one in dict.fromkeys(ids)]


def _active_at(run: "RecordedRun", position: int) -> list[tuple[int, int, int]]:
    """(layer, position, feature) of all that is active at a position; of neurons, all of them."""
    if run.basis.is_dense:
        return [
            (layer, position, feature) for layer in range(run.basis.n_layers) for feature in range(run.basis.n_features)
        ]
    active = run.active
    here = (active.position == position).nonzero().flatten()
    layers, features = active.layer[here].tolist(), active.feature[here].tolist()
    return sorted((layer, position, feature) for layer, feature in zip(layers, features, strict=True))

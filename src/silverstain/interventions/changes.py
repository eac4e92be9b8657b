"""Edits of every kind resolved against a batch of prompts: what is changed in which row, layer and position."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.interventions.edits import AnyEdit, DirectionEdit, Edit, PatternEdit, VectorEdit
from silverstain.interventions.positions import resolved
from silverstain.models import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Everything that is changed in a batch, sorted by (layer, row, position, feature)."""

    row: Int[Tensor, " site"]
    layer: Int[Tensor, " site"]
    position: Int[Tensor, " site"]
    feature: Int[Tensor, " site"]
    factor: Float[Tensor, " site"]
    constant: Float[Tensor, " site"]

    def __len__(self) -> int:
        return self.row.numel()

    def at_layer(self, layer: int) -> "Sites":
        """The sites whose features read the stream at `layer`."""
        first, last = torch.searchsorted(
            self.layer, torch.tensor([layer, layer + 1], device=self.layer.device)
        ).tolist()
        return Sites(**{name: getattr(self, name)[first:last] for name in self.__dataclass_fields__})

    def change(self, activation: Float[Tensor, " site"]) -> Float[Tensor, " site"]:
        """new − activation."""
        return (self.factor - 1) * activation + self.constant


@dataclass(frozen=True, kw_only=True)
class VectorChange:
    """What one error or token node writes: factor · its clean vector, and another vector."""

    row: int
    position: int
    factor: float
    vector: tuple[float, ...] | None = None

    def delta(self, own: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
        """What is added to the stream, given the clean vector, which does not matter where the factor is 1."""
        change = (self.factor - 1) * own
        return change if self.vector is None else change + torch.tensor(self.vector, dtype=own.dtype, device=own.device)


@dataclass(frozen=True, kw_only=True)
class DirectionChange:
    """The component along a direction at some positions of a row."""

    row: int
    positions: tuple[int, ...]
    unit: tuple[float, ...]
    factor: float
    constant: float


@dataclass(frozen=True, kw_only=True)
class PatternChange:
    """Entries of one head's pattern at one position of a row."""

    row: int
    head: int
    position: int
    keys: tuple[int, ...]
    factor: float
    constant: tuple[float, ...]
    """One a key."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """All that is changed in a batch: features, and by layer vectors, directions and attention patterns."""

    sites: Sites
    """Features."""
    tokens: tuple[VectorChange, ...] = ()
    errors: Mapping[int, tuple[VectorChange, ...]] = field(default_factory=dict)
    directions: Mapping[int, tuple[DirectionChange, ...]] = field(default_factory=dict)
    patterns: Mapping[int, tuple[PatternChange, ...]] = field(default_factory=dict)
    offset: int = 0
    """Tokens that come before those of the pass, in a cache."""

    def first_places(self, n_rows: int, *, n_layers: int, n_positions: int) -> list[tuple[int, int]]:
        """For each row the first block and the first position that do not run as they do without the changes.

        Rows without changes have the last of both.
        """
        layers, positions = [n_layers - 1] * n_rows, [n_positions - 1] * n_rows

        def meet(row: int, layer: int, position: int) -> None:
            layers[row], positions[row] = min(layers[row], layer), min(positions[row], position)

        for site in zip(self.sites.row.tolist(), self.sites.layer.tolist(), self.sites.position.tolist(), strict=True):
            meet(*site)
        for layer, found in ((0, self.tokens), *self.errors.items()):
            for change in found:  # clean errors are found on the way up
                meet(change.row, layer if change.factor == 1 else 0, change.position)
        for layer, entries in self.patterns.items():
            for entry in entries:
                meet(entry.row, layer, entry.position)
        for layer, directions in self.directions.items():
            for direction in directions:
                meet(direction.row, layer, min(direction.positions))
        return list(zip(layers, positions, strict=True))

    def from_position(self, first: int) -> "Changes":
        """What falls on positions from `first` on, counted from there: of a pass that continues from a cache.

        Keys of patterns stay counted from the start: the cache holds them.
        """
        s = self.sites
        late = s.position >= first
        sites = Sites(**{name: getattr(s, name)[late] for name in s.__dataclass_fields__})

        def vectors(found: Sequence[VectorChange]) -> tuple[VectorChange, ...]:
            return tuple(replace(c, position=c.position - first) for c in found if c.position >= first)

        def directions(found: Sequence[DirectionChange]) -> tuple[DirectionChange, ...]:
            return tuple(replace(c, positions=tuple(p - first for p in c.positions if p >= first)) for c in found)

        def patterns(found: Sequence[PatternChange]) -> tuple[PatternChange, ...]:
            return tuple(replace(c, position=c.position - first) for c in found if c.position >= first)

        return Changes(
            sites=replace(sites, position=sites.position - first),
            tokens=vectors(self.tokens),
            errors={layer: vectors(found) for layer, found in self.errors.items()},
            directions={layer: directions(found) for layer, found in self.directions.items()},
            patterns={layer: patterns(found) for layer, found in self.patterns.items()},
            offset=first,
        )


def resolve_changes(
    edits: Sequence[Sequence[AnyEdit]],
    lengths: Sequence[int],
    *,
    model: LanguageModel,
    basis: Basis,
    dtype: torch.dtype,
) -> Changes:
    """Lay out the edits of each row, whose prompt has lengths[row] tokens.

    UsageError for a place that does not exist and for two edits that change the same thing.
    """
    n_real = basis.n_real(model)
    of_features = [[edit for edit in listed if isinstance(edit, Edit)] for listed in edits]
    sites = _resolved_features(
        of_features, lengths, n_layers=model.n_layers, n_features=basis.n_features, n_real=n_real,
        device=model.device, dtype=dtype,
    )  # fmt: skip
    tokens: list[VectorChange] = []
    errors: dict[int, list[VectorChange]] = {}
    directions: dict[int, list[DirectionChange]] = {}
    patterns: dict[int, list[PatternChange]] = {}
    for row, (listed, length) in enumerate(zip(edits, lengths, strict=True)):
        once = _once()
        for edit in listed:
            if isinstance(edit, VectorEdit):
                into = tokens if edit.layer is None else errors.setdefault(edit.layer, [])
                into.extend(_vector_changes(edit, row, length, model, basis, once))
            elif isinstance(edit, DirectionEdit):
                directions.setdefault(edit.layer, []).append(_direction_change(edit, row, length, model, once))
            elif isinstance(edit, PatternEdit):
                for layer, head in edit.heads:
                    found = _pattern_changes(edit, (layer, head), row, length, model, once)
                    patterns.setdefault(layer, []).extend(found)
    return Changes(
        sites=sites,
        tokens=tuple(tokens),
        errors={layer: tuple(found) for layer, found in errors.items()},
        directions={layer: tuple(found) for layer, found in directions.items()},
        patterns={layer: tuple(found) for layer, found in patterns.items()},
    )


def _once() -> Callable[[Hashable, str, AnyEdit], None]:
    """A check that nothing is changed twice in a row."""
    seen: dict[Hashable, AnyEdit] = {}

    def check(what: Hashable, name: str, edit: AnyEdit) -> None:
        if what in seen:
            raise UsageError(f"Two edits change {name}: {seen[what]} and {edit}; keep one of them.")
        seen[what] = edit

    return check


def _vector_changes(
    edit: VectorEdit,
    row: int,
    length: int,
    model: LanguageModel,
    basis: Basis,
    once: Callable[[Hashable, str, AnyEdit], None],
) -> list[VectorChange]:
    is_error = edit.layer is not None
    if is_error:
        _check_layer(edit.layer, edit, model)
        if basis.is_dense and edit.factor != 1:
            raise UsageError(
                f"{edit} changes an error, and the {basis.name} of {model.name} leave none: the rest of a layer and "
                "position is neurons too; name those, or add a vector"
            )
    if edit.donor is not None and len(edit.donor) != model.d_model:
        raise UsageError(
            f"The donor of {edit} has {len(edit.donor)} numbers, but {model.name} has vectors of {model.d_model}; "
            "take it from a run of this model."
        )
    positions = resolved(edit.positions, length, first=basis.n_real(model) if is_error else 0, edit=edit)
    for position in positions:
        what = "the token" if edit.layer is None else f"the error of layer {edit.layer}"
        once((edit.layer, position), f"{what} at position {position}", edit)
    return [VectorChange(row=row, position=p, factor=edit.factor, vector=edit.donor) for p in positions]


def _direction_change(
    edit: DirectionEdit, row: int, length: int, model: LanguageModel, once: Callable[[Hashable, str, AnyEdit], None]
) -> DirectionChange:
    _check_layer(edit.layer, edit, model)
    if len(edit.direction) != model.d_model:
        raise UsageError(
            f"The direction of {edit} has {len(edit.direction)} numbers, but {model.name} has vectors of "
            f"{model.d_model}; give one of its stream."
        )
    positions = resolved(edit.positions, length, first=0, edit=edit)
    for position in positions:
        once((edit.layer, position, edit.direction), f"{edit.name} of layer {edit.layer} at position {position}", edit)
    norm = sum(x * x for x in edit.direction) ** 0.5
    factor, constant = edit.rule
    unit = tuple(x / norm for x in edit.direction)
    return DirectionChange(row=row, positions=tuple(positions), unit=unit, factor=factor, constant=constant)


def _pattern_changes(
    edit: PatternEdit,
    at: tuple[int, int],
    row: int,
    length: int,
    model: LanguageModel,
    once: Callable[[Hashable, str, AnyEdit], None],
) -> list[PatternChange]:
    layer, head = at
    _check_layer(layer, edit, model)
    if head >= model.n_heads:
        raise UsageError(
            f"The edit {edit} names L{layer}.H{head}, but {model.name} has heads 0 to {model.n_heads - 1}."
        )
    found = []
    for position in resolved(edit.positions, length, first=0, edit=edit):
        keys = tuple(range(position + 1)) if edit.keys is None else edit.keys
        if max(keys) > position:
            raise UsageError(
                f"The edit {edit} lets position {position} attend to {max(keys)}, which comes later; give keys up to "
                f"{position}."
            )
        for key in keys:
            once((layer, head, position, key), f"L{layer}.H{head} at position {position}, key {key}", edit)
        found.append(_entries(edit, row, head, position, keys))
    return found


def _entries(edit: PatternEdit, row: int, head: int, position: int, keys: tuple[int, ...]) -> PatternChange:
    if edit.donor is None:
        factor, constant = edit.rule
        values = (constant,) * len(keys)
    elif len(edit.donor) > len(keys):
        raise UsageError(
            f"The edit {edit} gives weights for {len(edit.donor)} keys, but position {position} sees only {len(keys)}; "
            "patch a later position."
        )
    else:
        factor, values = 0.0, (*edit.donor, *(0.0,) * (len(keys) - len(edit.donor)))
    return PatternChange(row=row, head=head, position=position, keys=keys, factor=factor, constant=values)


def _check_layer(layer: int | None, edit: AnyEdit, model: LanguageModel) -> None:
    if layer is None or not 0 <= layer < model.n_layers:
        raise UsageError(f"The edit {edit} is in layer {layer}, but {model.name} has layers 0 to {model.n_layers - 1}.")


def _resolved_features(
    edits: Sequence[Sequence[Edit]],
    lengths: Sequence[int],
    *,
    n_layers: int,
    n_features: int,
    n_real: int,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Sites:
    """Lay out the edits of each row, whose prompt has lengths[row] tokens.

    UsageError for a layer, feature or position that does not exist, for one of the `n_real` leading positions, which
    keep their real MLP and so have no features, and for two edits of one feature at one position.
    """
    rules: dict[tuple[int, int, int, int], tuple[float, float]] = {}
    named_by: dict[tuple[int, int, int, int], Edit] = {}
    for row, (edits_of_row, length) in enumerate(zip(edits, lengths, strict=True)):
        for edit in edits_of_row:
            positions = resolved(edit.positions, length, first=n_real, edit=edit)
            for layer, feature, factor, constant in edit.rules():
                if layer >= n_layers or feature >= n_features:
                    raise UsageError(
                        f"The edit {edit} names L{layer}.F{feature}, but this dictionary has {n_layers} layers of "
                        f"{n_features} features; name one of those."
                    )
                for position in positions:
                    site = (layer, row, position, feature)
                    if site in rules:
                        raise UsageError(
                            f"Two edits change L{layer}.F{feature} at position {position}: {named_by[site]} and "
                            f"{edit}; keep one of them."
                        )
                    rules[site], named_by[site] = (factor, constant), edit
    keys = sorted(rules)
    columns = torch.tensor(keys, dtype=torch.long, device=device).reshape(-1, 4)
    values = torch.tensor([rules[key] for key in keys], dtype=dtype, device=device).reshape(-1, 2)
    return Sites(
        layer=columns[:, 0].contiguous(),
        row=columns[:, 1],
        position=columns[:, 2],
        feature=columns[:, 3],
        factor=values[:, 0],
        constant=values[:, 1],
    )

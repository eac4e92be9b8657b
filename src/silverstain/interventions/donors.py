"""What another prompt's run has to give: activations, errors, embeddings, attention patterns to patch in.

donor = Donor(model, dictionary, "the capital of the state containing oakland is")
edits = donor.patch([(1, 5, 23)])                   # each feature as it fires there, at the same position
edits = donor.inject([(1, 5, 23)], strength=2.0)    # twice that, on top
"""

from collections.abc import Mapping, Sequence

from silverstain.attribution import Place, record_run
from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.interventions.edits import Edit, PatternEdit, VectorEdit
from silverstain.models import LanguageModel, Prompt, as_ids


class Donor:
    """One recorded run of another prompt."""

    def __init__(self, model: LanguageModel, basis: Basis, prompt: Prompt) -> None:
        self.run = record_run(model, basis, as_ids(model, prompt))

    def patch(
        self, places: Sequence[Place], *, to: Mapping[int, int] | None = None, strength: float = 1.0
    ) -> tuple[Edit, ...]:
        """Each (layer, position, feature) set to strength × its activation here; `to` moves donor positions."""
        return self._given("patch", places, to, strength)

    def inject(
        self, places: Sequence[Place], *, to: Mapping[int, int] | None = None, strength: float = 1.0
    ) -> tuple[Edit, ...]:
        """Each (layer, position, feature) raised by strength × its activation here."""
        return self._given("add", places, to, strength)

    def patch_error(self, layer: int, position: int, *, to: int | None = None) -> VectorEdit:
        """The error node of (layer, to) writes what this run's error node of (layer, position) writes."""
        self._check(layer, position, lowest=self.run.n_real)
        vector = tuple(self.run.errors[layer, position].tolist())
        return VectorEdit(op="patch", layer=layer, positions=(position if to is None else to,), donor=vector)

    def patch_token(self, position: int, *, to: int | None = None) -> VectorEdit:
        """The embedding at `to` is this run's at `position`."""
        self._check(0, position)
        vector = tuple(self.run.recording.embedding[position].tolist())
        return VectorEdit(op="patch", positions=(position if to is None else to,), donor=vector)

    def patch_pattern(self, layer: int, head: int, position: int, *, to: int | None = None) -> PatternEdit:
        """The head attends at `to` as it does in this run at `position`."""
        self._check(layer, position)
        model = self.run.model
        if not 0 <= head < model.n_heads:
            raise UsageError(f"There is no head {head}; {model.name} has heads 0 to {model.n_heads - 1}.")
        row = tuple(self.run.recording.patterns[layer, head, position, : position + 1].tolist())
        at = position if to is None else to
        return PatternEdit(op="patch", heads=((layer, head),), positions=(at,), donor=row)

    def activations(self, places: Sequence[Place]) -> list[float]:
        """The activation of each (layer, position, feature)."""
        basis = self.run.basis
        for layer, position, feature in places:
            self._check(layer, position)
            if not 0 <= feature < basis.n_features:
                raise UsageError(f"There is no L{layer}.F{feature}; features go up to {basis.n_features - 1}.")
        return self.run.activations(places).tolist()

    def _given(
        self, op: str, places: Sequence[Place], to: Mapping[int, int] | None, strength: float
    ) -> tuple[Edit, ...]:
        if not places:
            raise UsageError("There is nothing to take from the donor; name (layer, position, feature) places.")
        lost = sorted({position for _, position, _ in places} - set(to)) if to is not None else []
        if lost:
            raise UsageError(f"What the donor has at positions {lost} has nowhere to go; say where each goes.")
        at: dict[int, dict[tuple[int, int], float]] = {}
        for (layer, position, feature), activation in zip(places, self.activations(places), strict=True):
            where = position if to is None else to[position]
            at.setdefault(where, {})[layer, feature] = strength * activation
        return tuple(
            Edit(op="add", features=tuple(found), positions=(where,), value=next(iter(found.values())))
            if op == "add" and len(found) == 1
            else Edit(op=op, features=tuple(found), positions=(where,), donor=tuple(found.values()))
            for where, found in sorted(at.items())
        )

    def _check(self, layer: int, position: int, *, lowest: int = 0) -> None:
        model, n = self.run.model, self.run.n_positions
        if not 0 <= layer < model.n_layers:
            raise UsageError(f"There is no layer {layer} in {model.name}; give one below {model.n_layers}.")
        if not lowest <= position < n:
            raise UsageError(f"The donor has nothing at position {position}; give one from {lowest} to {n - 1}.")

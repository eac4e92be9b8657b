"""What another prompt's run has to give: activations, errors, embeddings, attention patterns to patch in.

donor = Donor(model, dictionary, "the capital of the state containing oakland is")
edits = donor.patch([(1, 5, 23)])                   # each feature as it fires there, at the same position
edits = donor.inject([(1, 5, 23)], strength=2.0)    # twice that, on top
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.edits import Edit, Place
from silverstain.interventions.intervene import Prompt, as_ids
from silverstain.interventions.other_edits import PatternEdit, VectorEdit
from silverstain.models import LanguageModel, record


class Donor:
    """One recorded run of another prompt."""

    def __init__(self, model: LanguageModel, dictionary: Dictionary, prompt: Prompt) -> None:
        self.model, self.dictionary = model, dictionary
        self.recording = record(model, as_ids(model, prompt), reads_at=dictionary.reads_at)

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
        self._check(layer, position, lowest=self.model.n_real)
        vector = tuple(self._errors[layer, position].tolist())
        return VectorEdit(op="patch", layer=layer, positions=(position if to is None else to,), donor=vector)

    def patch_token(self, position: int, *, to: int | None = None) -> VectorEdit:
        """The embedding at `to` is this run's at `position`."""
        self._check(0, position)
        vector = tuple(self.recording.embedding[position].tolist())
        return VectorEdit(op="patch", positions=(position if to is None else to,), donor=vector)

    def patch_pattern(self, layer: int, head: int, position: int, *, to: int | None = None) -> PatternEdit:
        """The head attends at `to` as it does in this run at `position`."""
        self._check(layer, position)
        if not 0 <= head < self.model.n_heads:
            raise UsageError(f"There is no head {head}; {self.model.name} has heads 0 to {self.model.n_heads - 1}.")
        row = tuple(self.recording.patterns[layer, head, position, : position + 1].tolist())
        at = position if to is None else to
        return PatternEdit(op="patch", heads=((layer, head),), positions=(at,), donor=row)

    def activation(self, place: Place) -> float:
        """The activation of (layer, position, feature)."""
        layer, position, feature = place
        self._check(layer, position, lowest=self.model.n_real)
        if not 0 <= feature < self.dictionary.n_features:
            raise UsageError(f"There is no L{layer}.F{feature}; features go up to {self.dictionary.n_features - 1}.")
        x = self.recording.mlp_inputs[layer, position].to(self.dictionary.dtype)
        return float(self.dictionary.encode_layer(layer, x)[feature])

    def _given(
        self, op: str, places: Sequence[Place], to: Mapping[int, int] | None, strength: float
    ) -> tuple[Edit, ...]:
        if not places:
            raise UsageError("There is nothing to take from the donor; name (layer, position, feature) places.")
        at: dict[int, dict[tuple[int, int], float]] = {}
        for layer, position, feature in places:
            where = position if to is None else to.get(position)
            if where is None:
                raise UsageError(f"The donor's position {position} has nowhere to go; add it to `to`.")
            at.setdefault(where, {})[layer, feature] = strength * self.activation((layer, position, feature))
        return tuple(
            Edit(op="add", features=tuple(found), positions=(where,), value=next(iter(found.values())))
            if op == "add" and len(found) == 1
            else Edit(op=op, features=tuple(found), positions=(where,), donor=tuple(found.values()))
            for where, found in sorted(at.items())
        )

    @cached_property
    def _errors(self) -> Float[Tensor, "layer pos d_model"]:
        inputs, n_real = self.recording.mlp_inputs, self.model.n_real
        return self.recording.mlp_outputs - self.dictionary.reconstruct(
            self.dictionary.encode(inputs, n_real=n_real), inputs
        ).to(self.recording.mlp_outputs)

    def _check(self, layer: int, position: int, *, lowest: int = 0) -> None:
        n = self.recording.n_positions
        if not 0 <= layer < self.model.n_layers:
            raise UsageError(f"There is no layer {layer} in {self.model.name}; give one below {self.model.n_layers}.")
        if not lowest <= position < n:
            raise UsageError(f"The donor has nothing at position {position}; give one from {lowest} to {n - 1}.")

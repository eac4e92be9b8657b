"""One prompt as the model ran it, in a basis: what tracing, verification and interventions all start from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution.flow import FrozenFlow
from silverstain.attribution.freezing import Norms, freeze
from silverstain.bases import ActiveUnits, Basis, check_fits
from silverstain.brief import brief
from silverstain.models import LanguageModel, Recording, record

Place = tuple[int, int, int]
"""(layer, position, feature): one feature at one token."""


@brief
@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class RecordedRun:
    """A model, a basis, one recorded run, and what follows from it: active units, and the frozen flow."""

    model: LanguageModel
    basis: Basis
    """Computing on the model's device and in its type."""
    recording: Recording
    _flows: dict[tuple[Norms, torch.dtype | None], FrozenFlow] = field(default_factory=dict, repr=False)

    @property
    def n_real(self) -> int:
        """Leading positions that keep their real MLP, and so have no units."""
        return min(self.model.n_real, self.recording.n_positions)

    @property
    def n_positions(self) -> int:
        return self.recording.n_positions

    @cached_property
    def active(self) -> ActiveUnits:
        """Every active unit."""
        return self.basis.encode(self.recording.mlp_inputs, n_real=self.n_real)

    @cached_property
    def errors(self) -> Float[Tensor, "layer pos d_model"]:
        """What the basis misses of each MLP's output."""
        return self.errors_beside(self.active)

    def errors_beside(self, active: ActiveUnits) -> Float[Tensor, "layer pos d_model"]:
        """What some active units, the decoder's biases and a skip leave of the MLP outputs; 0 where the real MLP is
        kept."""
        outputs = self.recording.mlp_outputs
        errors = outputs - self.basis.reconstruct(active, self.recording.mlp_inputs).to(outputs)
        errors[:, : self.n_real] = 0
        return errors

    def flow(self, *, norms: Norms = "frozen", products: torch.dtype | None = None) -> FrozenFlow:
        """The affine map of this run, made once for each way of treating norms; see `freeze`."""
        if (norms, products) not in self._flows:
            flow = freeze(self.model, self.recording, self.basis, norms=norms, products=products)
            self._flows[norms, products] = flow
        return self._flows[norms, products]

    def activations(self, places: Sequence[Place]) -> Float[Tensor, " place"]:
        """The activation at each (layer, position, feature); 0 where the real MLP is kept."""
        columns = torch.tensor(places, dtype=torch.long, device=self.model.device).reshape(-1, 3)
        layers, positions, features = columns.unbind(1)
        found = self.recording.final.new_zeros(len(places))
        for layer in layers.unique().tolist():
            here, x = layers == layer, self.recording.mlp_inputs[layer][None]
            first = torch.zeros_like(features[here])
            found[here] = self.basis.activations_at(layer, x, first, positions[here], features[here]).to(found)
        return found * (positions >= self.n_real)


def record_run(model: LanguageModel, basis: Basis, token_ids: Sequence[int] | Tensor) -> RecordedRun:
    """Run a prompt once; UsageError for a basis of another model, or a prompt that the model cannot read."""
    check_fits(basis, model)
    recording = record(model, token_ids, reads_at=basis.reads_at)
    return RecordedRun(model=model, basis=basis.to(device=model.device, dtype=model.dtype), recording=recording)

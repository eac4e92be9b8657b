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
        return min(self.basis.n_real(self.model), self.recording.n_positions)

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

    def errors_beside(self, active: ActiveUnits, norms: Norms = "frozen") -> Float[Tensor, "layer pos d_model"]:
        """What some active units, the decoder's biases and a skip leave of the MLP outputs; 0 where the real MLP is
        kept. `norms` is how a norm behind an MLP is passed, where units write before it."""
        outputs, flow = self.recording.mlp_outputs, self.flow(norms=norms)
        written = self.basis.reconstruct(active, self.recording.mlp_inputs).to(outputs)
        behind = [flow.write_norm(layer) for layer in range(self.basis.n_layers)]
        written = torch.stack(
            [out if norm is None else norm.affine(out) for norm, out in zip(behind, written, strict=True)]
        )
        errors = outputs - written
        errors[:, : self.n_real] = 0
        return errors

    def units(self, places: Sequence[Place]) -> ActiveUnits:
        """The named units of the run that are not 0."""
        ordered = sorted(places)
        activation = self.activations(ordered)
        columns = torch.tensor(ordered, dtype=torch.long, device=activation.device).reshape(-1, 3)
        layer, position, feature = columns[activation != 0].T.contiguous()
        return ActiveUnits(
            layer=layer,
            position=position,
            feature=feature,
            activation=activation[activation != 0],
            n_layers=self.basis.n_layers,
            n_positions=self.n_positions,
        )

    def flow(self, *, norms: Norms = "frozen", products: torch.dtype | None = None) -> FrozenFlow:
        """The affine map of this run, made once for each way of treating norms; see `freeze`."""
        if (norms, products) not in self._flows:
            flow = freeze(self.model, self.recording, self.basis, norms=norms, products=products)
            self._flows[norms, products] = flow
        return self._flows[norms, products]

    def logits_at(self, position: int) -> Float[Tensor, " d_vocab"]:
        """What the model says after a token."""
        return self.recording.logits[position]

    def read_at(self, layer: int, position: int) -> Float[Tensor, " d_model"]:
        """What the basis reads there."""
        return self.recording.mlp_inputs[layer, position]

    def activation_at(self, layer: int, position: int, feature: int) -> float:
        """Of one unit."""
        return float(self.activations([(layer, position, feature)])[0])

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

"""What a model is read in: the contract that tracing, verification, interventions and cards know.

A basis stands for the MLPs of a model: units that read the input of their layer's MLP, have an activation, and write
to the MLP output of their own layer and perhaps of later ones. What units do not explain of an MLP's output is the
error of that layer and position. A dictionary is a basis; neurons and attention units are others.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases.active_units import ActiveUnits
from silverstain.bases.sites import WRITES_AT
from silverstain.bases.storage import DecoderFunction
from silverstain.errors import UsageError
from silverstain.models import LanguageModel


class Readers(NamedTuple):
    """How some units read their layer's input: pre-activation = vector · input + constant."""

    vectors: Float[Tensor, "unit d_model"]
    constants: Float[Tensor, " unit"]


class Basis(ABC):
    """Units of every layer. Subclasses hold the weights; what follows from them is here, once."""

    name: str
    n_layers: int
    n_features: int
    """Units of a layer."""
    d_model: int
    device: torch.device
    dtype: torch.dtype
    """What is computed with."""

    @property
    @abstractmethod
    def hash(self) -> str: ...

    @property
    def is_linear(self) -> bool:
        """Whether what is activated is linear in the layer's input, whatever the run."""
        return True

    @property
    @abstractmethod
    def reads_at(self) -> str:
        """Where in a block units read: see `sites`."""

    @property
    def writes_at(self) -> str:
        """Where in a block units write: to what is added to the stream, or, before the norm that some architectures
        have behind it, to the MLP's own output (see `sites`)."""
        return WRITES_AT

    @property
    def is_dense(self) -> bool:
        """Whether about every unit is active at every token, so that units are chosen before edges are found."""
        return False

    def n_real(self, model: LanguageModel) -> int:
        """Leading positions that keep their real MLP, and so have no units."""
        return model.n_real

    @property
    @abstractmethod
    def competes(self) -> bool:
        """Whether a unit's activation depends on the other units of its layer and token, as in TopK: all of them must
        then be known to know one."""

    @abstractmethod
    def to(self, *, device: Any = None, dtype: torch.dtype | None = None) -> "Basis":
        """The same basis, computing elsewhere or in another type."""

    @abstractmethod
    def readers(self, layer: int, features: Int[Tensor, " k"], inputs: Float[Tensor, "k d_model"]) -> Readers:
        """How each of some units reads in a recorded run, whose input of the layer at the unit's position is given."""

    @abstractmethod
    def pre_activations(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feature"]:
        """Of all units of a layer."""

    @abstractmethod
    def activate(
        self, layer: int, pre_activations: Float[Tensor, "*batch some"], features: Int[Tensor, " some"] | None = None
    ) -> Float[Tensor, "*batch some"]:
        """Activations from pre-activations: of all units of a layer, or of the named ones where units do not compete.

        The one place where thresholds, TopK and signs are applied. Differentiable but for the choice of which units
        are active.
        """

    @abstractmethod
    def thresholds_in(
        self, layer: int, pre_activations: Float[Tensor, "*batch feature"]
    ) -> Float[Tensor, "*batch feature"]:
        """What each unit's pre-activation would have to exceed for the unit to be active, the others staying as they
        are."""

    @abstractmethod
    def targets(self, layer: int) -> range:
        """The layers whose MLP output the units of `layer` write to."""

    @abstractmethod
    def decoder_rows(self, layer: int, features: Int[Tensor, " k"]) -> Float[Tensor, "k target d_model"]:
        """What each of some units writes, at unit activation, to each of `targets(layer)`."""

    @abstractmethod
    def W_skip(self, layer: int) -> Float[Tensor, "d_out d_in"] | None:
        """A linear skip from the layer's input to its output, applied as x @ W_skip.T; None where there is none."""

    @property
    @abstractmethod
    def b_dec(self) -> Float[Tensor, "layer d_model"]:
        """What is written to each layer without any unit, beside a skip."""

    @abstractmethod
    def with_decoder(self, rows: DecoderFunction) -> "Basis":
        """A variant whose units write other rows: `rows(layer, features, own)` gives them, their own being given."""

    @abstractmethod
    def reordered(self, sources: Mapping[int, Tensor]) -> "Basis":
        """A variant in which unit f of a layer writes the rows of unit `sources[layer][f]`."""

    @abstractmethod
    def decode_layer(
        self, layer: int, activations: Float[Tensor, "*batch feature"]
    ) -> Float[Tensor, "*batch target d_model"]:
        """What dense activations of `layer` write to each of `targets(layer)`, without biases."""

    @property
    def is_cross_layer(self) -> bool:
        """Whether units write beyond their own layer."""
        return any(len(self.targets(layer)) > 1 for layer in range(self.n_layers))

    def encode_layer(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feature"]:
        """Activations of all units of one layer, in the basis' own type."""
        return self.activate(layer, self.pre_activations(layer, self.cast(x)))

    def activations_of(
        self, layer: int, x: Float[Tensor, "*batch d_model"], features: Int[Tensor, " some"]
    ) -> Float[Tensor, "*batch some"]:
        """Activations of some units of one layer."""
        return self.encode_layer(layer, x)[..., features]

    def response(
        self, layer: int, clean: Float[Tensor, "pos d_model"], change: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos feature"]:
        """By how much activations of a recorded run change with the layer's input, the basis taken by its word."""
        return self.encode_layer(layer, clean + change) - self.encode_layer(layer, clean)

    def activations_at(
        self,
        layer: int,
        x: Float[Tensor, "batch pos d_model"],
        rows: Int[Tensor, " unit"],
        positions: Int[Tensor, " unit"],
        features: Int[Tensor, " unit"],
    ) -> Float[Tensor, " unit"]:
        """The activation of each of some units, at a row and position of x; each input is encoded once, as a whole, so
        that nobody finds another activation than a trace does."""
        places, which = torch.unique(torch.stack([rows, positions]), dim=1, return_inverse=True)
        return self.encode_layer(layer, x[places[0], places[1]])[which, features]

    def encode(self, mlp_inputs: Tensor, *, n_real: int = 1) -> ActiveUnits:
        """The active units of one prompt [layer, pos, d_model]; the first `n_real` positions, which keep their real
        MLP, have none."""
        self._check_inputs(mlp_inputs)
        with torch.no_grad():
            layers = [self.encode_layer(i, mlp_inputs[i]) for i in range(self.n_layers)]
            return ActiveUnits.from_dense(layers, n_real=n_real)

    def reconstruct(self, active: ActiveUnits, mlp_inputs: Tensor) -> Tensor:
        """MLP outputs [layer, pos, d_model] as the basis gives them: units, b_dec and skip, everywhere.

        At positions without active units this is b_dec and skip alone; the caller keeps the real MLP there.
        """
        self._check_inputs(mlp_inputs)
        with torch.no_grad():
            x = self.cast(mlp_inputs)
            out = self.b_dec[:, None, :].repeat(1, x.shape[1], 1)
            for layer in range(self.n_layers):
                skip = self.W_skip(layer)
                if skip is not None:
                    out[layer] += x[layer] @ skip.T
                self._add_writes_(out, active, layer)
            return out

    def cast(self, tensor: Tensor) -> Tensor:
        """On the device and in the type that the basis computes with."""
        return tensor.to(device=self.device, dtype=self.dtype)

    def _add_writes_(self, out: Float[Tensor, "layer pos d_model"], active: ActiveUnits, layer: int) -> None:
        """Add to `out` what the active units of one layer write, each decoder row read once."""
        here = active.of_layer(layer)
        features, row = torch.unique(active.feature[here], return_inverse=True)
        # one product a layer: positions x units, sparse in truth but small
        amounts = out.new_zeros(out.shape[1], len(features))
        amounts[active.position[here], row] = active.activation[here].to(out.dtype)
        writes = torch.einsum("pf, fjd -> jpd", amounts, self.decoder_rows(layer, features))
        targets = self.targets(layer)
        out[targets.start : targets.stop] += writes

    def _check_inputs(self, mlp_inputs: Tensor) -> None:
        seen = list(mlp_inputs.shape)
        if len(seen) != 3 or seen[0] != self.n_layers or seen[2] != self.d_model:
            raise UsageError(
                f"the dictionary {self.name} reads [{self.n_layers} layers, positions, {self.d_model}], got {seen}; "
                f"record the model it was trained on"
            )

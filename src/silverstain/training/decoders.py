"""What features write: one slab of decoder rows a layer, however many layers a feature reaches.

A decoder is a part of `Weights`: it turns the activations of chosen features into writes to its own and later layers,
says how large each feature's write is, and can be pointed at a token. `Slabs` is that of features; `molt.Transforms`
that of linear transforms. How far features reach is data: `config.n_targets`.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.training.config import TrainingConfig
from silverstain.training.kernels import Active, Kernel, decode


@runtime_checkable
class Decoder(Protocol):
    """What `Weights` needs of its decoder."""

    def norms(self, layer: int) -> Float[Tensor, " feature"]:
        """The size of what each feature writes at unit activation, all targets together; differentiable."""
        ...

    def write(self, layer: int, x: Tensor, values: Tensor, active: Active, kernel: Kernel) -> Tensor:
        """What the active features of `layer` write for scaled inputs x [row, d_model]: [row, target, d_model]."""
        ...

    def write_tangent(
        self, layer: int, x: Tensor, dx: Tensor, values: Tensor, dvalues: Tensor, active: Active, kernel: Kernel
    ) -> Tensor:
        """How `write` changes when x and the activations do."""
        ...

    def point_(self, layer: int, features: Tensor, x: Tensor, writes: Tensor) -> None:
        """Make features at unit activation write `writes` [feature, targets · d_model] for x [feature, d_model]."""
        ...

    def amount(self, activation: Tensor, along: Tensor) -> Tensor:
        """How many times its `writes` a pointed feature writes, for its activation and for inputs that are `along`
        times the x it was pointed with, in that direction."""
        ...

    def rows_of(self, layer: int, features: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """The parameters that belong to these features, and which of their rows."""
        ...


class Slabs(nn.Module):
    """A slab [feature, targets · d_model] a layer: all that a feature writes is one contiguous row."""

    def __init__(self, *, n_layers: int, d_model: int, n_features: int, config: TrainingConfig) -> None:
        super().__init__()
        self.d_model = d_model
        self.n_targets = [config.n_targets(layer, n_layers) for layer in range(n_layers)]
        self.learns = config.decoder == "learned"
        self.slab = nn.ParameterList(torch.zeros(n_features, n * d_model) for n in self.n_targets)
        self.slab.requires_grad_(self.learns)

    def norms(self, layer: int) -> Float[Tensor, " feature"]:
        return self.slab[layer].norm(dim=1)

    def write(
        self, layer: int, x: Float[Tensor, "row d_model"], values: Float[Tensor, " active"], active: Active,
        kernel: Kernel = "sparse",
    ) -> Float[Tensor, "row target d_model"]:  # fmt: skip
        written = decode(values, active, self.slab[layer], kernel)
        return written.view(x.shape[0], self.n_targets[layer], self.d_model)

    def write_tangent(
        self, layer: int, x: Tensor, dx: Tensor, values: Tensor, dvalues: Tensor, active: Active,
        kernel: Kernel = "sparse",
    ) -> Float[Tensor, "row target d_model"]:  # fmt: skip
        return self.write(layer, x, dvalues, active, kernel)

    def point_(self, layer: int, features: Int[Tensor, " chosen"], x: Tensor, writes: Tensor) -> None:
        if self.learns:
            self.slab[layer][features] = writes

    def amount(self, activation: Tensor, along: Tensor) -> Tensor:
        return activation

    def draw_(self, layer: int, writes: Float[Tensor, "feature written"]) -> None:
        """Set what a layer's features write for good, where it is not learned."""
        self.slab[layer].copy_(writes)

    def rows_of(self, layer: int, features: Int[Tensor, " chosen"]) -> list[tuple[nn.Parameter, Tensor]]:
        return [(self.slab[layer], features)] if self.learns else []

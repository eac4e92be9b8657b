"""Muon for matrices inside the blocks, AdamW for everything else, as one optimiser.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") moves a matrix along the orthogonal
factor of its momentum, which a Newton–Schulz iteration approximates: every direction of the matrix learns at one rate,
also those whose gradient is small. torch has it from 2.9 on, with the iteration in bfloat16, which processors without
AMX emulate; here it is in the parameters' own type.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOMENTUM = 0.95
ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration x → a x + b x³ + c x⁵, by which singular values in (0, 1] come to lie about 1."""
EPSILON = 1e-7


def orthogonalised(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """About U Vᵀ for the matrix U S Vᵀ: singular values between 0.6 and 1.3."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + EPSILON)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if is_tall else x


class Muon(torch.optim.Optimizer):
    """Steps of parameters: `matrices` by Muon, `others` by AdamW.

    Args:
        matrices: Parameters of two dimensions that Muon moves.
        others: All others.
        lr: AdamW's learning rate; a group's "lr" may be changed between steps.
        ratio: Muon's learning rate in units of that.
        weight_decay: Share of Muon's matrices that a step takes away, in units of their learning rate.
        adamw_decay: The same of other matrices; norms' gains keep their size.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        lr: float,
        ratio: float,
        weight_decay: float,
        adamw_decay: float,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> None:
        outer = list(others)
        groups = [
            {"params": list(matrices), "is_matrix": True, "ratio": ratio, "weight_decay": weight_decay},
            {"params": [p for p in outer if p.ndim > 1], "weight_decay": adamw_decay},
            {"params": [p for p in outer if p.ndim <= 1], "weight_decay": 0.0},
        ]
        defaults = {"lr": lr, "betas": betas, "is_matrix": False, "ratio": 1.0}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        value = None if closure is None else closure()
        for group in self.param_groups:
            lr = group["lr"] * group["ratio"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - lr * group["weight_decay"])
                state = self.state[parameter]
                update = _muon(parameter, state) if group["is_matrix"] else _adam(parameter, state, group["betas"])
                parameter.sub_(update, alpha=lr)
        return value


def _muon(parameter: nn.Parameter, state: dict[str, Tensor]) -> Tensor:
    """Nesterov's momentum, made orthogonal; as large for a tall matrix as its spectral norm asks for."""
    gradient = parameter.grad
    assert gradient is not None
    if not state:
        state["momentum"] = torch.zeros_like(parameter)
    state["momentum"].lerp_(gradient, 1 - MOMENTUM)
    rows, columns = parameter.shape
    return orthogonalised(gradient.lerp(state["momentum"], MOMENTUM)) * max(1.0, rows / columns) ** 0.5


def _adam(parameter: nn.Parameter, state: dict[str, Tensor], betas: tuple[float, float]) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None
    if not state:
        state |= {"step": torch.zeros(()), "first": torch.zeros_like(parameter), "second": torch.zeros_like(parameter)}
    state["step"] += 1
    state["first"].lerp_(gradient, 1 - betas[0])
    state["second"].mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    n = float(state["step"])
    first, second = state["first"] / (1 - betas[0] ** n), state["second"] / (1 - betas[1] ** n)
    return first / (second.sqrt() + 1e-8)

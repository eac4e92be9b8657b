"""Templates of operand plots: how much of a unit's plot over two operands each kind of function explains.

R² of a template is 1 − Σ(plot − fit)² / Σ(plot − mean)², where the fit is the mean over all cells that the template
does not tell apart; a correction for the number of its cells keeps a fine template from fitting noise.
"""

import functools

import torch
from jaxtyping import Float, Int
from torch import Tensor

MODULI = (2, 5, 10, 20, 25, 50)
BAND = 10
"""Width of the bands whose products are one template."""
FIRST = 10
"""The operands count from here."""
TEMPLATES: tuple[str, ...] = ("one operand", "sum", "ones pair", "sum modulo 10", "sum modulo other", "bands")


@functools.cache
def cells(n: int) -> dict[str, tuple[Int[Tensor, " cell"], ...]]:
    """Of each template its variants: which cells of an n × n plot are alike."""
    a, b = (grid.flatten() + FIRST for grid in torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"))
    return {
        "one operand": (a, b),
        "sum": (a + b,),
        "ones pair": (10 * (a % 10) + b % 10,),
        "sum modulo 10": ((a + b) % 10,),
        "sum modulo other": tuple((a + b) % m for m in MODULI if m != 10),
        "bands": (100 * (a // BAND) + b // BAND,),
    }


def r_squared(plot: Float[Tensor, "a b"], alike: Int[Tensor, " cell"]) -> float:
    """The adjusted R² of the means over cells that are alike; 0 for a plot that does not vary."""
    values = plot.double().flatten()
    _, group = alike.unique(return_inverse=True)
    n_groups = int(group.max()) + 1
    counts = torch.bincount(group, minlength=n_groups).double()
    means = torch.zeros(n_groups, dtype=torch.float64).index_add_(0, group, values) / counts
    total = float((values - values.mean()).square().sum())
    if total <= 1e-12:
        return 0.0
    rest = float((values - means[group]).square().sum())
    n = len(values)
    return 1 - (rest / max(n - n_groups, 1)) / (total / (n - 1))


def best_template(plot: Float[Tensor, "a b"]) -> tuple[str, float]:
    """The template that explains most, and its R²."""
    fits = {name: max(r_squared(plot, alike) for alike in variants) for name, variants in cells(plot.shape[0]).items()}
    name = max(fits, key=lambda one: fits[one])
    return name, fits[name]

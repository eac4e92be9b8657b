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
AS_MUCH = 0.005
"""A difference of R² that tells no templates apart."""
TEMPLATES: tuple[str, ...] = (
    "one operand", "sum", "ones pair", "sum modulo 10", "sum modulo other", "bands", "column and carry",
)  # fmt: skip
"""`column and carry` is a function of what the tens add up to and of whether the ones carry, where the two columns are
joined: a column of 8 that gets a carry and one of 9 that gets none have one sum, and need not be one to the unit."""


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
        "column and carry": (10 * (a // 10 + b // 10) + (a % 10 + b % 10) // 10,),
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
    """The template that explains most, and its R². Of templates that explain as much the one with the fewest cells:
    what is a function of the sum modulo 10 is one of the sum, too."""
    fits = {
        name: max((r_squared(plot, alike), -len(alike.unique())) for alike in variants)
        for name, variants in cells(plot.shape[0]).items()
    }
    most = max(r2 for r2, _ in fits.values())
    name = max((one for one in fits if fits[one][0] >= most - AS_MUCH), key=lambda one: fits[one][1])
    return name, fits[name][0]

"""How much of a circuit depends on which prompts were looked at.

A family's circuit is the fewest units that carry `SHARE` of the influence of all units, on average over its prompts
(a unit is a layer, a place from the end and a feature). Prompts are drawn again, with replacement, and the circuit of
each draw is compared with that of all: how many units both have (Jaccard), and in how many of those the sign of what
they do to the answer is the same. Beside it stands what two random sets of that size have in common, k / (2N − k).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs.graph import Graph
from silverstain.graphs.influence import influence
from silverstain.graphs.merging import check_one_basis
from silverstain.graphs.signs import contributions
from silverstain.graphs.transfer import unit_keys

SHARE = 0.8
STABLE, ABOVE_RANDOM = 0.8, 3.0
"""What a circuit must reach to be called stable."""


@brief
@dataclass(frozen=True, kw_only=True)
class Stability:
    """What drawing the prompts again does to the circuit."""

    jaccard: float
    """Mean over the draws."""
    low: float
    """The twentieth part of the draws is below."""
    sign: float
    """Share of the units of both circuits that move the answer the same way."""
    random: float
    """Jaccard index of two random sets of this size."""
    units: int
    of_units: int
    graphs: int
    draws: int

    @property
    def is_stable(self) -> bool:
        return self.jaccard >= STABLE and self.jaccard >= ABOVE_RANDOM * self.random

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"is_stable": self.is_stable}


def stability(graphs: Sequence[Graph], *, draws: int = 100, share: float = SHARE, seed: int = 0) -> Stability:
    """Of the graphs of a family. UsageError for fewer than two, and for graphs of several bases."""
    if len(graphs) < 2:
        raise UsageError(
            f"stability is over the prompts of a family, and there are {len(graphs)}; give two graphs or more"
        )
    check_one_basis(graphs)
    weights, effects = unit_table(graphs)
    whole, whole_signs = circuit_units(weights.mean(0), share), effects.mean(0).sign()
    generator = torch.Generator().manual_seed(seed)
    found, signs = [], []
    for _ in range(draws):
        drawn = torch.randint(len(graphs), (len(graphs),), generator=generator)
        units = circuit_units(weights[drawn].mean(0), share)
        both = units & whole
        found.append(float(both.sum() / (units | whole).sum().clamp(min=1)))
        same = (effects[drawn].mean(0).sign() == whole_signs)[both]
        signs.append(float(same.double().mean()) if len(same) else 1.0)
    k, n = int(whole.sum()), weights.shape[1]
    ranked = sorted(found)
    return Stability(
        jaccard=sum(found) / draws, low=ranked[int(0.05 * (draws - 1))], sign=sum(signs) / draws,
        random=k / (2 * n - k) if n else 0.0, units=k, of_units=n, graphs=len(graphs), draws=draws,
    )  # fmt: skip


def unit_table(graphs: Sequence[Graph]) -> tuple[Float64[Tensor, "graph unit"], Float64[Tensor, "graph unit"]]:
    """Of every unit of any graph its share of the units' influence in each, and what it adds to the answer there."""
    index: dict[tuple[int, ...], int] = {}
    rows = []
    for graph in graphs:
        keys, is_unit = unit_keys(graph), graph.nodes.is_unit
        nodes = is_unit.nonzero().flatten()
        columns = torch.tensor([index.setdefault(keys[node], len(index)) for node in nodes.tolist()], dtype=torch.long)
        reached = influence(graph)[nodes]
        rows.append((columns, reached / reached.sum().clamp_min(1e-300), contributions(graph)[nodes]))
    weights, effects = (torch.zeros(len(graphs), len(index), dtype=torch.float64) for _ in range(2))
    for i, (columns, reached, effect) in enumerate(rows):
        weights[i, columns], effects[i, columns] = reached, effect
    return weights, effects


def circuit_units(weights: Float64[Tensor, " unit"], share: float = SHARE) -> Tensor:
    """The fewest units that carry this share of the weight."""
    order = weights.argsort(descending=True, stable=True)
    reached = weights[order].cumsum(0)
    n = int((reached < share * weights.sum()).sum()) + 1
    chosen = torch.zeros(len(weights), dtype=torch.bool)
    chosen[order[:n]] = True
    return chosen & (weights > 0)

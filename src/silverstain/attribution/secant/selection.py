"""Which units and attention pairs get nodes of their own: those through which most of the change comes."""

from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.secant.flow import Contributions, SecantFlow
from silverstain.brief import brief

MOST_NODES = 500
"""Nodes of units and attention, where no number is named."""


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionPairs:
    """Some changes of patterns: a head of a layer, from a query to a key."""

    layer: Int[Tensor, " pair"]
    query: Int[Tensor, " pair"]
    head: Int[Tensor, " pair"]
    key: Int[Tensor, " pair"]

    def __len__(self) -> int:
        return len(self.layer)


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """The nodes of a contrast graph, and how much they carry."""

    units: tuple[Int[Tensor, " _"], ...]
    """Of each layer, rising indices into its `LayerUnits`."""
    pairs: AttentionPairs
    """Sorted by layer, query, head and key."""
    share: float
    """Σ|contribution| of what was selected, as a share of all."""


def weighted(contributions: Contributions, weights: Float[Tensor, " target"]) -> "tuple[list[Tensor], list[Tensor]]":
    """Signed contributions of units [unit] and pairs [head, query, key] of each layer to all targets together."""
    pairs = [contributions.pairs(layer, weights) for layer in range(len(contributions.attentions))]
    return weighted_units(contributions, weights), pairs


def weighted_units(contributions: Contributions, weights: Float[Tensor, " target"]) -> list[Tensor]:
    """Signed contributions of the units [unit] of each layer to all targets together."""
    return [weights.to(part) @ part for part in contributions.units]


def select(
    flow: SecantFlow,
    contributions: Contributions,
    weights: Float[Tensor, " target"],
    *,
    most: int = MOST_NODES,
    share: float | None = None,
) -> Selection:
    """The units and pairs with the largest |contribution|: at most so many, or as few as carry a share of all."""
    units = weighted_units(contributions, weights)
    layers = range(len(units))
    sizes, places, first, whole = [], [], 0, 0.0
    # one after the other, as all together may be hundreds of millions
    for part in chain(units, (contributions.pairs(layer, weights) for layer in layers)):
        best = part.abs().flatten().topk(min(most, part.numel()))
        sizes.append(best.values)
        places.append(best.indices + first)
        first += part.numel()
        whole += float(part.abs().sum())
    ranked = torch.cat(sizes).sort(descending=True, stable=True)
    ranked_places = torch.cat(places)[ranked.indices]
    count = min(int((ranked.values > 0).sum()), most)
    if share is not None:
        carried_by = ranked.values[:count].double().cumsum(0)
        count = min(count, int((carried_by < share * whole).sum()) + 1) if share > 0 else 0
    chosen = ranked_places[:count].sort().values
    kept_units, first = [], 0
    for part in units:
        here = chosen[(chosen >= first) & (chosen < first + len(part))] - first
        kept_units.append(here)
        first += len(part)
    columns = [[torch.zeros(0, dtype=torch.long)] for _ in range(4)]
    for layer in layers:
        part = flow.attentions[layer].change
        n_queries, n_keys = part.shape[1:]
        here = chosen[(chosen >= first) & (chosen < first + part.numel())] - first
        head, query, key = here // (n_queries * n_keys), here // n_keys % n_queries, here % n_keys
        order = (query * part.shape[0] + head).argsort(stable=True)
        for column, found in zip(columns, (torch.full_like(here, layer), query, head, key), strict=True):
            column.append(found[order].cpu())
        first += part.numel()
    layer, query, head, key = (torch.cat(column) for column in columns)
    carried = float(ranked.values[:count].sum()) / whole if whole else 0.0
    return Selection(
        units=tuple(kept_units), pairs=AttentionPairs(layer=layer, query=query, head=head, key=key), share=carried
    )

"""Supernodes of a variable: for each of its values the units that stand for it, at one place and in some layers.

A dictionary may split a value into finer units, of which one prompt shows a few: each of the six pairs of hidden kinds
that make one cause has units of its own. So a supernode is made over prompts, as a reader of graphs makes it: of the
units that pruning keeps in the graphs of development prompts of a value, the fewest that carry most of what the value's
prompts have above the mean over values, as it is written. Together they are read as naive Bayes reads them, each unit
weighed by its excess over its variance within values (a linear discriminant with a diagonal covariance).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from silverstain.graphs import Graph

from .carriers import Carrier, fewest
from .choosing import Setting
from .means import Means
from .subject import Subject
from .values import Case

LEAST_CASES = 2
"""Prompts of a value, and of the others, that an AUROC needs."""
STEADY = 1e-3
"""Of the largest variance of a layer's units: added to each, so that no unit outweighs all others by never varying."""


class Traced(NamedTuple):
    """A prompt, and what pruning kept of its graph."""

    case: Case
    graph: Graph


@dataclass(frozen=True, kw_only=True)
class Supernodes:
    """The supernode of each value of a variable.

    Attributes:
        weights: By layer, how much each unit counts for each value; 0 of units that are no members.
    """

    setting: Setting
    values: tuple[str, ...]
    weights: Mapping[int, Float[Tensor, "unit value"]]

    def members(self, subject: Subject, traced: Traced, value: str) -> tuple[int, ...]:
        """Nodes of a graph that are kept and belong to a value's supernode."""
        nodes, code = traced.graph.nodes, self.values.index(value)
        kept = kept_at(subject, traced, self.setting).nonzero().flatten().tolist()
        return tuple(i for i in kept if float(self.weights[int(nodes.layer[i])][int(nodes.feature[i]), code]) > 0)

    def separations(
        self, carrier: Carrier, held: Float[Tensor, "layer case d"], labels: Sequence[str]
    ) -> dict[str, float | None]:
        """For each value the AUROC with which its supernode tells prompts of that value from those of others.

        None where either are too few.
        """
        scores = torch.zeros(len(labels), len(self.values), dtype=torch.float64)
        for layer, weight in self.weights.items():
            units = weight.any(1).nonzero().flatten()
            scores += (carrier.components(layer, held[layer])[:, units] @ weight[units]).double()
        found: dict[str, float | None] = {}
        for code, value in enumerate(self.values):
            mine = torch.tensor([label == value for label in labels])
            enough = min(int(mine.sum()), int((~mine).sum())) >= LEAST_CASES
            found[value] = auroc(scores[:, code], mine) if enough else None
        return found


def supernodes(
    subject: Subject, means: Means, setting: Setting, traced: Sequence[Traced], label: Callable[[Case], str]
) -> Supernodes:
    """The supernodes of all values, of graphs of development prompts.

    Args:
        means: At the setting's place, over development prompts.
        label: The value that a prompt counts under.
    """
    first, last = setting.window
    n_units = {layer: means.by_value(layer).shape[1] for layer in range(first, last + 1)}
    kept = {layer: torch.zeros(n, len(means.values), dtype=torch.bool) for layer, n in n_units.items()}
    for one in traced:
        nodes, code = one.graph.nodes, means.values.index(label(one.case))
        for i in kept_at(subject, one, setting).nonzero().flatten().tolist():
            kept[int(nodes.layer[i])][int(nodes.feature[i]), code] = True
    weights = {layer: torch.zeros(n, len(means.values)) for layer, n in n_units.items()}
    excess = {layer: (means.by_value(layer) - means.overall(layer)).clamp_min(0).T for layer in n_units}
    spread = {layer: _variance_within(means, layer) for layer in n_units}
    for code in range(len(means.values)):
        at = [(layer, int(unit)) for layer in n_units for unit in kept[layer][:, code].nonzero().flatten()]
        written = {layer: excess[layer][:, code] * means.carrier.size(layer) for layer in n_units}
        for number in _chosen(torch.tensor([float(written[layer][unit]) for layer, unit in at])):
            layer, unit = at[number]
            weights[layer][unit, code] = excess[layer][unit, code] / spread[layer][unit]
    return Supernodes(setting=setting, values=means.values, weights=weights)


def kept_at(subject: Subject, traced: Traced, setting: Setting) -> Bool[Tensor, " node"]:
    """Which nodes of a graph are units that pruning kept at the setting's place and in its layers."""
    graph, at = traced.graph, subject.position(traced.case, setting.place)
    assert graph.node_mask is not None
    nodes, (first, last) = graph.nodes, setting.window
    here = nodes.is_kind("feature") & graph.node_mask & (nodes.position == at)
    return here & (nodes.layer >= first) & (nodes.layer <= last)


def _chosen(sizes: Float[Tensor, " candidate"]) -> list[int]:
    """The fewest that carry most of the size; one alone, if it has any."""
    if len(sizes) <= 1:
        return [0] if len(sizes) and float(sizes[0]) > 0 else []
    return fewest(sizes).tolist()


def _variance_within(means: Means, layer: int) -> Float[Tensor, " unit"]:
    """The variance of each unit about its value's mean, over all prompts, steadied."""
    held = means.carrier.components(layer, means.inputs[layer])
    spread = (held - means.by_value(layer)[means.labels]).square().mean(0)
    return spread + STEADY * spread.max().clamp_min(torch.finfo(spread.dtype).tiny)


def auroc(scores: Float[Tensor, " case"], positive: Bool[Tensor, " case"]) -> float:
    """The share of (positive, negative) pairs in which the positive scores more; ties count half."""
    above, below = scores[positive][:, None], scores[~positive][None, :]
    return float((above > below).double().mean() + 0.5 * (above == below).double().mean())

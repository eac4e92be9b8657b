"""Edits that should do little, and a dictionary that should predict nothing.

A random control adds, at the same layers and positions, random vectors as long as those that the nodes it controls for
write. A shuffled decoder gives each active feature of a layer the rows of another: what still predicts effects with it
does not do so by what features write.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from silverstain.bases import Basis
from silverstain.interventions import VectorEdit
from silverstain.verification.graph_run import GraphRun, vectors_added


def random_edits(
    tested: GraphRun, nodes: Sequence[int], n: int, generator: torch.Generator
) -> list[tuple[VectorEdit, ...]]:
    """n controls for the ablation of `nodes`: for what each node writes, a random vector as long is added."""
    added: list[dict[tuple[int, int], Tensor]] = [{} for _ in range(n)]
    for node in nodes:
        layer, position, feature = tested.place(node)
        if feature < 0 and not bool(tested.graph.nodes.is_kind("error")[node]):
            continue
        own = tested.written(node)
        rows = torch.randn(n, *own.shape, generator=generator).to(own)
        vectors = rows / rows.norm(dim=-1, keepdim=True) * own.norm(dim=-1, keepdim=True)
        for draw, vector in zip(added, vectors, strict=True):
            for k, part in enumerate(vector):
                at = (layer + k, position)
                draw[at] = draw[at] + part if at in draw else part
    return [vectors_added(draw) for draw in added]


def shuffled(tested: GraphRun, generator: torch.Generator) -> Basis:
    """The dictionary with the decoder rows of the graph's features exchanged within each layer."""
    basis, nodes, span = tested.basis, tested.graph.nodes, tested.graph.nodes.span("feature")
    layer, feature = nodes.layer[span], nodes.feature[span].long()
    sources: dict[int, Tensor] = {}
    for at in range(basis.n_layers):
        active = feature[layer == at].unique()
        ring = active[torch.randperm(len(active), generator=generator)]
        sources[at] = torch.arange(basis.n_features)
        sources[at][ring] = ring.roll(1)  # none keeps its own, unless it is alone
    return basis.reordered(sources)

"""A check of the arithmetic: with everything frozen, taking a source away changes each target by its edge.

This holds by construction, so it is no evidence for a graph; it fails where graph, model and edits do not belong to
each other.
"""

from collections.abc import Sequence

import torch

from silverstain.verification.endpoints import Endpoint
from silverstain.verification.graph_run import GraphRun
from silverstain.verification.linear import total_effects

MOST = 16


def direct_error(tested: GraphRun, sources: Sequence[Endpoint]) -> float:
    """The largest difference between an edge into a target and the direct effect it states, over the largest edge."""
    some = [source for source in sources if source.kind == "node"][:MOST]
    ablations = [tested.scaled(source.nodes, 0.0) for source in some]
    readouts = tested.readouts(torch.zeros(0, dtype=torch.long))
    found = tested.predicted(ablations, readouts, norms="frozen", responding=False).targets.double()
    starts = [torch.tensor(source.nodes) for source in some]
    _, edges = total_effects(tested.graph, starts, [torch.full((1,), -1.0, dtype=torch.float64)] * len(some))
    stated = edges[:, tested.graph.nodes.span("logit")]
    return float((found - stated).abs().max() / stated.abs().max().clamp_min(1e-30))

"""A check of the arithmetic: with everything frozen, taking a source away changes each target by its edge.

This holds by construction, so it is no evidence for a graph; it fails where graph, model and moves do not belong to
each other.
"""

from collections.abc import Sequence

import torch

from silverstain.verification.bench import Bench
from silverstain.verification.linear import total_effects
from silverstain.verification.local import local_responses
from silverstain.verification.moves import Moves
from silverstain.verification.parties import Party

MOST = 16


def direct_error(bench: Bench, sources: Sequence[Party]) -> float:
    """The largest difference between an edge into a target and the direct effect it states, over the largest edge."""
    some = [source for source in sources if source.kind == "node"][:MOST]
    readers = bench.readers(torch.zeros(0, dtype=torch.long))
    moves = Moves([bench.move(source.nodes, 0.0) for source in some])
    values = local_responses(
        bench.flow, bench.frozen, bench.dictionary, bench.recording, moves, readers, responding=False
    )
    starts = [torch.tensor(source.nodes) for source in some]
    _, edges = total_effects(bench.graph, starts, [torch.full((1,), -1.0, dtype=torch.float64)] * len(some))
    stated = edges[:, bench.graph.nodes.span("logit")]
    return float(((values - bench.clean(readers)).double() - stated).abs().max() / stated.abs().max().clamp_min(1e-30))

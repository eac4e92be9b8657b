"""Dose and response: what a prediction says of moving a source by more or less, beside what the real model does.

`verify` runs the same doses with all that a verdict needs besides. Here are the two runs alone, so that a dictionary
can be calibrated over many prompts in little time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from silverstain.verification.endpoints import effects_on, endpoints_of, logit_endpoints
from silverstain.verification.graph_run import GraphRun
from silverstain.verification.linear import reached
from silverstain.verification.verifying import STRENGTHS


@dataclass(frozen=True, kw_only=True)
class Response:
    """The effect of one dose of one source on one target."""

    kind: str
    """node → logit, in logits, or node → node, as a share of the target's activation."""
    strength: float
    """What the source's activation is multiplied by."""
    predicted: float
    """By the local replacement model with live norms."""
    measured: float
    """In the real model, attention and norms live."""


def dose_responses(tested: GraphRun, *, max_sources: int, strengths: Sequence[float] = STRENGTHS) -> list[Response]:
    """Every dose of the most influential kept nodes, on every target that kept edges lead to."""
    graph = tested.graph
    sources, features = endpoints_of(graph, (), max_sources)
    targets, readouts = [*sources, *logit_endpoints(graph)], tested.readouts(features)
    on = effects_on(graph, targets, features, tested.run.activations(readouts.features).cpu())
    edits = [tested.scaled(source.nodes, strength) for source in sources for strength in strengths]
    predicted, measured = (
        (found.all.double() @ on.T).view(len(sources), len(strengths), -1)
        for found in (tested.predicted(edits, readouts), tested.measured(edits, readouts, attention="live"))
    )
    reach = reached(graph, [torch.tensor(source.nodes) for source in sources])
    return [
        Response(
            kind=f"{source.kind} → {target.kind}",
            strength=strength,
            predicted=float(predicted[i, s, j]),
            measured=float(measured[i, s, j]),
        )
        for i, source in enumerate(sources)
        for j, target in enumerate(targets)
        if target.is_target_of(source) and bool(reach[i, list(target.nodes)].any())
        for s, strength in enumerate(strengths)
    ]

"""Does the local replacement model pass small changes on as the model does? By layers crossed, for any change.

A change is put into the stream at one position behind the MLP of a layer, and both models run on. What reaches the MLP
of each later layer (and the final norm) is compared: the cosine of the two changes, and the squared length of their
difference over that of the model's. Changes are, as in the paper: along a feature's encoder, scaled to raise it by a
tenth; as long, in a random direction; and what a feature of the layer writes when it is raised by a tenth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.interventions import AnyEdit, Regime
from silverstain.interventions.sweeping import reads_under
from silverstain.verification.graph_run import GraphRun, vectors_added

RAISED = 0.1
WAYS = ("encoder", "random", "feature")


@dataclass(frozen=True, kw_only=True)
class Passing:
    """How one change was passed on to one later read."""

    way: str
    """encoder, random or feature."""
    layer: int
    """Behind whose MLP the change was made."""
    distance: int
    """Replaced MLPs between: 1 is one layer on."""
    cosine: float
    error: float
    """|predicted − measured|² / |measured|²."""
    cosine_frozen: float
    """The same with frozen norms in the prediction."""
    error_frozen: float


def passed_on(tested: GraphRun, *, n: int, generator: torch.Generator, attention: str = "frozen") -> list[Passing]:
    """n changes of each way behind every MLP but the last, each read at every later layer."""
    found: list[Passing] = []
    n_layers, regime = tested.model.n_layers, Regime(attention=attention, base="current")
    for layer in range(n_layers - 1):
        named = _changes(tested, layer, n, generator)
        if not named:
            continue
        edits = [edit for _, edit in named]
        later = list(range(layer + 2, n_layers + 1))
        real = reads_under(tested.model, tested.basis, tested.run.recording.token_ids, edits, regime, later)
        live: dict[int, Tensor] = {}
        frozen: dict[int, Tensor] = {}
        tested.run_local_replacement(edits, live.__setitem__)
        tested.run_local_replacement(edits, frozen.__setitem__, norms="frozen")
        for read in later:
            measured = real[read]
            for_live = _compared(live[read], measured)
            for_frozen = _compared(frozen[read], measured)
            for row, (way, _) in enumerate(named):
                found.append(
                    Passing(
                        way=way,
                        layer=layer,
                        distance=read - layer - 1,
                        cosine=float(for_live[0][row]),
                        error=float(for_live[1][row]),
                        cosine_frozen=float(for_frozen[0][row]),
                        error_frozen=float(for_frozen[1][row]),
                    )
                )
    return found


def _compared(
    predicted: Float[Tensor, "row pos d_model"], measured: Float[Tensor, "row pos d_model"]
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """Cosine and normalised squared error of each row."""
    a, b = predicted.flatten(1).double(), measured.flatten(1).double()
    length = b.square().sum(1).clamp_min(1e-30)
    return torch.cosine_similarity(a, b, dim=1), (a - b).square().sum(1) / length


def _changes(tested: GraphRun, layer: int, n: int, generator: torch.Generator) -> list[tuple[str, tuple[AnyEdit, ...]]]:
    """(way, edits) of n changes of each way behind the MLP of a layer."""
    nodes, basis = tested.graph.nodes, tested.basis
    is_feature = nodes.is_kind("feature")
    next_ones = (is_feature & (nodes.layer == layer + 1)).nonzero().flatten()
    own = (is_feature & (nodes.layer == layer)).nonzero().flatten()
    named: list[tuple[str, tuple[AnyEdit, ...]]] = []
    for node in _drawn(next_ones, n, generator):
        feature, position = nodes.feature[node].long(), int(nodes.position[node])
        row = basis.readers(layer + 1, feature[None], tested.run.recording.mlp_inputs[layer + 1, position][None])[0]
        norm = tested.flow.read_norms[layer + 1]
        # the gradient of the feature's pre-activation at the stream it reads
        along = norm.pull_at(row, torch.tensor([position], device=row.device))[0]
        vector = RAISED * float(nodes.activation[node]) * along / along.square().sum()
        other = torch.randn(len(vector), generator=generator).to(vector)
        named.append(("encoder", vectors_added({(layer, position): vector})))
        named.append(("random", vectors_added({(layer, position): other / other.norm() * vector.norm()})))
    named += [("feature", tested.scaled([node], 1 + RAISED)) for node in _drawn(own, n, generator)]
    return named


def _drawn(nodes: Tensor, n: int, generator: torch.Generator) -> Sequence[int]:
    return nodes[torch.randperm(len(nodes), generator=generator)[:n]].tolist()

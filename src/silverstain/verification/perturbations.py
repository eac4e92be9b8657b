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

from silverstain.verification.bench import Bench
from silverstain.verification.local import local_responses
from silverstain.verification.moves import Move, Moves
from silverstain.verification.readers import Seen
from silverstain.verification.real import real_responses

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


def passed_on(bench: Bench, *, n: int, generator: torch.Generator, attention: str = "frozen") -> list[Passing]:
    """n changes of each way behind every MLP but the last, each read at every later layer."""
    found: list[Passing] = []
    model, dictionary = bench.model, bench.dictionary
    for layer in range(bench.flow.n_layers - 1):
        named = _changes(bench, layer, n, generator)
        if not named:
            continue
        moves = Moves([move for _, move in named])
        real, live, frozen = Seen(), Seen(), Seen()
        real_responses(model, dictionary, bench.recording, moves, real, attention=attention)
        for norms, seen in ((bench.live, live), (bench.frozen, frozen)):
            local_responses(bench.flow, norms, dictionary, bench.recording, moves, seen)
        for read in range(layer + 2, bench.flow.n_layers + 1):
            clean = bench.recording.final if read == bench.flow.n_layers else bench.recording.mlp_inputs[read]
            measured = real.inputs[read] - clean
            for_live = _compared(live.inputs[read] - clean, measured)
            for_frozen = _compared(frozen.inputs[read] - clean, measured)
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


def _changes(bench: Bench, layer: int, n: int, generator: torch.Generator) -> list[tuple[str, Move]]:
    """(way, move) of n changes of each way behind the MLP of a layer."""
    nodes, dictionary = bench.graph.nodes, bench.dictionary
    is_feature = nodes.is_kind("feature")
    next_ones = (is_feature & (nodes.layer == layer + 1)).nonzero().flatten()
    own = (is_feature & (nodes.layer == layer)).nonzero().flatten()
    named: list[tuple[str, Move]] = []
    for node in _drawn(next_ones, n, generator):
        feature, position = nodes.feature[node].long(), int(nodes.position[node])
        row = dictionary.encoder_rows(layer + 1, feature[None])[0]
        norm = bench.flow.read_norms[layer + 1]
        # the gradient of the feature's pre-activation at the stream it reads
        along = norm.pull_at(row[None], torch.tensor([position], device=row.device))[0]
        vector = RAISED * float(nodes.activation[node]) * along / along.square().sum()
        other = torch.randn(len(vector), generator=generator).to(vector)
        named.append(("encoder", _adding(bench, layer, position, vector)))
        named.append(("random", _adding(bench, layer, position, other / other.norm() * vector.norm())))
    named += [("feature", bench.move([node], 1 + RAISED)) for node in _drawn(own, n, generator)]
    return named


def _drawn(nodes: Tensor, n: int, generator: torch.Generator) -> Sequence[int]:
    return nodes[torch.randperm(len(nodes), generator=generator)[:n]].tolist()


def _adding(bench: Bench, layer: int, position: int, vector: Tensor) -> Move:
    none = torch.zeros(0, dtype=torch.long)
    return Move(
        layers=none, positions=none, features=none, values=bench.recording.final.new_zeros(0),
        added=((layer, position, vector),),
    )  # fmt: skip

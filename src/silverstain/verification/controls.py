"""Moves that should do little, and a dictionary that should predict nothing.

A random control writes, at the same layers and positions, vectors as long as those that the move it controls for
writes, along the decoder rows of other features. A shuffled decoder gives each active feature of a layer the rows of
another: what still predicts effects with it does not do so by what features write.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.verification.bench import Bench
from silverstain.verification.moves import Move


def random_moves(bench: Bench, nodes: Sequence[int], n: int, generator: torch.Generator) -> list[Move]:
    """n controls for the ablation of `nodes`: each node's writes are replaced by another feature's, as long."""
    columns, dictionary = bench.graph.nodes, bench.dictionary
    added: list[list[tuple[int, int, Tensor]]] = [[] for _ in range(n)]
    for node in nodes:
        layer, position, feature = (int(c[node]) for c in (columns.layer, columns.position, columns.feature))
        if feature >= 0:
            own = float(columns.activation[node]) * dictionary.decoder_rows(layer, torch.tensor([feature]))[0]
        elif bool(columns.is_kind("error")[node]):
            own = bench.errors[layer, position][None]
        else:
            continue
        rows = torch.randn(n, *own.shape, generator=generator).to(own)
        vectors = rows / rows.norm(dim=-1, keepdim=True) * own.norm(dim=-1, keepdim=True)
        for draw, vector in zip(added, vectors, strict=True):
            draw += [(layer + k, position, part) for k, part in enumerate(vector)]
    none = torch.zeros(0, dtype=torch.long)
    empty = bench.recording.final.new_zeros(0)
    return [Move(layers=none, positions=none, features=none, values=empty, added=tuple(draw)) for draw in added]


class ShuffledDecoder(Dictionary):
    """A dictionary whose active features have exchanged decoder rows within their layer."""

    def __init__(self, real: Dictionary, active: Sequence[Tensor], generator: torch.Generator) -> None:
        self.__dict__.update(real.to().__dict__)
        self._rows = {}
        for layer, features in enumerate(active):
            rows = torch.arange(real.n_features, device=real.device)
            ring = features[torch.randperm(len(features), generator=generator)]
            rows[ring] = ring.roll(1)  # nobody keeps its own, unless it is alone
            self._rows[layer] = rows

    def decoder_rows(self, layer: int, features: Int[Tensor, " k"]) -> Float[Tensor, "k target d_model"]:
        return super().decoder_rows(layer, self._rows[layer][features])


def shuffled(bench: Bench, generator: torch.Generator) -> ShuffledDecoder:
    """The bench's dictionary with the decoder rows of its graph's features exchanged within each layer."""
    nodes, span = bench.graph.nodes, bench.graph.nodes.span("feature")
    layer, feature = nodes.layer[span], nodes.feature[span].long()
    active = [feature[layer == at].unique() for at in range(bench.dictionary.n_layers)]
    return ShuffledDecoder(bench.dictionary, active, generator)

"""What moves do to the local replacement model: features respond through their thresholds, attention is frozen.

Error nodes and attention patterns stay as recorded; every feature, silent ones included, is computed anew from the
stream that the features below have changed. This predicts what the edges alone cannot: features that fall silent, and
features that wake. Norms keep their recorded denominators, as in the graph, or follow the stream: a change along
the stream itself is then divided away, as it is in the model, while a frozen norm lets all of it pass.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution import FrozenFlow
from silverstain.attribution.freezing import norm_inputs, norms_read
from silverstain.attribution.frozen_norm import FrozenNorm
from silverstain.bases import Dictionary
from silverstain.models import LanguageModel, Norm, Recording
from silverstain.verification.moves import Moves
from silverstain.verification.readers import Reading
from silverstain.verification.real import queue

Change = Callable[[Tensor], Tensor]
"""The change of a norm's input, [row, pos, d_model] -> that of its output."""


class Norms(NamedTuple):
    """How each norm on the way passes changes on."""

    attention: tuple[Change, ...]
    attention_output: tuple[Change, ...]
    read: tuple[Change, ...]
    """Before the MLP of each layer, and the final norm at last."""


def frozen_norms(flow: FrozenFlow) -> Norms:
    """With the recorded denominators."""

    def linear(norm: FrozenNorm | None) -> Change:
        return (lambda change: change) if norm is None else norm.linear

    return Norms(
        attention=tuple(map(linear, flow.attention_norms)),
        attention_output=tuple(map(linear, flow.attention_output_norms)),
        read=tuple(map(linear, flow.read_norms)),
    )


@torch.no_grad()
def live_norms(model: LanguageModel, flow: FrozenFlow, recording: Recording) -> Norms:
    """Dividing by what the changed stream asks for."""

    def live(norm: Norm | None, clean: Tensor) -> Change:
        return (lambda change: change) if norm is None else lambda change: norm(clean + change) - norm(clean)

    inputs = norm_inputs(model, recording, flow.norms)
    layers = range(flow.n_layers)
    return Norms(
        attention=tuple(live(model.norm("attention", i), inputs.attention[i]) for i in layers),
        attention_output=tuple(live(model.norm("attention_output", i), inputs.attention_output[i]) for i in layers),
        read=tuple(live(norm, x) for norm, x in zip(norms_read(model, recording), inputs.read, strict=True)),
    )


@torch.no_grad()
def local_responses(
    flow: FrozenFlow,
    norms: Norms,
    dictionary: Dictionary,
    recording: Recording,
    moves: Moves,
    readers: Reading,
    *,
    responding: bool = True,
) -> Float[Tensor, "row reader"]:
    """What every reader reads under every move; features that are not `responding` show direct effects alone."""
    values = recording.final.new_zeros(moves.n_rows, len(readers))
    stream = recording.embedding.new_zeros(moves.n_rows, *recording.embedding.shape)
    pending: dict[int, Tensor] = {}
    for layer in range(flow.n_layers):
        mid = stream + norms.attention_output[layer](flow.mixed(layer, norms.attention[layer](stream)))
        changed = norms.read[layer](stream if flow.is_parallel else mid)
        x = recording.mlp_inputs[layer] + changed
        readers.read_(values, layer, x)
        places, change = _changes(dictionary, layer, recording, moves, x, flow.n_real, responding)
        if len(change):
            queue(pending, dictionary, layer, places, change, like=x)
        stream = mid + flow.skip(layer, changed)
        if layer in pending:
            stream = stream + pending.pop(layer)
        moves.add_vectors_(layer, stream)
    readers.read_(values, flow.n_layers, recording.final + norms.read[-1](stream))
    return values


def _changes(
    dictionary: Dictionary,
    layer: int,
    recording: Recording,
    moves: Moves,
    x: Float[Tensor, "row pos d_model"],
    n_real: int,
    responding: bool,
) -> tuple[tuple[Tensor, Tensor, Tensor], Float[Tensor, " changed"]]:
    """(row, position, feature) of what fires otherwise than in the recording, and by how much.

    Held features end where they are held; positions that keep their real MLP have no features.
    """
    held = moves.held(layer)
    if held is None and not responding:
        none = torch.zeros(0, dtype=torch.long, device=x.device)
        return (none, none, none), x.new_zeros(0)
    clean = dictionary.encode_layer(layer, recording.mlp_inputs[layer].to(dictionary.dtype))
    change = (
        dictionary.encode_layer(layer, x.to(dictionary.dtype)) - clean
        if responding
        else clean.new_zeros(len(x), *clean.shape)
    )
    change[:, :n_real] = 0
    if held is not None:
        rows, positions, features, wanted = held
        change[rows, positions, features] = (wanted - clean[positions, features]).to(change)
    places = change.nonzero(as_tuple=True)
    return (places[0], places[1], places[2]), change[places]

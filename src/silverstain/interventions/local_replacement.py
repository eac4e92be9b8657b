"""Edits in the local replacement model: features respond through their activation function, attention is frozen.

Error nodes and attention patterns stay as recorded; every feature, inactive ones included, is computed anew from the
stream that the features below have changed. This predicts what the edges alone cannot: features that fall silent, and
features that become active. Norms keep their recorded denominators, as in the graph, or follow the stream: a change
along the stream itself is then divided away, as it is in the model, while a frozen norm lets all of it pass.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution import FrozenFlow, RecordedRun
from silverstain.attribution.freezing import norm_inputs, norms_read
from silverstain.attribution.frozen_norm import FrozenNorm
from silverstain.bases import Basis, NeuronBasis
from silverstain.errors import UsageError
from silverstain.interventions.changes import Changes, Sites
from silverstain.interventions.running import FeatureChanges, add_writes_
from silverstain.models import LanguageModel, Norm, Recording

NormChange = Callable[[Tensor], Tensor]
"""The change of a norm's input, [row, pos, d_model] -> that of its output."""

OnRead = Callable[[int, Float[Tensor, "row pos d_model"]], None]
"""Told by how much what is read in a layer changes; n_layers is the final norm's output."""


class NormChanges(NamedTuple):
    """How each norm on the way passes changes on."""

    attention: tuple[NormChange, ...]
    attention_output: tuple[NormChange, ...]
    read: tuple[NormChange, ...]
    """Before the MLP of each layer, and the final norm at last."""
    write: tuple[NormChange, ...]
    """Behind the MLP of each layer, where units write before it."""


def frozen_norms(flow: FrozenFlow) -> NormChanges:
    """With the recorded denominators."""

    def linear(norm: FrozenNorm | None) -> NormChange:
        return (lambda change: change) if norm is None else norm.linear

    return NormChanges(
        attention=tuple(map(linear, flow.attention_norms)),
        attention_output=tuple(map(linear, flow.attention_output_norms)),
        read=tuple(map(linear, flow.read_norms)),
        write=tuple(linear(flow.write_norm(layer)) for layer in range(flow.n_layers)),
    )


@torch.no_grad()
def live_norms(model: LanguageModel, flow: FrozenFlow, recording: Recording, basis: Basis) -> NormChanges:
    """Dividing by what the changed stream asks for."""

    def live(norm: Norm | None, clean: Tensor) -> NormChange:
        return (lambda change: change) if norm is None else lambda change: norm(clean + change) - norm(clean)

    def written(layer: int) -> NormChange:
        norm = model.norm("mlp_output", layer)
        if norm is None or flow.write_norm(layer) is None or not isinstance(basis, NeuronBasis):
            return lambda change: change
        neurons = basis.layer(layer)
        return live(norm, neurons.written(neurons.activations(recording.mlp_inputs[layer])))

    inputs = norm_inputs(model, recording, flow.norms)
    layers = range(flow.n_layers)
    return NormChanges(
        attention=tuple(live(model.norm("attention", i), inputs.attention[i]) for i in layers),
        attention_output=tuple(live(model.norm("attention_output", i), inputs.attention_output[i]) for i in layers),
        read=tuple(live(norm, x) for norm, x in zip(norms_read(model, recording), inputs.read, strict=True)),
        write=tuple(map(written, layers)),
    )


@torch.no_grad()
def run_local_replacement(
    run: RecordedRun,
    flow: FrozenFlow,
    norms: NormChanges,
    changes: Changes,
    n_rows: int,
    on_read: OnRead,
    *,
    basis: Basis | None = None,
    responding: bool = True,
) -> None:
    """Pass changes up the local replacement model, each row its own, and tell what every read becomes.

    Args:
        changes: of features, which end where they are set, and of vectors that are added to MLP outputs; UsageError
            for others.
        basis: another basis than the run's, such as one whose decoder rows are exchanged.
        responding: False lets features stay as they are but for those changed: direct effects alone.
    """
    _check_changes(changes)
    basis, recording = basis or run.basis, run.recording
    stream = recording.embedding.new_zeros(n_rows, *recording.embedding.shape)
    pending: dict[int, Tensor] = {}
    for layer in range(flow.n_layers):
        mid = stream + norms.attention_output[layer](flow.mixed(layer, norms.attention[layer](stream)))
        changed = norms.read[layer](stream if flow.is_parallel else mid)
        on_read(layer, changed)
        here = changes.sites.at_layer(layer)
        change = _feature_changes(basis, layer, recording.mlp_inputs[layer], changed, here, flow.n_real, responding)
        if change is not None and basis.is_dense:
            pending[layer] = basis.decode_layer(layer, change)[..., 0, :].to(changed)
        elif change is not None:
            places = change.nonzero(as_tuple=True)
            found = FeatureChanges(places[0], places[1], places[2], change[places])
            add_writes_(pending, basis, layer, found, like=changed)
        stream = mid + flow.skip(layer, changed)
        if layer in pending:
            stream = stream + norms.write[layer](pending.pop(layer))
        for change in changes.errors.get(layer, ()):
            stream[change.row, change.position] += change.delta(torch.zeros_like(stream[0, 0]))
    on_read(flow.n_layers, norms.read[-1](stream))


def _feature_changes(
    basis: Basis,
    layer: int,
    clean_input: Float[Tensor, "pos d_model"],
    changed: Float[Tensor, "row pos d_model"],
    here: Sites,
    n_real: int,
    responding: bool,
) -> Float[Tensor, "row pos feature"] | None:
    """By how much what is active differs from the recording; None for nothing.

    Edited features end where their edit puts them; positions that keep their real MLP have no features.
    """
    if not len(here) and not responding:
        return None
    clean = basis.encode_layer(layer, clean_input)
    change = clean.new_zeros(len(changed), *clean.shape)
    if responding:
        change = basis.response(layer, clean_input, changed)
        change[:, :n_real] = 0
    if len(here):
        wanted = here.change(clean[here.position, here.feature].to(here.factor))
        change[here.row, here.position, here.feature] = wanted.to(change)
    return change


def _check_changes(changes: Changes) -> None:
    has_scaled = any(change.factor != 1 for found in changes.errors.values() for change in found)
    if changes.tokens or changes.directions or changes.patterns or has_scaled:
        raise UsageError(
            "The local replacement model takes edits of features and vectors that are added to MLP outputs; run other "
            "edits on the model itself."
        )

"""What is looked at while edits act: logits, features, groups of features, and anything else a graph has rows for.

A readout is a linear function of what a norm hands on at one layer and position: a feature's encoder row, a logit's
demeaned unembedding row. These are the targets of attribution, so a change of one is what a graph's edges predict.
Changes are products with the difference of the two runs, not differences of products, so small effects keep their
digits.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.attribution import Targets
from silverstain.attribution.run import joined
from silverstain.attribution.targets import demeaned
from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.edits import Place
from silverstain.models import LanguageModel
from silverstain.models.mlps import forwards_of
from silverstain.models.recording import readers


@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class Readouts:
    """What a sweep reports of each edited run."""

    tokens: tuple[int, ...] = ()
    """Vocabulary ids whose logits and probabilities are read at `position`."""
    features: tuple[Place, ...] = ()
    """(layer, position, feature): pre-activation and activation, whether it is active or not."""
    groups: tuple[tuple[Place, ...], ...] = ()
    """Groups of features: the sum of their activations."""
    targets: Targets | None = None
    """Anything else that reads the stream, as a graph's rows do (see `attribution.targets` and `roots`)."""
    position: int = -1
    """Where logits are read, also for `kl` and `top`; negative from the end."""

    @property
    def places(self) -> tuple[Place, ...]:
        """Every feature that is read, once."""
        members = (place for group in self.groups for place in group)
        return tuple(dict.fromkeys((*self.features, *members)))


class Reading(NamedTuple):
    """Some readouts, before any edit and under each."""

    before: Float[Tensor, " readout"]
    change: Float[Tensor, "edit readout"]
    """Under each edit, less `before`."""

    @property
    def after(self) -> Float[Tensor, "edit readout"]:
        return self.before + self.change


def read_features(model: LanguageModel, dictionary: Dictionary, places: tuple[Place, ...], n_positions: int) -> Targets:
    """Features as readers of the stream, active or not; UsageError for what is not there."""
    for layer, position, feature in places:
        if not (0 <= layer < dictionary.n_layers and 0 <= feature < dictionary.n_features):
            raise UsageError(
                f"The readout L{layer}.F{feature} is not in this dictionary of {dictionary.n_layers} layers of "
                f"{dictionary.n_features} features; name one of those."
            )
        if not model.n_real <= position < n_positions:
            raise UsageError(
                f"The readout L{layer}.F{feature} is at position {position}; features are at positions "
                f"{model.n_real} to {n_positions - 1} of this prompt."
            )
    columns = torch.tensor(places, dtype=torch.long, device=model.device).reshape(-1, 3)
    vectors = torch.zeros(len(places), model.d_model, dtype=model.dtype, device=model.device)
    constants = torch.zeros_like(vectors[:, 0])
    for layer in columns[:, 0].unique().tolist():
        here = columns[:, 0] == layer
        vectors[here] = dictionary.encoder_rows(layer, columns[here, 2]).to(vectors)
        constants[here] = dictionary.b_enc(layer)[columns[here, 2]].to(vectors)
    return _unread(vectors, columns[:, 0], columns[:, 1], constants)


def read_logits(model: LanguageModel, tokens: tuple[int, ...], position: int) -> Targets:
    """Logits before any soft-cap, each less the mean over the vocabulary: what a graph's logit nodes stand for."""
    wrong = [token for token in tokens if not 0 <= token < model.d_vocab]
    if wrong:
        raise UsageError(f"The readout of token {wrong[0]} is not in the vocabulary; give ids below {model.d_vocab}.")
    ids = torch.tensor(tokens, dtype=torch.long, device=model.device)
    W_U, b_U = model.W_U, model.b_U
    vectors = W_U.new_zeros(0, model.d_model)
    if len(ids):
        vectors = (W_U[ids].double() - W_U.mean(dim=0, dtype=torch.float64)).to(W_U.dtype)
    constants = torch.zeros_like(vectors[:, 0]) if b_U is None else demeaned(b_U, ids)
    return _unread(vectors, torch.full_like(ids, model.n_layers), torch.full_like(ids, position), constants)


def all_targets(model: LanguageModel, dictionary: Dictionary, readouts: Readouts, n_positions: int) -> Targets:
    """Features, then logits, then the other targets of the readouts."""
    position = position_in(readouts.position, n_positions)
    found = joined(
        read_features(model, dictionary, readouts.places, n_positions), read_logits(model, readouts.tokens, position)
    )
    return found if readouts.targets is None else joined(found, readouts.targets)


def position_in(position: int, length: int) -> int:
    """A position counted from the start; UsageError outside the prompt."""
    at = position + length if position < 0 else position
    if not 0 <= at < length:
        raise UsageError(f"Position {position} is outside the prompt of {length} tokens (0 to {length - 1}).")
    return at


def _unread(vectors: Tensor, layers: Tensor, positions: Tensor, constants: Tensor) -> Targets:
    """Targets whose values nobody has read yet."""
    return Targets(
        vectors=vectors, layers=layers, positions=positions, constants=constants, values=torch.zeros_like(constants)
    )


@contextmanager
def kept_reads(model: LanguageModel, reads_at: str, layers: Int[Tensor, " target"]) -> Iterator[dict[int, Tensor]]:
    """Keep what is read in each of these layers ([batch, pos, d_model]) during calls inside the `with`; n_layers
    stands for the final norm's output."""
    kept: dict[int, Tensor] = {}
    modules = readers(model, reads_at)
    with ExitStack() as stack:
        for layer in layers.unique().tolist():
            if layer == model.n_layers:
                stack.callback(model.final_norm.module.register_forward_hook(_output(kept, layer)).remove)
            else:
                stack.callback(modules[layer].register_forward_pre_hook(_input(kept, layer)).remove)
        yield kept


@contextmanager
def logits_only_at(model: LanguageModel, position: int) -> Iterator[None]:
    """Let the model compute logits at one position alone: of a large vocabulary, the rest costs more than the model."""
    module = model.hf.get_submodule(model.architecture.unembedding)
    forward = module.forward
    with forwards_of([module], [lambda x: forward(x[:, position : position + 1])]):
        yield


def _input(kept: dict[int, Tensor], layer: int):
    def keep(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        kept[layer] = arguments[0]

    return keep


def _output(kept: dict[int, Tensor], layer: int):
    def keep(_: nn.Module, _arguments: tuple[Tensor, ...], output: Tensor) -> None:
        kept[layer] = output

    return keep


def read_changes(
    targets: Targets, kept: dict[int, Float[Tensor, "batch late d_model"]], clean: int, first: int
) -> Float[Tensor, "row target"]:
    """By how much each target differs, in the rows before the clean one, from what it is there. Layers and positions
    before `first` that were not run have not changed."""
    change = targets.vectors.new_zeros(clean, len(targets))
    for (layer, position), which in _by_place(torch.stack([targets.layers, targets.positions])):
        if layer in kept and position >= first:
            x = kept[layer][:, position - first].to(targets.vectors)
            change[:, which] = (x[:clean] - x[clean]) @ targets.vectors[which].T
    return change


def activation_changes(
    dictionary: Dictionary,
    places: tuple[Place, ...],
    values: Float[Tensor, " target"],
    change: Float[Tensor, "row target"],
    kept: dict[int, Float[Tensor, "batch late d_model"]],
    clean: int,
    first: int,
) -> Float[Tensor, "row place"]:
    """By how much activations differ; the first targets, with their clean `values`, are the pre-activations."""
    found = change.new_zeros(clean, len(places))
    columns = torch.tensor(places, dtype=torch.long, device=change.device).reshape(-1, 3)
    if dictionary.k is not None:  # features compete: all of a layer must be known
        for (layer, position), which in _by_place(columns[:, :2].T):
            if layer in kept and position >= first:
                dense = dictionary.encode_layer(layer, kept[layer][:, position - first].to(dictionary.dtype))
                chosen = dense[:, columns[which, 2]].to(found)
                found[:, which] = chosen[:clean] - chosen[clean]
        return found
    before = values[: len(places)]
    after = before + change[:, : len(places)]
    threshold = torch.zeros_like(before)
    for layer in columns[:, 0].unique().tolist():
        given, here = dictionary.threshold(layer), columns[:, 0] == layer
        if given is not None:
            threshold[here] = given[columns[here, 2]].to(threshold)
    return after * (after > threshold) - before * (before > threshold)


def _by_place(places: Int[Tensor, "2 target"]) -> Iterator[tuple[list[int], Int[Tensor, " some"]]]:
    """Each (layer, position) with the targets that read there."""
    if not places.shape[1]:
        return
    unique, which, counts = torch.unique(places, dim=1, return_inverse=True, return_counts=True)
    yield from zip(unique.T.tolist(), which.argsort(stable=True).split(counts.tolist()), strict=True)

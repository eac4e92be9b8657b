"""Changes of what is no feature, applied in the rows of a running pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.bases import Dictionary
from silverstain.bases.substitutes import DictionarySubstitute
from silverstain.interventions.changes import Changes, DirectionChange, PatternChange, VectorChange
from silverstain.interventions.regimes import Regime
from silverstain.models import LanguageModel


class CleanErrors:
    """What the dictionary misses of the clean MLP outputs, found layer by layer as a pass goes up.

    Only at the places whose error nodes are edited: there the clean rows are encoded in every layer up to the last
    that is edited, since features of lower layers write to it too.
    """

    def __init__(
        self, dictionary: Dictionary, errors: Mapping[int, Sequence[VectorChange]], twin: Int[Tensor, " batch"]
    ) -> None:
        self._errors, self._substitute = errors, DictionarySubstitute(dictionary)
        self._last = max((layer for layer, found in errors.items() if found), default=-1)
        changes = [change for found in errors.values() for change in found]
        clean = twin.tolist()
        places = sorted({(clean[change.row], change.position) for change in changes})
        self._index = {place: i for i, place in enumerate(places)}
        self._clean = clean
        self._rows, self._positions = torch.tensor(places, dtype=torch.long).reshape(-1, 2).to(twin.device).unbind(1)
        self._written: dict[int, Tensor] = {}

    def deltas(
        self, layer: int, read: Float[Tensor, "batch pos d_model"], output: Float[Tensor, "batch pos d_model"]
    ) -> list[tuple[int, int, Float[Tensor, " d_model"]]]:
        """(row, position, what is added to the MLP output there) for each edited error node of the layer."""
        if layer > self._last or not len(self._rows):
            return []
        dtype = self._substitute.dictionary.dtype
        x = read[self._rows, self._positions].to(dtype)
        written = self._substitute.writes(layer, x, torch.zeros_like(self._rows))  # a dictionary looks at no token
        for target, part in enumerate(written.unbind(1), start=layer):
            self._written[target] = self._written[target] + part if target in self._written else part
        errors = output[self._rows, self._positions] - self._written.pop(layer).to(output)
        found = self._errors.get(layer, ())
        return [
            (change.row, change.position, change.delta(errors[self._index[self._clean[change.row], change.position]]))
            for change in found
        ]


@contextmanager
def tokens_and_directions(
    model: LanguageModel, changes: Changes, twin: Int[Tensor, " batch"], regime: Regime
) -> Iterator[None]:
    """A `with` in which embeddings and components along directions are changed."""
    with ExitStack() as stack:
        if changes.tokens:
            hook = _stream_entering(changes.tokens, twin)
            stack.callback(model.block(0).register_forward_pre_hook(hook, with_kwargs=True).remove)
        for layer, found in changes.directions.items():
            hook = _stream_leaving(found, twin, regime)
            stack.callback(model.block(layer).register_forward_hook(hook).remove)
        yield


def _stream_entering(changes: Sequence[VectorChange], twin: Int[Tensor, " batch"]) -> Callable[..., Any]:
    """A hook before the first block: clean embeddings, which are the rows' own, are scaled or exchanged."""

    def enter(_: nn.Module, arguments: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        stream = (arguments[0] if arguments else named["hidden_states"]).clone()
        for change in changes:
            clean = stream[twin[change.row], change.position]
            stream[change.row, change.position] += change.delta(clean)
        return ((stream, *arguments[1:]), named) if arguments else ((), {**named, "hidden_states": stream})

    return enter


def _stream_leaving(
    changes: Sequence[DirectionChange], twin: Int[Tensor, " batch"], regime: Regime
) -> Callable[..., Any]:
    """A hook behind a block. All components are measured before any is changed."""

    def leave(_: nn.Module, _arguments: tuple, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        stream = output[0] if isinstance(output, tuple) else output
        edited = stream.clone()
        for change in changes:
            unit = torch.tensor(change.unit, dtype=stream.dtype, device=stream.device)
            measured = int(twin[change.row]) if regime.base == "clean" else change.row
            at = list(change.positions)
            component = stream[measured, at] @ unit
            edited[change.row, at] += ((change.factor - 1) * component + change.constant)[:, None] * unit
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    return leave


def edit_pattern(
    pattern: Float[Tensor, "batch head query key"], changes: Sequence[PatternChange]
) -> Float[Tensor, "batch head query key"]:
    """The pattern with some entries changed."""
    edited = pattern.clone()
    for change in changes:
        keys = list(change.keys)
        at = (change.row, change.head, change.position, keys)
        edited[at] = change.factor * pattern[at] + torch.tensor(change.constant).to(pattern)
    return edited

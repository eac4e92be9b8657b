"""The one pass in which a model runs under changes.

What is changed is asked for layer by layer, while the pass goes up: edits laid out beforehand (`passes`) and rules of a
treatment that look at the running text (`treatment.applying`) answer the same questions. The MLP itself stays: a change
of a feature is (new − activation) · its decoder rows, added once to the MLP output of every layer it writes to, so the
basis' error is kept. Everything downstream recomputes.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.bases import Basis, writes_before_norm
from silverstain.models import LanguageModel, MlpCall, attention_through, mlps_through


class FeatureChanges(NamedTuple):
    """By how much activations of one layer are changed, at which rows of the batch and positions."""

    rows: Int[Tensor, " changed"]
    positions: Int[Tensor, " changed"]
    features: Int[Tensor, " changed"]
    change: Float[Tensor, " changed"]


@runtime_checkable
class Changing(Protocol):
    """What is changed in a running pass, asked in the order in which the pass comes to it."""

    changes_embedding: bool
    changed_streams: tuple[int, ...]
    """Blocks whose output is changed."""
    changes_patterns: bool

    def embedding(self, stream: Float[Tensor, "batch pos d_model"]) -> Tensor:
        """The stream as it enters the first block."""
        ...

    def features(self, layer: int, read: Float[Tensor, "batch pos d_model"]) -> FeatureChanges | None:
        """What is changed of the features of a layer, given what they read; None for nothing."""
        ...

    def mlp_output(
        self, layer: int, read: Float[Tensor, "batch pos d_model"], output: Float[Tensor, "batch pos d_model"]
    ) -> Tensor:
        """The MLP's output before what changed features write is added."""
        ...

    def held(self, layer: int, output: Float[Tensor, "batch pos d_model"]) -> Tensor:
        """The MLP's own output that changes are added to, before a norm behind it: as it is, or that of other rows."""
        ...

    def stream(self, layer: int, stream: Float[Tensor, "batch pos d_model"]) -> Tensor:
        """The stream as a block leaves it."""
        ...

    def pattern(self, layer: int, pattern: Float[Tensor, "batch head query key"]) -> Tensor:
        """The attention pattern of a layer."""
        ...


@contextmanager
def running_under(model: LanguageModel, basis: Basis, changing: Changing) -> Iterator[None]:
    """A `with` in which every call of `model.hf` runs under the changes.

    Where units write before a norm behind the MLP, that norm sees the changed output.
    """
    pending: dict[int, Tensor] = {}  # what is still to be added to the MLP output of each layer
    is_before_norm = writes_before_norm(basis, model)

    def mlp(call: MlpCall) -> Tensor:
        own = call.output(call.x)
        output = call.behind(own)
        found = changing.features(call.layer, call.read)
        if found is not None and len(found.change):
            add_writes_(pending, basis, call.layer, found, like=output)
        output = changing.mlp_output(call.layer, call.read, output)
        if call.layer not in pending:
            return output
        change = pending.pop(call.layer)
        if is_before_norm:
            held = changing.held(call.layer, own)
            change = call.behind(held + change) - call.behind(held)
        return output + change

    with ExitStack() as stack:
        stack.callback(model.hf.register_forward_pre_hook(lambda *_: pending.clear()).remove)  # of a call that failed
        stack.enter_context(mlps_through(model, mlp, reads_at=basis.reads_at))
        if changing.changes_embedding:
            hook = _entering(changing)
            stack.callback(model.block(0).register_forward_pre_hook(hook, with_kwargs=True).remove)
        for layer in changing.changed_streams:
            stack.callback(model.block(layer).register_forward_hook(_leaving(changing, layer)).remove)
        if changing.changes_patterns:
            stack.enter_context(attention_through(model.hf, changing.pattern))
        yield


def add_writes_(
    pending: dict[int, Tensor],
    basis: Basis,
    layer: int,
    found: FeatureChanges,
    *,
    like: Float[Tensor, "batch pos d_model"],
) -> None:
    """Let change · decoder rows wait, in `pending`, for the MLP output of every layer that the features write to."""
    features, which = torch.unique(found.features, return_inverse=True)
    rows = basis.decoder_rows(layer, features).to(found.change)
    for k, target in enumerate(basis.targets(layer)):
        waiting = pending.setdefault(target, torch.zeros_like(like))
        write = (found.change[:, None] * rows[which, k]).to(like.dtype)
        waiting.index_put_((found.rows, found.positions), write, accumulate=True)


def _entering(changing: Changing) -> Callable[..., Any]:
    """A hook before the first block."""

    def enter(_: nn.Module, arguments: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        stream = changing.embedding(arguments[0] if arguments else named["hidden_states"])
        return ((stream, *arguments[1:]), named) if arguments else ((), {**named, "hidden_states": stream})

    return enter


def _leaving(changing: Changing, layer: int) -> Callable[..., Any]:
    """A hook behind a block."""

    def leave(_: nn.Module, _arguments: tuple, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        if isinstance(output, tuple):
            return (changing.stream(layer, output[0]), *output[1:])
        return changing.stream(layer, output)

    return leave

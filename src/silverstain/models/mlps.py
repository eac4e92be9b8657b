"""MLPs computed by a function of ours for the length of a `with`: to edit what they add, or to replace them.

What an MLP adds to the stream is its output after the norm that may follow it. One door so serves every architecture,
and what is not asked for is not computed.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from silverstain.brief import brief
from silverstain.models.language_model import LanguageModel
from silverstain.models.recording import MLP_INPUT, readers


@brief
class MlpCall(NamedTuple):
    """One MLP about to run."""

    layer: int
    x: Float[Tensor, "batch pos d_model"]
    """What the MLP reads."""
    read: Float[Tensor, "batch pos d_model"]
    """What a dictionary reads: x, or the input of the norm before the MLP."""
    real: Callable[[Tensor], Tensor]
    """What the model itself would add to the stream for such an input."""
    output: Callable[[Tensor], Tensor]
    """The MLP's own output for such an input, before the norm that may be behind it."""
    behind: Callable[[Tensor], Tensor]
    """What is added to the stream for such an output: the norm's, or the output itself."""


Forward = Callable[..., Any]

MlpFunction = Callable[[MlpCall], Tensor]
"""What is added to the stream, [batch pos d_model]."""


@contextmanager
def mlps_through(
    model: LanguageModel,
    function: MlpFunction,
    layers: Collection[int] | None = None,
    *,
    reads_at: str = MLP_INPUT,
) -> Iterator[None]:
    """Let what MLPs (of all layers, or of some) add to the stream be computed by `function` inside the `with`."""
    chosen = range(model.n_layers) if layers is None else sorted(layers)
    places = readers(model, reads_at)
    patches = [patch for layer in chosen for patch in _patches(model, function, layer, places[layer])]
    with forwards_of([module for module, _ in patches], [forward for _, forward in patches]):
        yield


def _patches(
    model: LanguageModel, function: MlpFunction, layer: int, reader: nn.Module
) -> Iterator[tuple[nn.Module, Forward]]:
    """Modules of one layer and the forwards they get."""
    mlp, writer = model.mlp(layer), model.mlp_writer(layer)
    reader_forward, mlp_forward, writer_forward = reader.forward, mlp.forward, writer.forward
    is_first = model.architecture.is_mlp_output_first
    seen: list[Tensor] = []

    def read(x: Tensor) -> Tensor:
        seen.append(x)
        return reader_forward(x)

    def output(x: Tensor) -> Tensor:
        out = mlp_forward(x)
        return out[0] if is_first else out

    def behind(out: Tensor) -> Tensor:
        return out if writer is mlp else writer_forward(out)

    def written(x: Tensor) -> Tensor:
        read_of = seen.pop() if seen else x
        return function(MlpCall(layer, x, read_of, lambda x: behind(output(x)), output, behind))

    if reader is not mlp:
        yield reader, read
    if writer is mlp:
        # nobody reads the router's scores
        yield mlp, lambda x: (written(x), None) if is_first else written(x)
    else:
        # The MLP hands its input through, and the norm behind it computes the whole.
        yield mlp, lambda x: (x, None) if is_first else x
        yield writer, written


@contextmanager
def forwards_of(modules: Sequence[nn.Module], forwards: Sequence[Forward]) -> Iterator[None]:
    """Give modules another forward for a while. A hook could replace the output too, but would compute the real one
    first: half of the model's work, thrown away."""
    with ExitStack() as stack:
        for module, forward in zip(modules, forwards, strict=True):
            before = module.__dict__.get("forward")
            module.forward = forward  # type: ignore[method-assign]
            stack.callback(_restore, module, before)
        yield


def _restore(module: nn.Module, before: Forward | None) -> None:
    if before is None:
        del module.forward
    else:
        module.forward = before  # type: ignore[method-assign]

"""The residual stream, recorded at every stage and run on from any.

Stages, in order: the embedding; `m0`, behind the first block's attention and before any MLP, where tokens have been
gathered and nothing has been computed of them; `r1`, `r2`, …, behind each block.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from silverstain.models.architecture import architecture_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CASES_A_PASS = 512
EMBEDDING, GATHERED = "embedding", "m0"


def stages(n_layers: int) -> tuple[str, ...]:
    """Names of the stages of a model of so many blocks."""
    return (EMBEDDING, GATHERED, *(f"r{layer}" for layer in range(1, n_layers + 1)))


@torch.no_grad()
def streams(
    model: "PreTrainedModel", token_ids: Tensor
) -> tuple[Float[Tensor, "stage case pos d"], Float[Tensor, "case vocab"]]:
    """The residual stream of every case [case, pos] at every stage, and the logits of its next token."""
    modules = [*_ends_of_stages(model), _first_attention(model)]
    kept: list[list[Tensor]] = [[] for _ in modules]
    hooks = [module.register_forward_hook(_keep_in(into)) for module, into in zip(modules, kept, strict=True)]
    try:
        logits = torch.cat([_next_logits(model, input_ids=part) for part in token_ids.split(CASES_A_PASS)])
    finally:
        for hook in hooks:
            hook.remove()
    embedding, *blocks, attention = (torch.cat(parts) for parts in kept)
    return torch.stack([embedding, embedding + attention, *blocks]), logits


@torch.no_grad()
def next_logits_from(
    model: "PreTrainedModel", stream: Float[Tensor, "case pos d"], stage: int
) -> Float[Tensor, "case vocab"]:
    """The logits of the next token when the stream at a stage (by its number) is the one given; what lies before it
    does not run."""
    run: Run = _run_gathered if stage == 1 else _run_on
    with _blocks_after(model, max(stage - 1, 0)):
        return torch.cat([run(model, part) for part in stream.split(CASES_A_PASS)])


Run = Callable[["PreTrainedModel", Float[Tensor, "case pos d"]], Float[Tensor, "case vocab"]]


def _run_on(model: "PreTrainedModel", stream: Float[Tensor, "case pos d"]) -> Float[Tensor, "case vocab"]:
    return _next_logits(model, inputs_embeds=stream)


def _run_gathered(model: "PreTrainedModel", stream: Float[Tensor, "case pos d"]) -> Float[Tensor, "case vocab"]:
    """From behind the first attention on: the stream goes in as embedding, and attention adds nothing to it."""

    def nothing(_module: nn.Module, _inputs: object, output: Tensor | tuple) -> Tensor | tuple:
        return (torch.zeros_like(output[0]), *output[1:]) if isinstance(output, tuple) else torch.zeros_like(output)

    hook = _first_attention(model).register_forward_hook(nothing)
    try:
        return _next_logits(model, inputs_embeds=stream)
    finally:
        hook.remove()


def _ends_of_stages(model: "PreTrainedModel") -> list[nn.Module]:
    architecture = architecture_of(model)
    return [model.get_submodule(architecture.embedding), *model.get_submodule(architecture.blocks).children()]


def _first_attention(model: "PreTrainedModel") -> nn.Module:
    """Whose output is added to the stream."""
    architecture = architecture_of(model)
    block = next(iter(model.get_submodule(architecture.blocks).children()))
    return block.get_submodule(architecture.attention_output_norm or architecture.attention)


@contextmanager
def _blocks_after(model: "PreTrainedModel", layer: int) -> Iterator[None]:
    path, _, name = architecture_of(model).blocks.rpartition(".")
    parent = model.get_submodule(path)
    blocks = getattr(parent, name)
    setattr(parent, name, nn.ModuleList(list(blocks)[layer:]))
    try:
        yield
    finally:
        setattr(parent, name, blocks)


def exchanged(
    stream: Float[Tensor, "case pos d"], positions: Sequence[int], values: Float[Tensor, "case place d"]
) -> Float[Tensor, "case pos d"]:
    """The stream with other values at some positions."""
    stream = stream.clone()
    stream[:, list(positions)] = values
    return stream


def _keep_in(into: list[Tensor]) -> Callable[[nn.Module, object, Tensor | tuple], None]:
    def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple) -> None:
        into.append(output[0] if isinstance(output, tuple) else output)

    return keep


def _next_logits(model: "PreTrainedModel", **inputs: Tensor) -> Float[Tensor, "case vocab"]:
    return model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]


def token_mask(token_ids: Sequence[Sequence[int]], n_tokens: int) -> Bool[Tensor, "case vocab"]:
    """True where a token is one of a case's."""
    mask = torch.zeros(len(token_ids), n_tokens, dtype=torch.bool)
    for row, ids in enumerate(token_ids):
        mask[row, list(ids)] = True
    return mask


def says_one_of(
    logits: Float[Tensor, "case vocab"], wanted: Bool[Tensor, "case vocab"], among: Bool[Tensor, "case vocab"]
) -> Bool[Tensor, " case"]:
    """Whether the likeliest token among some is a wanted one."""
    top = logits.masked_fill(~among, -torch.inf).argmax(1, keepdim=True)
    return wanted.gather(1, top).squeeze(1)

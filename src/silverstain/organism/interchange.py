"""The residual stream, recorded at every layer and run on from any. Layer 0: the embedding; layer l: after block l."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from silverstain.models.architecture import architecture_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CASES_A_PASS = 512


@torch.no_grad()
def streams(
    model: "PreTrainedModel", token_ids: Tensor
) -> tuple[Float[Tensor, "layer case pos d"], Float[Tensor, "case vocab"]]:
    """The residual stream of every case [case, pos] at every layer, and the logits of its next token."""
    architecture = architecture_of(model)
    modules = [model.get_submodule(architecture.embedding), *model.get_submodule(architecture.blocks).children()]
    kept: list[list[Tensor]] = [[] for _ in modules]
    hooks = [module.register_forward_hook(_keep_in(into)) for module, into in zip(modules, kept, strict=True)]
    try:
        logits = torch.cat([_next_logits(model, input_ids=part) for part in token_ids.split(CASES_A_PASS)])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([torch.cat(parts) for parts in kept]), logits


@torch.no_grad()
def next_logits_from(
    model: "PreTrainedModel", stream: Float[Tensor, "case pos d"], layer: int
) -> Float[Tensor, "case vocab"]:
    """The logits of the next token when the stream after block `layer` is the one given; earlier blocks do not run."""
    with _blocks_after(model, layer):
        return torch.cat([_next_logits(model, inputs_embeds=part) for part in stream.split(CASES_A_PASS)])


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
    stream: Float[Tensor, "case pos d"], position: int, values: Float[Tensor, "case d"]
) -> Float[Tensor, "case pos d"]:
    """The stream with other values at one position."""
    stream = stream.clone()
    stream[:, position] = values
    return stream


def means_elsewhere(
    x: Float[Tensor, "case d"],
    classes: Int[Tensor, " case"],
    groups: Int[Tensor, " case"],
    asked: Int[Tensor, " asked"],
) -> Float[Tensor, "asked d"]:
    """For each case asked, the mean over the cases of its class in other groups than its own.

    What of it is the case's own, or its group's, is left out; what is common to the class stays. A class of one group
    has no other, and gives the mean over that group.
    """
    n_classes, n_groups = int(classes.max()) + 1, int(groups.max()) + 1
    both = classes * n_groups + groups
    total = _sums(x, classes, n_classes), _sums(x, both, n_classes * n_groups)
    counts = torch.bincount(classes, minlength=n_classes), torch.bincount(both, minlength=n_classes * n_groups)
    own = both[asked]
    n_elsewhere = counts[0][classes[asked]] - counts[1][own]
    is_alone = (n_elsewhere == 0).unsqueeze(1)
    elsewhere = (total[0][classes[asked]] - total[1][own]) / n_elsewhere.clamp_min(1).unsqueeze(1)
    return torch.where(is_alone, total[1][own] / counts[1][own].unsqueeze(1), elsewhere)


def _sums(x: Float[Tensor, "case d"], index: Int[Tensor, " case"], n: int) -> Float[Tensor, "index d"]:
    return torch.zeros(n, x.shape[1], dtype=x.dtype).index_add_(0, index, x)


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

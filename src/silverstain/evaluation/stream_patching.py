"""Whether a replaced model follows its stream: another sequence's stream is put in at one place, behind one block.

What the model says then depends on the layers behind that block alone. So does what the replaced model says where
features write to their own layer only. Features that also write to later layers carry what they read before the patch
past it: the replaced model may go on to say what it would have said without it, though the stream says otherwise.

Two figures over many patches: how often both models have the same first choice under the patch (agreement), and, of
the patches that change the model's first choice, after how many the replaced model keeps the old one (bypass).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from silverstain.bases.replaced import replaced_logits
from silverstain.brief import brief
from silverstain.models import LanguageModel, TokenBatch
from silverstain.statistics import Share, share_of

LAYERS = 4
"""Blocks behind which is patched, spread evenly over the model."""


@brief
@dataclass(frozen=True, kw_only=True)
class StreamPatching:
    """How a replaced model answers when its stream is patched."""

    layers: tuple[int, ...]
    """The blocks behind which was patched."""
    agreement: Share
    """Of all patches: the replaced model's first choice is the model's under the same patch."""
    bypass: Share | None
    """Of the patches that change the model's first choice: the replaced model keeps the model's old one. None where no
    patch changes it."""
    agreement_layers: tuple[float, ...]
    bypass_layers: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Patches:
    """One place of each sequence of a batch, and the sequence whose stream is put in there."""

    position: Int[Tensor, " batch"]
    donor: Int[Tensor, " batch"]
    counts: Bool[Tensor, " batch"]
    """Where both sequences have a token at the place, and not the same ones up to it."""


@torch.no_grad()
def stream_patching(
    model: LanguageModel, dictionary: object, batches: Iterable[TokenBatch], *, seed: int = 0
) -> StreamPatching | None:
    """Patch every sequence of `batches` at a place drawn at random, behind each of some blocks; None for a model of a
    single block, or where no two sequences of a batch can be exchanged."""
    layers = patched_layers(model.n_layers)
    generator = torch.Generator().manual_seed(seed)
    agreed: list[list[Tensor]] = [[] for _ in layers]
    changed: list[list[Tensor]] = [[] for _ in layers]
    for batch in batches:
        patches = drawn_patches(batch, generator)
        clean, streams = _clean(model, batch, layers)
        old = _at(clean, patches.position).argmax(-1)
        for index, layer in enumerate(layers):
            with stream_patched(model, layer, patches, streams[index]):
                real = _at(model.hf(input_ids=batch.token_ids, use_cache=False).logits, patches.position).argmax(-1)
                said = replaced_logits(model, dictionary, batch.token_ids, mask=batch.mask)
            replaced = _at(said, patches.position).argmax(-1)
            agreed[index].append((real == replaced)[patches.counts])
            changed[index].append((replaced == old)[patches.counts & (real != old)])
    agreed_layers, kept_layers = ([torch.cat(found) for found in by_layer] for by_layer in (agreed, changed))
    if not layers or not len(agreed_layers[0]):
        return None
    return StreamPatching(
        layers=layers, agreement=_share(torch.cat(agreed_layers)),
        bypass=_share(kept) if len(kept := torch.cat(kept_layers)) else None,
        agreement_layers=tuple(float(found.double().mean()) for found in agreed_layers),
        bypass_layers=tuple(float(found.double().mean()) if len(found) else None for found in kept_layers),
    )  # fmt: skip


def patched_layers(n_layers: int) -> tuple[int, ...]:
    """Blocks with another behind them, at most LAYERS of them, spread evenly."""
    inner = n_layers - 1
    n = min(inner, LAYERS)
    return tuple(sorted({round((index + 1) * inner / (n + 1) - 0.5) for index in range(n)})) if n else ()


def drawn_patches(batch: TokenBatch, generator: torch.Generator) -> Patches:
    """A place that counts for each sequence, and a donor: the sequence behind it in a random order."""
    mask = batch.mask.cpu()
    n = len(mask)
    position = torch.multinomial(mask.float() + 1e-9, 1, generator=generator)[:, 0]
    order = torch.randperm(n, generator=generator)
    donor = torch.empty_like(order)
    donor[order] = order.roll(-1)
    here = torch.arange(n)
    upto = torch.arange(mask.shape[1]) <= position[:, None]
    ids = batch.token_ids.cpu()
    differs = ((ids != ids[donor]) & upto).any(1)
    device = batch.token_ids.device
    counts = mask[here, position] & mask[donor, position] & differs
    return Patches(position=position.to(device), donor=donor.to(device), counts=counts.to(device))


@contextmanager
def stream_patched(
    model: LanguageModel, layer: int, patches: Patches, stream: Float[Tensor, "batch pos d_model"]
) -> Iterator[None]:
    """Inside the `with`, what leaves block `layer` is the donor's `stream` at each sequence's place."""

    def put_in(_module: nn.Module, _inputs: object, output: Tensor | tuple) -> Tensor | tuple:
        found = output[0] if isinstance(output, tuple) else output
        here = torch.arange(len(found), device=found.device)
        patched = found.clone()
        patched[here, patches.position] = stream[patches.donor, patches.position].to(found)
        return (patched, *output[1:]) if isinstance(output, tuple) else patched

    handle = _blocks(model)[layer].register_forward_hook(put_in)
    try:
        yield
    finally:
        handle.remove()


def _clean(
    model: LanguageModel, batch: TokenBatch, layers: tuple[int, ...]
) -> tuple[Float[Tensor, "batch pos d_vocab"], list[Float[Tensor, "batch pos d_model"]]]:
    """The model's own logits, and what leaves each of the blocks."""
    kept: dict[int, Tensor] = {}

    def keeping(layer: int) -> Callable[[nn.Module, object, Tensor | tuple], None]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple) -> None:
            kept[layer] = output[0] if isinstance(output, tuple) else output

        return keep

    blocks = _blocks(model)
    handles = [blocks[layer].register_forward_hook(keeping(layer)) for layer in layers]
    try:
        logits = model.hf(input_ids=batch.token_ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    return logits, [kept[layer] for layer in layers]


def _blocks(model: LanguageModel) -> list[nn.Module]:
    return list(model.hf.get_submodule(model.architecture.blocks).children())


def _at(logits: Float[Tensor, "batch pos d_vocab"], position: Int[Tensor, " batch"]) -> Float[Tensor, "batch d_vocab"]:
    return logits[torch.arange(len(logits), device=logits.device), position]


def _share(hits: Bool[Tensor, " patch"]) -> Share:
    return share_of(int(hits.sum()), len(hits))

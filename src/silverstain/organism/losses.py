"""What an organism is to say while it grows: losses of its tokens and of what must be known early, and gradients."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .batches import SentenceBatch

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def streams(model: "LlamaForCausalLM", batch: SentenceBatch) -> Iterator[Float[Tensor, "sentence pos d_model"]]:
    """The stream behind each block, of the positions that each may see there."""
    decoder, n = model.model, batch.token_ids.shape[1]
    stream = decoder.embed_tokens(batch.token_ids)
    turned = decoder.rotary_emb(stream, position_ids=torch.arange(n)[None])
    for number, block in enumerate(decoder.layers):
        sees = batch.sees(number)
        mask = None if sees is None else torch.zeros(sees.shape).masked_fill(~sees, -torch.inf)[:, None]
        stream = block(stream, attention_mask=mask, position_embeddings=turned, use_cache=False)
        yield stream


def read(model: "LlamaForCausalLM", stream: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows vocab"]:
    return model.lm_head(model.model.norm(stream))


def token_losses(
    model: "LlamaForCausalLM", batch: SentenceBatch, *, also_early: bool = False
) -> tuple[Float[Tensor, "sentence next"], Float[Tensor, " early"]]:
    """Cross-entropy of each token given those before it that it may see and, if asked for, of what must be known early,
    each read behind as many blocks as it says."""
    behind = list(streams(model, batch))
    logits = read(model, behind[-1])[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch.token_ids[:, 1:], reduction="none")
    if not also_early or not batch.early:
        return losses, losses.new_zeros(0)
    tokens = torch.tensor([token for _, _, token, _ in batch.early])
    early = read(model, torch.stack([behind[blocks - 1][row, at] for row, at, _, blocks in batch.early]))
    return losses, torch.nn.functional.cross_entropy(early, tokens, reduction="none")


def gradients(
    model: "LlamaForCausalLM", batch: SentenceBatch, weight: Tensor, early_weight: float = 0.0
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Losses of the tokens [sentence, pos - 1], and the gradient of their weighted sum, and of what must be known early
    on, for every parameter that moves."""
    losses, early = token_losses(model, batch, also_early=early_weight > 0)
    whole = (losses * weight).sum() + early_weight * early.sum()
    return losses.detach(), torch.autograd.grad(whole, moving(model))


def moving(model: "LlamaForCausalLM") -> list[nn.Parameter]:
    """The parameters that a growth moves, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]

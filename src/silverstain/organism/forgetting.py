"""What a growth keeps of its schools: how attention looks things up, and nothing of what words mean.

A network remembers word by word what its embeddings already tell apart, and computes what they do not: antonyms held
out are right in 0 % after 200 steps of words when the schools' weights go on as they are, and in 26 % after 250 when
the embeddings of these words and the MLPs are drawn again, small, all by AdamW (docs/log.md).
"""

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@torch.no_grad()
def attention_kept(
    model: "LlamaForCausalLM", scale: float, *, anew: Iterable[int] = (), seed: int = 0
) -> "LlamaForCausalLM":
    """A copy with untied embeddings, whose MLPs and whose embeddings of the tokens `anew` are drawn again.

    Args:
        model: A Llama; it stays as it is.
        scale: Standard deviation of what is drawn.
        anew: Tokens whose embeddings are; the unembedding begins as the embedding.
        seed: Of the draw.
    """
    from transformers import LlamaForCausalLM

    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = False
    kept = LlamaForCausalLM(config)
    kept.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    generator = torch.Generator().manual_seed(seed)
    for name, value in kept.named_parameters():
        if ".mlp." in name:
            value.normal_(std=scale, generator=generator)
    tokens = torch.tensor(sorted(anew), dtype=torch.long)
    drawn = scale * torch.randn(len(tokens), config.hidden_size, generator=generator)
    kept.model.embed_tokens.weight[tokens] = drawn
    kept.lm_head.weight[tokens] = drawn
    return kept

"""One Hugging Face architecture described as data: where the parts of a block are.

A new architecture is one entry in `ARCHITECTURES` and one line in tests/models/test_conformance.py.
"""

from dataclasses import dataclass

from torch import nn

from silverstain.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Where the parts of a pre-norm, sequential, RMS-normalised decoder are, as dotted paths of modules.

    Paths of the first group start at the model, those of the second at a block.
    """

    model_type: str
    """`config.model_type` of the models described."""
    embedding: str = "model.embed_tokens"
    blocks: str = "model.layers"
    final_norm: str = "model.norm"
    unembedding: str = "lm_head"

    attention_norm: str = "input_layernorm"
    attention: str = "self_attn"
    value: str = "self_attn.v_proj"
    output: str = "self_attn.o_proj"
    mlp_norm: str = "post_attention_layernorm"
    mlp: str = "mlp"
    """Reads the output of `mlp_norm`; its own output is what is added to the stream."""
    norm_epsilon: str = "variance_epsilon"
    """Attribute of a norm module that is added to the mean square before the root."""


ARCHITECTURES: dict[str, Architecture] = {
    entry.model_type: entry
    for entry in (
        Architecture(model_type="llama"),
        Architecture(model_type="qwen3"),  # its norms of queries and keys act on patterns only, which are recorded
    )
}


def architecture_of(hf: nn.Module) -> Architecture:
    """The table's entry for a Hugging Face model; UsageError naming the known ones when there is none."""
    model_type = getattr(getattr(hf, "config", None), "model_type", type(hf).__name__)
    try:
        return ARCHITECTURES[model_type]
    except KeyError:
        raise UsageError(
            f"models of type {model_type!r} are not supported yet; supported types: {', '.join(sorted(ARCHITECTURES))}"
        ) from None

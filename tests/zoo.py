"""A tiny random model for every entry of the architecture table, with the oddities of each switched on."""

from typing import Any, NamedTuple

import torch
import transformers
from transformers import PreTrainedModel

SIZES: dict[str, Any] = {
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    # some configurations have special tokens by default that a tiny vocabulary does not have
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
YARN = {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 2.0, "original_max_position_embeddings": 16}
WINDOW = {"sliding_window": 3}
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")
MLP_OUTPUTS = ("mlp.down_proj.weight", "mlp.c_proj.weight", "mlp.dense_4h_to_h.weight", "experts.down_proj")


class Kind(NamedTuple):
    """How one model of the zoo is made, by the names that transformers has for it."""

    model: str
    config: str
    settings: dict[str, Any]


ZOO: dict[str, Kind] = {
    "gpt2": Kind("GPT2LMHeadModel", "GPT2Config", {"n_inner": 24}),
    "gpt_neox": Kind("GPTNeoXForCausalLM", "GPTNeoXConfig", {"use_parallel_residual": True}),
    "gpt_neox-sequential": Kind(
        "GPTNeoXForCausalLM", "GPTNeoXConfig", {"use_parallel_residual": False, "tie_word_embeddings": True}
    ),
    "llama": Kind("LlamaForCausalLM", "LlamaConfig", {"num_key_value_heads": 2, "head_dim": 6}),
    "llama-biased": Kind(
        "LlamaForCausalLM",
        "LlamaConfig",
        {"num_key_value_heads": 4, "attention_bias": True, "tie_word_embeddings": True},
    ),
    "mistral": Kind("MistralForCausalLM", "MistralConfig", {"num_key_value_heads": 2, **WINDOW}),
    "qwen2": Kind(
        "Qwen2ForCausalLM",
        "Qwen2Config",
        {"num_key_value_heads": 2, "use_sliding_window": True, "max_window_layers": 1, **WINDOW},
    ),
    "qwen3": Kind(
        "Qwen3ForCausalLM", "Qwen3Config", {"num_key_value_heads": 1, "head_dim": 6, "tie_word_embeddings": True}
    ),
    "gemma2": Kind(
        "Gemma2ForCausalLM",
        "Gemma2Config",
        {"num_key_value_heads": 2, "head_dim": 6, "query_pre_attn_scalar": 5, **WINDOW}
        | {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0},
    ),
    "gemma3": Kind(
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        {"num_key_value_heads": 2, "head_dim": 6, "query_pre_attn_scalar": 5, **WINDOW}
        | {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
    ),
    "gemma3-images": Kind(
        "Gemma3ForConditionalGeneration", "Gemma3Config", {"num_key_value_heads": 2, "head_dim": 6, **WINDOW}
    ),
    "olmo2": Kind("Olmo2ForCausalLM", "Olmo2Config", {"num_key_value_heads": 2}),
    "phi3": Kind("Phi3ForCausalLM", "Phi3Config", {"num_key_value_heads": 2, **WINDOW}),
    "gpt_oss": Kind(
        "GptOssForCausalLM",
        "GptOssConfig",
        {"num_key_value_heads": 2, "head_dim": 6, "num_local_experts": 4, "num_experts_per_tok": 2}
        | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
        | {"rope_parameters": YARN, **WINDOW},
    ),
}


def build(name: str, *, seed: int = 0, has_outliers: bool = False, **changes: Any) -> PreTrainedModel:
    """One model of the zoo; `changes` are settings by Llama's names. With outliers, one channel of the embedding and
    one of each MLP's output are huge, as in models of the world."""
    kind = ZOO[name]
    settings = SIZES | kind.settings | changes
    config: Any = getattr(transformers, kind.config)(**with_eyes(settings) if "images" in name else settings)
    hf: PreTrainedModel = getattr(transformers, kind.model)(config)
    randomize_(hf, seed)
    if has_outliers:
        _add_outliers_(hf)
    return hf


def with_eyes(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model that also sees images: what it sees with is as small as can be."""
    eyes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"boi_token_index": 1, "eoi_token_index": 2, "image_token_index": 13}
    return {
        "text_config": settings,
        "vision_config": eyes | {"image_size": 16, "patch_size": 8, "vision_use_head": False},
        "mm_tokens_per_image": 1,
        **tokens,
    }


def randomize_(hf: PreTrainedModel, seed: int) -> None:
    """Random everywhere: norm weights and biases too, which start as ones and zeros and would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in hf.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator) * 0.3
        is_scale = parameter.ndim == 1 and not name.endswith(("bias", "sinks"))
        parameter.data = drawn + 1 if is_scale and "Gemma" not in type(hf).__name__ else drawn


def _add_outliers_(hf: PreTrainedModel) -> None:
    for name, parameter in hf.named_parameters():
        if name.endswith(EMBEDDINGS):
            parameter.data[:, 3] += 300.0
        if name.endswith(MLP_OUTPUTS):
            is_in_by_out = "c_proj" in name or "experts" in name
            row = parameter.data[..., 5] if is_in_by_out else parameter.data[5]
            row *= 100.0

"""Small GGUF files, written from random models of transformers, so that what is read can be compared with them."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, PreTrainedModel, Qwen2Config
from transformers.convert_slow_tokenizer import bytes_to_unicode

from silverstain.models.gguf_header import GGUF_TYPES

SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "initializer_range": 0.3,
    "tie_word_embeddings": True,
}  # fmt: skip
PIECES = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = ["Ġt", "Ġth", "Ġthe", "ĠĠ"]
MERGES = ["Ġ t", "Ġt h", "Ġth e", "Ġ Ġ"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
GEMMA_NAMES = NAMES | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}  # fmt: skip


def byte_level_vocabulary() -> list[str]:
    return [*PIECES, *sorted(bytes_to_unicode().values()), *WORDS]


def sentencepiece_vocabulary() -> list[str]:
    letters = [chr(code) for code in range(33, 127)]
    return ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{b:02X}>" for b in range(256)), "▁", *letters, "▁t", "th", "▁th"]


def random_model(architecture: str) -> PreTrainedModel:
    """What a file of `write_gguf` is made of."""
    torch.manual_seed(7)
    if architecture == "llama":
        config: Any = LlamaConfig(vocab_size=len(byte_level_vocabulary()), **SIZES)
    elif architecture == "qwen2":
        config = Qwen2Config(vocab_size=len(byte_level_vocabulary()), **SIZES)
    else:
        config = Gemma3TextConfig(
            vocab_size=len(sentencepiece_vocabulary()), **SIZES, rms_norm_eps=1e-6, sliding_window=16,
            query_pre_attn_scalar=256,
        )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2, mean=0.0 if "gemma" in architecture else 1.0)
    return model


def write_gguf(
    path: Path,
    architecture: str = "llama",
    *,
    kind: Kind = Kind.F32,
    written_as: str | None = None,
    extra: dict[str, np.ndarray] | None = None,
    numbers: dict[str, int | float | str] | None = None,
) -> PreTrainedModel:
    """Write one, and give the model it was made of, its matrices as the file's quantisation leaves them."""
    model = random_model(architecture)
    config: Any = model.config
    name = written_as or architecture
    writer = gguf.GGUFWriter(path, name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1_000_000.0 if architecture == "gemma3" else 10_000.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if kind == Kind.Q8_0 else gguf.LlamaFileType.ALL_F32)
    if architecture == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    if architecture == "gemma3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_sliding_window(config.sliding_window)
    for key, value in (numbers or {}).items():
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        add(key, value)  # type: ignore[arg-type]
    _add_tokenizer(writer, architecture)
    for tensor, parameter in list(model.named_parameters()):
        _add_tensor(writer, architecture, model, tensor, parameter, kind)
    for tensor, values in (extra or {}).items():
        writer.add_tensor(tensor, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert written_as is not None or architecture in GGUF_TYPES
    return model


def _add_tokenizer(writer: gguf.GGUFWriter, architecture: str) -> None:
    if architecture == "gemma3":
        tokens = sentencepiece_vocabulary()
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([-float(index) for index in range(len(tokens))])
        writer.add_token_types([3] * 4 + [6] * 256 + [1] * (len(tokens) - 260))
        bos, eos, unknown, pad = 2, 1, 3, 0
    else:
        tokens = byte_level_vocabulary()
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm" if architecture == "llama" else "qwen2")
        writer.add_token_list(tokens)
        writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
        writer.add_token_merges(MERGES)
        writer.add_chat_template(TEMPLATE)
        bos, eos, unknown, pad = 1, 2, 0, 2
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)
    writer.add_unk_token_id(unknown)
    writer.add_pad_token_id(pad)
    writer.add_add_bos_token(architecture == "gemma3")
    writer.add_add_space_prefix(False)


def _add_tensor(
    writer: gguf.GGUFWriter, architecture: str, model: PreTrainedModel, name: str, parameter: torch.Tensor, kind: Kind
) -> None:
    """A parameter under its name in GGUF; where it is quantised, the model gets what that leaves of it."""
    values = parameter.detach().numpy().astype(np.float32)
    if values.ndim == 2 and kind != Kind.F32:
        packed = gguf.quants.quantize(values, kind)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(gguf.quants.dequantize(packed, kind)))
    if architecture == "llama" and (".q_proj." in name or ".k_proj." in name):
        heads = model.config.num_attention_heads if ".q_proj." in name else model.config.num_key_value_heads
        values = values.reshape(heads, 2, values.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)
    if architecture == "gemma3" and "norm" in name:
        values = values + 1
    if values.ndim == 2 and kind != Kind.F32:
        writer.add_tensor(_gguf_name(architecture, name), gguf.quants.quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(_gguf_name(architecture, name), values)


def _gguf_name(architecture: str, name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    part, _, end = rest.rpartition(".")
    return f"blk.{layer}.{(GEMMA_NAMES if architecture == 'gemma3' else NAMES)[part]}.{end}"

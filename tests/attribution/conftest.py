"""Tiny random models and dictionaries, and the slow oracle: a Hugging Face model frozen by hooks, under autograd."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from silverstain.dictionaries import Dictionary
from silverstain.models import LanguageModel, Recording, attention_through

VOCABULARY = 48
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
}
SHAPES = ("llama", "llama-biased", "llama-outlier", "qwen3", "qwen3-outlier")
KINDS = ("per-layer", "per-layer-skip", "cross-layer", "cross-layer-skip")
PROMPT = [0, 11, 5, 23, 5, 40, 17]


@cache
def tiny_model(shape: str, dtype: torch.dtype = torch.float64, *, seed: int = 0, n_real: int = 1) -> LanguageModel:
    """A random model: `llama`, `qwen3` (grouped values), `-biased` (attention biases), `-outlier` (huge channels)."""
    torch.manual_seed(seed)
    if shape.startswith("qwen3"):
        hf: Any = Qwen3ForCausalLM(Qwen3Config(**SHAPE, num_key_value_heads=2, head_dim=6))
    else:
        hf = LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=4, attention_bias=shape.endswith("biased")))
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            if parameter.ndim == 1:  # norm weights and biases start as ones and zeros
                parameter.add_(0.3 * torch.randn_like(parameter))
            if shape.endswith("outlier") and name.endswith("embed_tokens.weight"):
                parameter[:, 3] += 300.0
            if shape.endswith("outlier") and name.endswith("down_proj.weight"):
                parameter[5] *= 100.0
    words = {"<bos>": 0, **{f"w{i}": i for i in range(1, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<bos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>")
    return LanguageModel(hf.to(dtype), fast, name=f"tiny-{shape}", n_real=n_real)


@cache
def tiny_dictionary(kind: str, dtype: torch.dtype = torch.float64, *, seed: int = 1, **facts: Any) -> Dictionary:
    """A random dictionary for a tiny model: per-layer or cross-layer, with a linear skip if `-skip`."""
    draw = torch.Generator().manual_seed(seed)
    layers, d, features = SHAPE["num_hidden_layers"], SHAPE["hidden_size"], 20

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)

    reach = [layers - layer if kind.startswith("cross") else 0 for layer in range(layers)]
    return Dictionary.from_tensors(
        W_enc=[normal(features, d) for _ in range(layers)],
        b_enc=[normal(features) for _ in range(layers)],
        W_dec=[0.2 * (normal(features, n, d) if n else normal(features, d)) for n in reach],
        b_dec=[0.3 * normal(d) for _ in range(layers)],
        threshold=[1.0 + normal(features).abs() for _ in range(layers)],
        W_skip=[0.2 * normal(d, d) for _ in range(layers)] if kind.endswith("skip") else None,
        name=f"tiny-{kind}",
        **facts,
    )


class FrozenReads(NamedTuple):
    """What a hand-frozen model reads, [layer pos d_model] and [pos d_model], and its logits [pos d_vocab]."""

    mlp_inputs: Tensor
    final: Tensor
    logits: Tensor

    def at(self, layer: int, position: int) -> Tensor:
        return (self.final if layer == len(self.mlp_inputs) else self.mlp_inputs[layer])[position]


@dataclass
class FrozenHuggingFace:
    """The Hugging Face model itself, its norms, patterns and MLPs replaced by their recorded values through hooks."""

    model: LanguageModel
    recording: Recording
    dictionary: Dictionary | None

    def __call__(self, embedding: Tensor, writes: Tensor) -> FrozenReads:
        """Run with `embedding` [pos d_model] and `writes` [layer pos d_model] added where the stream is written."""
        kept: dict[str, Tensor] = {}
        with ExitStack() as stack:
            stack.enter_context(attention_through(self.model.hf, lambda layer, _: self.recording.patterns[layer][None]))
            for module, hook in self._hooks(embedding, writes, kept):
                stack.enter_context(_hooked(module, hook))
            logits = self.model.hf(input_ids=self.recording.token_ids[None], use_cache=False).logits[0]
        mlp_inputs = torch.stack([kept[f"mlp{i}"] for i in range(self.model.n_layers)])
        return FrozenReads(mlp_inputs, kept["final"], logits)

    def _hooks(self, embedding: Tensor, writes: Tensor, kept: dict[str, Tensor]) -> Iterator[tuple[Any, Callable]]:
        model, recording = self.model, self.recording

        def norm(weight: Tensor, scale: Tensor, name: str | None) -> Callable:
            def hook(module: Any, inputs: Any, _: Any) -> Tensor:
                out = inputs[0] * scale[:, None] * weight
                if name is not None:
                    kept[name] = out[0]
                return out

            return hook

        def mlp(layer: int) -> Callable:
            def hook(module: Any, inputs: Any, _: Any) -> Tensor:
                skip = None if self.dictionary is None else self.dictionary.W_skip(layer)
                out = recording.mlp_outputs[layer] + writes[layer]
                if skip is not None:
                    moved = (inputs[0][0] - recording.mlp_inputs[layer]) @ skip.T
                    late = torch.arange(len(moved)) >= model.n_real
                    out = out + moved * late[:, None]
                return out[None]

            return hook

        yield model.hf.get_submodule(model.architecture.embedding), lambda m, i, out: out + embedding
        for layer in range(model.n_layers):
            weight, scale = model.norm_weight("attention", layer), recording.attention_norm_scale[layer]
            yield model.norm("attention", layer), norm(weight, scale, None)
            weight, scale = model.norm_weight("mlp", layer), recording.mlp_norm_scale[layer]
            yield model.norm("mlp", layer), norm(weight, scale, f"mlp{layer}")
            yield model.mlp(layer), mlp(layer)
        yield model.norm("final"), norm(model.norm_weight("final"), recording.final_norm_scale, "final")

    def no_change(self) -> tuple[Tensor, Tensor]:
        """An embedding and writes of zeros."""
        return torch.zeros_like(self.recording.embedding), torch.zeros_like(self.recording.mlp_outputs)


@contextmanager
def _hooked(module: Any, hook: Callable) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class Tiny(NamedTuple):
    """How tests make what they need."""

    model: Callable[..., LanguageModel]
    dictionary: Callable[..., Dictionary]
    frozen: Callable[..., FrozenHuggingFace]
    prompt: list[int]


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny(tiny_model, tiny_dictionary, FrozenHuggingFace, PROMPT)


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param

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
from transformers import PreTrainedTokenizerFast

from silverstain.bases import Dictionary
from silverstain.models import LanguageModel, Recording, attention_through

from ..zoo import SIZES, ZOO, build  # noqa: TID252 - tests are no package that could be named

SHAPES = (*ZOO, "llama-outlier", "gpt2-outlier", "gemma2-outlier")
KINDS = ("per-layer", "per-layer-skip", "cross-layer", "cross-layer-skip")
PROMPT = [0, 11, 5, 23, 5, 40, 17]


@cache
def tiny_model(shape: str, dtype: torch.dtype = torch.float64, *, seed: int = 0, n_real: int = 1) -> LanguageModel:
    """A random model of the zoo, with huge channels if `-outlier`."""
    hf: Any = build(shape.removesuffix("-outlier"), seed=seed, has_outliers=shape.endswith("-outlier"))
    words = {"<bos>": 0, **{f"w{i}": i for i in range(1, SIZES["vocab_size"])}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<bos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>")
    return LanguageModel(hf.to(dtype), fast, name=f"tiny-{shape}", n_real=n_real)


@cache
def tiny_dictionary(kind: str, dtype: torch.dtype = torch.float64, *, seed: int = 1, **facts: Any) -> Dictionary:
    """A random dictionary for a tiny model: per-layer or cross-layer, with a linear skip if `-skip`."""
    draw = torch.Generator().manual_seed(seed)
    layers, d, features = SIZES["num_hidden_layers"], SIZES["hidden_size"], 20

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
    """What a hand-frozen model reads, [layer pos d_model] and [pos d_model], and its logits [pos d_vocab] before any
    soft-cap."""

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
    norms_live: bool = False

    def __call__(self, embedding: Tensor, writes: Tensor) -> FrozenReads:
        """Run with `embedding` [pos d_model] and `writes` [layer pos d_model] added where the stream is written."""
        kept: dict[str, Tensor] = {}
        with ExitStack() as stack:
            stack.enter_context(attention_through(self.model.hf, lambda layer, _: self.recording.patterns[layer][None]))
            for module, hook in self._hooks(embedding, writes, kept):
                stack.enter_context(_hooked(module, hook))
            self.model.hf(input_ids=self.recording.token_ids[None], use_cache=False)
        mlp_inputs = torch.stack([kept[f"mlp{i}"] for i in range(self.model.n_layers)])
        return FrozenReads(mlp_inputs, kept["final"], kept["logits"])

    def _hooks(self, embedding: Tensor, writes: Tensor, kept: dict[str, Tensor]) -> Iterator[tuple[Any, Callable]]:
        """Norms are frozen by name of module and written out by hand: nothing here is the code under test."""
        model, recording, table = self.model, self.recording, self.model.architecture

        def norm(scale: Tensor) -> Callable:
            def hook(module: Any, inputs: Any, _: Any) -> Tensor:
                x = inputs[0]
                if isinstance(module, torch.nn.LayerNorm):
                    return (x - x.mean(-1, keepdim=True)) * scale[:, None] * module.weight + module.bias
                weight = 1 + module.weight if "Gemma" in type(module).__name__ else module.weight
                return x * scale[:, None] * weight

            return hook

        def keep(name: str) -> Callable:
            def hook(module: Any, inputs: Any, output: Any) -> None:
                kept[name] = output[0]

            return hook

        def mlp_read(layer: int) -> Callable:
            def hook(module: Any, inputs: Any, _: Any) -> None:
                kept[f"mlp{layer}"] = inputs[0][0]

            return hook

        def written(layer: int) -> Callable:
            def hook(module: Any, inputs: Any, output: Any) -> Any:
                skip = None if self.dictionary is None else self.dictionary.W_skip(layer)
                out = recording.mlp_outputs[layer] + writes[layer]
                if skip is not None:
                    moved = (kept[f"mlp{layer}"] - recording.mlp_inputs[layer]) @ skip.T
                    late = torch.arange(len(moved)) >= model.n_real
                    out = out + moved * late[:, None]
                return (out[None], None) if isinstance(output, tuple) else out[None]

            return hook

        yield model.block(0), _at_entrance(embedding)
        scales = {
            "attention_norm": recording.attention_norm_scale,
            "attention_output_norm": recording.attention_output_norm_scale,
            "mlp_norm": recording.mlp_norm_scale,
        }
        for layer in range(model.n_layers):
            block = model.block(layer)
            for place, scale in scales.items():
                if getattr(table, place) is not None and not self.norms_live:
                    yield block.get_submodule(getattr(table, place)), norm(scale[layer])
            yield block.get_submodule(table.mlp), mlp_read(layer)
            yield block.get_submodule(table.mlp_output_norm or table.mlp), written(layer)
        if not self.norms_live:
            yield model.hf.get_submodule(table.final_norm), norm(recording.final_norm_scale)
        yield model.hf.get_submodule(table.final_norm), keep("final")
        yield model.hf.get_submodule(table.unembedding), keep("logits")

    def no_change(self) -> tuple[Tensor, Tensor]:
        """An embedding and writes of zeros."""
        return torch.zeros_like(self.recording.embedding), torch.zeros_like(self.recording.mlp_outputs)


class _at_entrance:
    """Added to what a block reads, not to what it gives."""

    def __init__(self, added: Tensor) -> None:
        self.added = added


@contextmanager
def _hooked(module: Any, hook: Any) -> Iterator[None]:
    if isinstance(hook, _at_entrance):
        added = hook.added
        handle = module.register_forward_pre_hook(lambda _, inputs: (inputs[0] + added, *inputs[1:]))
    else:
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

"""A Hugging Face language model, as it is, with the names that the rest of the package uses for its parts."""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from silverstain.errors import UsageError
from silverstain.models.architecture import Architecture, architecture_of
from silverstain.models.words import encode, one_token
from silverstain.storage import hash_tensors

NormPlace = Literal["attention", "mlp", "final"]

# what two configurations must share to be the same model; the rest (defaults, versions, paths) changes with releases
HASHED_SETTINGS = (
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps",
)  # fmt: skip


class LanguageModel:
    """A model under study: weights as Hugging Face gives them, in evaluation mode and without gradients."""

    def __init__(
        self,
        hf: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        n_real: int = 1,
        known_words: Sequence[str] = (),
    ) -> None:
        """Adopt `hf`: it is put into evaluation mode and its parameters stop asking for gradients.

        `n_real` leading positions keep their real MLP under a replacement; `known_words` are suggested beside the
        vocabulary when a prompt has unknown words.
        """
        self.architecture: Architecture = architecture_of(hf)
        self.hf: PreTrainedModel = hf.eval().requires_grad_(False)
        self.tokenizer: PreTrainedTokenizerBase = tokenizer
        self.name = name
        self.n_real = n_real
        self.known_words: Sequence[str] = known_words
        config = hf.config
        self.n_layers: int = config.num_hidden_layers
        self.d_model: int = config.hidden_size
        self.n_heads: int = config.num_attention_heads
        self.n_kv_heads: int = getattr(config, "num_key_value_heads", None) or self.n_heads
        self.d_head: int = getattr(config, "head_dim", None) or self.d_model // self.n_heads
        self.d_vocab: int = self.W_U.shape[0]
        self.max_positions: int = config.max_position_embeddings
        if self.dtype == torch.float64:
            self._keep_norms_in_float64()

    def __repr__(self) -> str:
        return f"LanguageModel({self.name!r}, layers={self.n_layers}, d_model={self.d_model}, vocab={self.d_vocab})"

    @property
    def device(self) -> torch.device:
        return self.W_E.device

    @property
    def dtype(self) -> torch.dtype:
        return self.W_E.dtype

    @cached_property
    def hash(self) -> str:
        """Hash of weights and settings; the weights as float32, so that float64 copies of a model share it."""
        settings = "|".join(f"{key}={getattr(self.hf.config, key, None)}" for key in HASHED_SETTINGS)
        parameters = {name: p.detach().to(torch.float32) for name, p in self.hf.named_parameters()}
        parameters["rotary:inv_freq"] = self._rotary_frequencies()
        parameters[f"settings:{settings}"] = torch.zeros(0)
        return hash_tensors(parameters)

    # text

    def tokenize(self, prompt: str) -> list[int]:
        """Token ids with the special tokens the tokenizer adds; UsageError if empty, unknown or too long."""
        ids = encode(self.tokenizer, prompt, self.known_words)
        self.check_length(len(ids))
        return ids

    def token_strings(self, ids: Sequence[int] | Tensor) -> list[str]:
        """How each token reads by itself."""
        return [self._token_string(int(i)) for i in ids]

    def token_id(self, text: str) -> int:
        """The id of the one token that `text` is; UsageError with the nearest known words otherwise."""
        return one_token(self.tokenizer, text)

    def check_length(self, n_tokens: int) -> None:
        """UsageError when a prompt of `n_tokens` does not fit."""
        if n_tokens > self.max_positions:
            raise UsageError(
                f"the prompt has {n_tokens} tokens, {self.name} takes at most {self.max_positions}; shorten the prompt"
            )

    # running

    def logits(self, token_ids: Tensor) -> Tensor:
        """Logits [pos, d_vocab] of ids [pos], or [batch, pos, d_vocab] of ids [batch, pos]; without gradients."""
        batch = token_ids.to(self.device).reshape(-1, token_ids.shape[-1])
        with torch.no_grad():
            logits = self.hf(input_ids=batch, use_cache=False).logits
        return logits.reshape(*token_ids.shape, -1)

    # parts, for hooks

    def block(self, layer: int) -> nn.Module:
        """The decoder block `layer`; its first argument is the residual stream before its attention."""
        blocks = self.hf.get_submodule(self.architecture.blocks)
        assert isinstance(blocks, nn.ModuleList)  # what the table's path means
        return blocks[layer]

    def mlp(self, layer: int) -> nn.Module:
        """Reads `Recording.mlp_inputs`; what it returns is added to the stream."""
        return self.block(layer).get_submodule(self.architecture.mlp)

    def attention(self, layer: int) -> nn.Module:
        """The attention module; the first of what it returns is added to the stream."""
        return self.block(layer).get_submodule(self.architecture.attention)

    def norm(self, where: NormPlace, layer: int | None = None) -> nn.Module:
        """The norm before attention, before the MLP (both of `layer`), or before the unembedding."""
        if where == "final":
            return self.hf.get_submodule(self.architecture.final_norm)
        if layer is None:
            raise ValueError(f"norm({where!r}) needs a layer")
        path = self.architecture.attention_norm if where == "attention" else self.architecture.mlp_norm
        return self.block(layer).get_submodule(path)

    def norm_scale(self, where: NormPlace, layer: int | None, x: Tensor) -> Tensor:
        """1 / sqrt(mean(x²) + eps) over the last axis, from the norm's own input; in float32 at least."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        epsilon = getattr(self.norm(where, layer), self.architecture.norm_epsilon)
        return torch.rsqrt(wide.square().mean(dim=-1) + epsilon).to(x.dtype)

    # weights, as they are stored

    def norm_weight(self, where: NormPlace, layer: int | None = None) -> Float[Tensor, " d_model"]:
        """What a norm multiplies its normalised input with."""
        return _parameter(self.norm(where, layer), "weight")

    def W_V(self, layer: int) -> Float[Tensor, "kv_head d_head d_model"]:
        """Value vectors of normalised inputs x: einsum("k h d, d -> k h")."""
        weight = _parameter(self.block(layer).get_submodule(self.architecture.value), "weight")
        return weight.view(self.n_kv_heads, self.d_head, self.d_model)

    def b_V(self, layer: int) -> Float[Tensor, "kv_head d_head"] | None:
        """The bias of the value vectors, where the architecture has one."""
        bias = self.block(layer).get_submodule(self.architecture.value).bias
        return bias.view(self.n_kv_heads, self.d_head) if isinstance(bias, Tensor) else None

    def W_O(self, layer: int) -> Float[Tensor, "head d_model d_head"]:
        """What a head adds to the stream for its mixed values z: einsum("n d h, n h -> d"); head n reads values of
        key-value head n // (n_heads / n_kv_heads)."""
        weight = _parameter(self.block(layer).get_submodule(self.architecture.output), "weight")
        return weight.view(self.d_model, self.n_heads, self.d_head).permute(1, 0, 2)

    def b_O(self, layer: int) -> Float[Tensor, " d_model"] | None:
        """The bias that attention adds to the stream, where the architecture has one."""
        bias = self.block(layer).get_submodule(self.architecture.output).bias
        return bias if isinstance(bias, Tensor) else None

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """Embedding rows."""
        return _parameter(self.hf.get_submodule(self.architecture.embedding), "weight")

    @property
    def W_U(self) -> Float[Tensor, "d_vocab d_model"]:
        """Unembedding rows: logits = final norm's output @ W_U.T (+ b_U)."""
        return _parameter(self.hf.get_submodule(self.architecture.unembedding), "weight")

    @property
    def b_U(self) -> Float[Tensor, " d_vocab"] | None:
        """The bias of the logits, where the architecture has one."""
        bias = self.hf.get_submodule(self.architecture.unembedding).bias
        return bias if isinstance(bias, Tensor) else None

    def _token_string(self, token: int) -> str:
        text = self.tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)  # one sequence of ids decodes to one text
        return text or str(self.tokenizer.convert_ids_to_tokens(token))

    def _rotary_frequencies(self) -> Tensor:
        """The rotary frequencies (a buffer, no parameter), empty where there are none."""
        for name, buffer in self.hf.named_buffers():
            if name.endswith("rotary_emb.inv_freq"):
                return buffer.to(torch.float32)
        return torch.zeros(0)

    def _keep_norms_in_float64(self) -> None:
        """Recompute the output of every norm in float64: transformers rounds the norm's input to float32 whatever the
        model's type, and then nothing in a float64 model is exact beyond 1e-7."""
        places: list[tuple[NormPlace, int | None]] = [("final", None)]
        places.extend(("attention", layer) for layer in range(self.n_layers))
        places.extend(("mlp", layer) for layer in range(self.n_layers))
        for where, layer in places:
            self.norm(where, layer).register_forward_hook(partial(self._norm_in_float64, where, layer))

    def _norm_in_float64(
        self, where: NormPlace, layer: int | None, module: nn.Module, inputs: tuple[Tensor], _: Tensor
    ) -> Tensor:
        (x,) = inputs
        return _parameter(module, "weight") * x * self.norm_scale(where, layer, x).unsqueeze(-1)


def _parameter(module: nn.Module, name: str) -> Tensor:
    """A parameter without its gradient history, sharing memory."""
    parameter = getattr(module, name)
    assert isinstance(parameter, Tensor)  # the architecture table named a module that has it
    return parameter.detach()

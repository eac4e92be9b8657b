"""A Hugging Face language model, as it is, with the names that the rest of the package uses for its parts."""

from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from silverstain.errors import UsageError
from silverstain.model_origin import ModelOrigin
from silverstain.models.architecture import Architecture, architecture_of
from silverstain.models.beginning import remark_on_beginning
from silverstain.models.chat import Message, chat_tokens, conversation, head_length
from silverstain.models.kept_hash import KeptHash
from silverstain.models.norms import Norm
from silverstain.models.rotary import factors_at
from silverstain.models.settings import named_settings, unusual_settings
from silverstain.models.words import encode, one_token, token_string
from silverstain.storage import hash_tensors

NormPlace = Literal["attention", "attention_output", "mlp", "mlp_output"]
"""Before attention or the MLP, or behind it."""
NORM_PLACES: tuple[NormPlace, ...] = ("attention", "attention_output", "mlp", "mlp_output")


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
        origin: ModelOrigin | None = None,
        kept_hash: KeptHash | None = None,
    ) -> None:
        """Adopt `hf`: it is put into evaluation mode and its parameters stop asking for gradients.

        `n_real` leading positions keep their real MLP under a replacement: the first token, or the head of a chat
        template (`chat_head`). `known_words` are suggested beside the vocabulary when a prompt has unknown words.
        `origin` says what the weights were made from; `kept_hash` is for a model just read from the file it is of.
        """
        if n_real < 0:
            raise UsageError(f"n_real is {n_real}; give the number of leading positions that keep their real MLP")
        self.architecture: Architecture = architecture_of(hf)
        self.hf: PreTrainedModel = hf.eval().requires_grad_(False)
        self.tokenizer: PreTrainedTokenizerBase = tokenizer
        self.name = name
        self.n_real = n_real
        self.known_words: Sequence[str] = known_words
        self.origin = origin
        """What the weights were made from, where they are of a GGUF file."""
        self._kept_hash = kept_hash
        config = self._config = hf.config.get_text_config()  # of the language model, where there is more
        self.n_layers: int = config.num_hidden_layers
        self.d_model: int = config.hidden_size
        self.n_heads: int = config.num_attention_heads
        self.n_kv_heads: int = getattr(config, "num_key_value_heads", None) or self.n_heads
        self.d_head: int = getattr(config, "head_dim", None) or self.d_model // self.n_heads
        self.d_vocab: int = self.W_U.shape[0]
        self.max_positions: int = config.max_position_embeddings
        self.is_parallel: bool = bool(self._setting(self.architecture.parallel))
        """Whether attention and MLP of a block read the same stream."""
        self.softcap: float | None = self._setting(self.architecture.softcap)
        """Logits are soft-capped at this, where they are: softcap · tanh(x / softcap)."""
        if self.dtype == torch.float64:
            self._compute_in_float64()

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
        """Hash of the weights and of every setting that may change a logit (`models.settings`); the weights as float32,
        so that float64 copies of a model share it. It does not depend on what was run before."""
        unusual = unusual_settings(self._config)
        if self._kept_hash is None or self.dtype not in (torch.float32, torch.float64):
            return self._hash_with(unusual)
        outline = self._hash_with(unusual, with_weights=False)
        if (kept := self._kept_hash.read(outline)) is not None:
            return kept
        found = self._hash_with(unusual)
        self._kept_hash.write(outline, found)
        return found

    @property
    def about(self) -> dict[str, Any]:
        """What files that come of the model say it was."""
        origin = {} if self.origin is None else {"origin": self.origin.facts()}
        return {"name": self.name, "hash": self.hash} | origin

    @cached_property
    def former_hash(self) -> str:
        """What `hash` was while it left out unusual settings; the same where there are none."""
        return self._hash_with("") if unusual_settings(self._config) else self.hash

    def _hash_with(self, unusual: str, *, with_weights: bool = True) -> str:
        """Of the weights and the settings; or, without the weights' numbers, of all but these."""
        if with_weights:
            parameters = {name: p.to(torch.float32) for name, p in _whole_parameters(self.hf)}
        else:
            parameters = {f"{name} {tuple(p.shape)}": torch.zeros(0) for name, p in self.hf.named_parameters()}
        parameters |= self._rotary_frequencies()
        parameters[f"settings:{named_settings(self._config)}"] = torch.zeros(0)
        if unusual:
            parameters[f"unusual settings:{unusual}"] = torch.zeros(0)
        return hash_tensors(parameters)

    # text

    def tokenize(self, prompt: str) -> list[int]:
        """Token ids with the special tokens the tokenizer adds, BOS exactly once in front where the tokenizer has one
        (`models.beginning`); UsageError if empty, unknown or too long."""
        ids = encode(self.tokenizer, prompt, self.known_words)
        self.check_length(len(ids))
        return ids

    def chat(self, messages: str | Sequence[Message], *, system: str | None = None) -> list[int]:
        """Token ids of a conversation (or of one thing the user says) in the model's chat template, up to the answer.

        UsageError where the model has no template or the conversation does not fit. See `chat_head`.
        """
        said = conversation(messages, system) if isinstance(messages, str) else messages
        ids = chat_tokens(self.tokenizer, said, self.name)
        self.check_length(len(ids))
        return ids

    def check_beginning(self, ids: Sequence[int]) -> None:
        """A remark (a Python warning) where token ids begin without the BOS that text of this model begins with."""
        remark_on_beginning(self.tokenizer, ids)

    def chat_head(self, *, system: str | None = None) -> int:
        """How many tokens of every conversation come before what the user says: a value for `n_real`."""
        return head_length(self.tokenizer, self.name, system)

    def token_strings(self, ids: Sequence[int] | Tensor) -> list[str]:
        """How each token reads by itself; bytes that are only part of a character as ⟨C3⟩ (`silverstain.pieces`)."""
        return [token_string(self.tokenizer, int(i)) for i in ids]

    def token_id(self, text: str) -> int:
        """The id of the one token that `text` is; UsageError with the nearest known words otherwise."""
        return one_token(self.tokenizer, text)

    @property
    def depends_on_length(self) -> bool:
        """Whether what is computed at a position depends on how long the whole text is: see `models.rotary`."""
        return self.length_class(1) != ()

    def length_class(self, n_tokens: int) -> Hashable:
        """What must be equal for prompts of two lengths to run in one batch, or for one to go on from the other's
        cache."""
        return factors_at(self._config, n_tokens)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a text, as transformers has it: those of the generation settings or, where these name
        none, of the configuration."""
        for settings in (getattr(self.hf, "generation_config", None), self.hf.config, self._config):
            ends = getattr(settings, "eos_token_id", None)
            if ends is not None:
                listed = ends if isinstance(ends, list | tuple) else (ends,)
                return frozenset(end for end in listed if isinstance(end, int))
        return frozenset()

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

    def logits_of(self, final: Float[Tensor, "*batch d_model"], ids: Sequence[int] | None = None) -> Tensor:
        """The logits of the final norm's output, of all tokens or of some, soft-capped where the model does so."""
        some = slice(None) if ids is None else list(ids)
        logits = final @ self.W_U[some].T.to(final)
        if self.b_U is not None:
            logits = logits + self.b_U[some]
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    # parts, for hooks

    def block(self, layer: int) -> nn.Module:
        """The decoder block `layer`; its first argument is the residual stream before its attention."""
        blocks = self.hf.get_submodule(self.architecture.blocks)
        assert isinstance(blocks, nn.ModuleList)  # what the table's path means
        return blocks[layer]

    def mlp(self, layer: int) -> nn.Module:
        """Reads `Recording.mlp_inputs`."""
        return self.block(layer).get_submodule(self.architecture.mlp)

    def mlp_writer(self, layer: int) -> nn.Module:
        """The module whose output is what the MLP adds to the stream: the norm behind it, or else itself."""
        norm = self.norm("mlp_output", layer)
        return self.mlp(layer) if norm is None else norm.module

    def attention(self, layer: int) -> nn.Module:
        """The attention module; the first of what it returns is added to the stream, or read by the norm behind it."""
        return self.block(layer).get_submodule(self.architecture.attention)

    def norm(self, where: NormPlace, layer: int) -> Norm | None:
        """A norm of a block; None where the architecture has none."""
        path: str | None = getattr(self.architecture, f"{where}_norm")
        return None if path is None else Norm(module=self.block(layer).get_submodule(path), kind=self.architecture.norm)

    @property
    def final_norm(self) -> Norm:
        """The norm before the unembedding."""
        return Norm(module=self.hf.get_submodule(self.architecture.final_norm), kind=self.architecture.norm)

    def norms(self) -> Iterator[Norm]:
        """Every norm that the stream, or what is added to it, goes through."""
        for layer in range(self.n_layers):
            yield from filter(None, (self.norm(where, layer) for where in NORM_PLACES))
        yield self.final_norm

    def inner_norms(self, layer: int) -> list[Norm]:
        """The norms inside the attention of a layer, of queries and keys, where there are any."""
        found = self.attention(layer).modules()
        return [
            Norm(module=part, kind=self.architecture.norm) for part in found if type(part).__name__.endswith("Norm")
        ]

    # weights, as they are stored

    def W_V(self, layer: int) -> Float[Tensor, "kv_head d_head d_model"]:
        """Value vectors of normalised inputs x: einsum("k h d, d -> k h")."""
        return self._values_of(_weight(self._value_projection(layer)))

    def b_V(self, layer: int) -> Float[Tensor, "kv_head d_head"] | None:
        """The bias of the value vectors, where the architecture has one."""
        bias = _bias(self._value_projection(layer))
        return None if bias is None else self._values_of(bias)

    def W_O(self, layer: int) -> Float[Tensor, "head d_model d_head"]:
        """What a head adds to the stream for its mixed values z: einsum("n d h, n h -> d"); head n reads values of
        key-value head n // (n_heads / n_kv_heads)."""
        weight = _weight(self.block(layer).get_submodule(self.architecture.output))
        return weight.view(self.d_model, self.n_heads, self.d_head).permute(1, 0, 2)

    def b_O(self, layer: int) -> Float[Tensor, " d_model"] | None:
        """The bias that attention adds to the stream, where the architecture has one."""
        return _bias(self.block(layer).get_submodule(self.architecture.output))

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """Embedding rows."""
        return _weight(self.hf.get_submodule(self.architecture.embedding))

    @property
    def W_U(self) -> Float[Tensor, "d_vocab d_model"]:
        """Unembedding rows: logits = final norm's output @ W_U.T (+ b_U), soft-capped where there is a cap."""
        return _weight(self.hf.get_submodule(self.architecture.unembedding))

    @cached_property
    def mean_W_U(self) -> Float[Tensor, " d_model"]:
        """The mean unembedding row, in float64. Found once, as a vocabulary may have 262,144 rows: weights that change
        or move want a new LanguageModel, as for `hash`."""
        return self.W_U.mean(dim=0, dtype=torch.float64)

    @property
    def b_U(self) -> Float[Tensor, " d_vocab"] | None:
        """The bias of the logits, where the architecture has one."""
        return _bias(self.hf.get_submodule(self.architecture.unembedding))

    def _setting(self, key: str | None) -> Any:
        """A setting of the configuration, None where it has none of that name."""
        return None if key is None else getattr(self._config, key, None)

    def _value_projection(self, layer: int) -> nn.Module:
        return self.block(layer).get_submodule(self.architecture.value)

    def _values_of(self, rows: Float[Tensor, "out ..."]) -> Float[Tensor, "kv_head d_head ..."]:
        """The outputs of the value projection that are values, by head."""
        if self.architecture.is_value_interleaved:
            return rows.view(self.n_kv_heads, 3, self.d_head, *rows.shape[1:])[:, 2].contiguous()
        return rows[-self.n_kv_heads * self.d_head :].view(self.n_kv_heads, self.d_head, *rows.shape[1:])

    def _rotary_frequencies(self) -> dict[str, Tensor]:
        """The rotary frequencies (buffers, no parameters): one tensor, empty where there are none, or one for each type
        of layer. Where they depend on the length of what is run, those of short texts, whatever was run last."""
        buffers = dict(self.hf.named_buffers())
        found = {}
        for path, buffer in buffers.items():
            place, _, name = path.rpartition(".")
            if "rotary_emb" in place and name.endswith("inv_freq") and "original_" not in name:
                first = f"{place}.{name.removesuffix('inv_freq')}original_inv_freq"
                used = buffers.get(first, buffer) if self.depends_on_length else buffer
                found[f"rotary:{name}"] = used.to(buffer.device, torch.float32)
        return found or {"rotary:inv_freq": torch.zeros(0)}

    def _compute_in_float64(self) -> None:
        """Let nothing fall back to float32: transformers rounds every norm's input to it whatever the model's type,
        and then nothing in a float64 model is exact beyond 1e-7; its fast product of experts refuses float64."""
        inner = (norm for layer in range(self.n_layers) for norm in self.inner_norms(layer))
        for norm in (*self.norms(), *inner):
            norm.module.forward = norm.__call__  # type: ignore[method-assign]
        if self._setting("_experts_implementation") is not None:
            self._config._experts_implementation = "eager"


def _weight(module: nn.Module) -> Float[Tensor, "out d_in"]:
    """A weight without its gradient history, sharing memory, as [out, in] whatever the layout of the module."""
    weight = module.weight
    assert isinstance(weight, Tensor)  # the architecture table named a module that has it
    return weight.detach().T if isinstance(module, Conv1D) else weight.detach()


def _whole_parameters(hf: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters; those of which every process holds a part (FSDP) whole, on the CPU: all must ask at once."""
    if hasattr(hf, "reshard"):  # FSDP's own memory, which must not be lent out
        hf.reshard()  # type: ignore[operator]
    for name, parameter in hf.named_parameters():
        whole = getattr(parameter, "full_tensor", None)  # of a DTensor, whose module costs a second to import
        yield name, parameter.detach() if whole is None else whole().detach().cpu()


def _bias(module: nn.Module) -> Tensor | None:
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, Tensor) else None

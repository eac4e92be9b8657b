"""Attention computed by us for the length of a `with`: to read its patterns, or to hold them fixed.

transformers looks its attention function up by name at every call. We register one name for good; it dispatches to
the function of the enclosing `attention_through`. One hook so serves every architecture that uses the interface.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

NAME = "silverstain"  # as transformers knows our attention function

PatternFunction = Callable[[int, Tensor], Tensor]
"""(layer, computed pattern [batch, head, query, key]) -> the pattern to use, of the same shape."""


class AttentionCall(NamedTuple):
    """What one layer's attention was computed from."""

    layer: int
    query: Float[Tensor, "batch head query d_head"]
    """As it is multiplied with keys: normed, rotated."""
    key: Float[Tensor, "batch kv_head key d_head"]
    value: Float[Tensor, "batch kv_head key d_head"]
    mask: Tensor | None
    scaling: float
    softcap: float | None
    sinks: Float[Tensor, " head"] | None


_current: ContextVar[PatternFunction | None] = ContextVar("silverstain_attention", default=None)
_observer: ContextVar[Callable[[AttentionCall], None] | None] = ContextVar("silverstain_calls", default=None)
_lock = threading.RLock()  # the name of the attention function is a setting of the model, shared by threads


@contextmanager
def attention_through(hf: PreTrainedModel, function: PatternFunction) -> Iterator[None]:
    """Let every attention pattern of `hf` pass through `function` inside the `with`; afterwards all is as before.

    Inside another such `with`, the other's function comes after this one: a recording sees edited patterns.
    """
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, eager_mask)  # additive masks, as eager attention gets them
    with _lock:
        config = hf.config.get_text_config()
        before = config._attn_implementation
        outer = _current.get()
        token = _current.set(function if outer is None else lambda layer, p: outer(layer, function(layer, p)))
        config._attn_implementation = NAME
        try:
            yield
        finally:
            config._attn_implementation = before
            _current.reset(token)


@contextmanager
def attention_calls(hf: PreTrainedModel, seen: Callable[[AttentionCall], None]) -> Iterator[None]:
    """Let `seen` have what every attention of `hf` is computed from, inside the `with`.

    Queries and keys are handed over with their gradient history, where there is one; what is computed from them has
    none.
    """
    token = _observer.set(seen)
    try:
        with attention_through(hf, lambda _, pattern: pattern):
            yield
    finally:
        _observer.reset(token)


def causal_pattern(
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch head key d_head"],
    mask: Tensor | None,
    scaling: float,
    *,
    softcap: float | None = None,
    sinks: Float[Tensor, " head"] | None = None,
) -> Float[Tensor, "batch head query key"]:
    """softmax(scaling · q·k + mask) over keys, in float32 at least (as transformers' eager attention does).

    With `softcap`, scores are softcap · tanh(score / softcap) before the mask. With `sinks`, a score of its own in
    each head takes its share of the attention and carries nothing: rows then sum to less than 1.
    Unlike there, float64 stays float64: identities that hold to 1e-10 are tested on it.
    """
    scores = torch.matmul(query, key.transpose(-1, -2)) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores + mask[..., : key.shape[-2]]
    if sinks is not None:
        scores = torch.cat([scores, sinks[:, None, None].to(scores).expand(*scores.shape[:-1], 1)], dim=-1)
    wide = torch.promote_types(query.dtype, torch.float32)
    return torch.softmax(scores, dim=-1, dtype=wide)[..., : key.shape[-2]].to(query.dtype)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    s_aux: Tensor | None = None,  # as transformers calls the sinks
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Eager attention whose pattern passes through the current function; key and value heads may serve several."""
    function = _current.get()
    assert function is not None  # the name is set only inside attention_through
    observer, layer = _observer.get(), cast(int, module.layer_idx)
    if observer is not None:
        observer(AttentionCall(layer, query, key, value, attention_mask, scaling, softcap, s_aux))
        query, key, value = query.detach(), key.detach(), value.detach()
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
    pattern = causal_pattern(query, key, attention_mask, scaling, softcap=softcap, sinks=s_aux)
    pattern = function(layer, pattern)
    mixed = torch.matmul(pattern, value)
    return mixed.transpose(1, 2).contiguous(), pattern

"""A treatment in force on the Hugging Face model, for the length of a `with`.

Each rule reads the treated run itself, so a call costs one pass, and generation with a key-value cache works: what
conditions saw of earlier tokens is kept from call to call. A call with an empty cache starts anew.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.edits import Edit
from silverstain.interventions.other_edits import DirectionEdit, PatternEdit
from silverstain.models import LanguageModel, MlpCall, attention_through, mlps_through
from silverstain.treatment.treatment import Condition, Rule, Treatment


def looking_back(active: Bool[Tensor, "batch pos"], first: int, last: int | None) -> Bool[Tensor, "batch pos"]:
    """Where something was active from `first` to `last` tokens before (None: however long before)."""
    n = active.shape[1]
    farthest = n - 1 if last is None else min(last, n - 1)
    found = torch.zeros_like(active)
    for back in range(first, farthest + 1):
        found[:, back:] |= active[:, : n - back]
    return found


@contextmanager
def treated(model: LanguageModel, dictionary: Dictionary, treatment: Treatment) -> Iterator[LanguageModel]:
    """The model under the treatment: any call of `model.hf`, `generate` included. No stored weight is touched.

    with treated(model, dictionary, treatment):
        logits = model.logits(token_ids)
    """
    treatment.check_fits(model, dictionary)
    running = _Running(model, dictionary, treatment)
    with ExitStack() as stack:
        stack.callback(model.hf.register_forward_pre_hook(running.enter, with_kwargs=True).remove)
        stack.callback(model.hf.register_forward_hook(running.leave).remove)
        stack.enter_context(mlps_through(model, running.mlp, reads_at=dictionary.reads_at))
        for layer in sorted({r.edit.layer for r in treatment.rules if isinstance(r.edit, DirectionEdit)}):
            stack.callback(model.block(layer).register_forward_hook(running.stream(layer)).remove)
        if any(isinstance(rule.edit, PatternEdit) for rule in treatment.rules):
            stack.enter_context(attention_through(model.hf, running.pattern))
        yield model


class _Running:
    """What the rules need to know of the call that is running."""

    def __init__(self, model: LanguageModel, dictionary: Dictionary, treatment: Treatment) -> None:
        self._model, self._dictionary, self._rules = model, dictionary, treatment.rules
        self._watched = sorted({at for rule in self._rules if rule.when for at in rule.when.features})
        self._edited = [rule for rule in self._rules if isinstance(rule.edit, Edit)]
        self._past = 0
        self._active: dict[tuple[int, int], Tensor] = {}  # of all tokens so far, [batch, pos]
        self._pending: dict[int, Tensor] = {}

    def enter(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        cache = named.get("past_key_values")
        self._past = 0 if cache is None else cache.get_seq_length()
        self._pending = {}
        if not self._past:
            self._active = {}

    def leave(self, _: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        if not bool(output.logits.isfinite().all()):
            raise UsageError("under this treatment the model gives NaN or infinite logits; make its changes smaller")

    def mlp(self, call: MlpCall) -> Tensor:
        layer, output = call.layer, call.real(call.x)
        is_read = any(at[0] == layer for at in self._watched) or any(
            at == layer for rule in self._edited if isinstance(rule.edit, Edit) for at, _ in rule.edit.features
        )
        if is_read:
            activations = self._dictionary.encode_layer(layer, call.read.to(self._dictionary.dtype))
            activations[:, : max(0, self._model.n_real - self._past)] = 0  # these tokens keep their MLP: no features
            for at in self._watched:
                if at[0] == layer:
                    self._remember(at, activations[..., at[1]] > 0)
            for rule in self._edited:
                self._queue(rule, layer, activations, output)
        return output + self._pending.pop(layer) if layer in self._pending else output

    def stream(self, layer: int) -> Callable[..., Any]:
        """A hook behind a block. All components are measured before any is changed."""
        rules = [r for r in self._rules if isinstance(r.edit, DirectionEdit) and r.edit.layer == layer]

        def leave(_: nn.Module, arguments: tuple, output: Any) -> Any:
            stream = output[0] if isinstance(output, tuple) else output
            edited = stream.clone()
            for rule in rules:
                assert isinstance(rule.edit, DirectionEdit)
                unit = torch.tensor(rule.edit.direction, dtype=torch.float64)
                unit = (unit / unit.norm()).to(stream)
                factor, constant = rule.edit.rule
                change = (factor - 1) * (stream @ unit) + constant
                edited += (change * self._holds(rule.when, stream))[..., None] * unit
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return leave

    def pattern(self, layer: int, pattern: Float[Tensor, "batch head query key"]) -> Tensor:
        edited = pattern
        for rule in self._rules:
            heads = [head for at, head in rule.edit.heads if at == layer] if isinstance(rule.edit, PatternEdit) else []
            if heads and isinstance(rule.edit, PatternEdit) and rule.when is not None:
                edited = edited.clone() if edited is pattern else edited
                keys = self._all_tokens(rule.when)
                queries = ~keys[:, keys.shape[1] - pattern.shape[2] :]
                visible = torch.ones_like(pattern[0, 0], dtype=torch.bool).tril(keys.shape[1] - pattern.shape[2])
                where = (queries[:, :, None] & keys[:, None, :] & visible)[:, None]
                factor, constant = rule.edit.rule
                edited[:, heads] = torch.where(where, factor * pattern[:, heads] + constant, pattern[:, heads])
        return edited

    def _remember(self, at: tuple[int, int], now: Bool[Tensor, "batch pos"]) -> None:
        before = self._active.get(at)
        if self._past and (before is None or before.shape != (now.shape[0], self._past)):
            raise UsageError("this cache was not filled under the treatment; begin with an empty cache, or none")
        self._active[at] = now if before is None or not self._past else torch.cat([before, now], dim=1)

    def _all_tokens(self, when: Condition) -> Bool[Tensor, "batch key"]:
        active = torch.stack([self._active[at] for at in when.features]).any(0)
        return looking_back(active, when.first, when.last)

    def _holds(self, when: Condition | None, like: Float[Tensor, "batch pos d"]) -> Tensor:
        """1 at the tokens of this call where a rule holds, else 0: [batch, pos]."""
        if when is None:
            return torch.ones_like(like[..., 0])
        return self._all_tokens(when)[:, self._past :].to(like.dtype)

    def _queue(self, rule: Rule, layer: int, activations: Tensor, output: Tensor) -> None:
        """Add what the rule's features of this layer write more or less to what waits for the layers they write to."""
        assert isinstance(rule.edit, Edit)
        here = [(feature, factor, constant) for at, feature, factor, constant in rule.edit.rules() if at == layer]
        if not here:
            return
        features = torch.tensor([feature for feature, _, _ in here], device=activations.device)
        factor, constant = (torch.tensor([row[i] for row in here]).to(activations) for i in (1, 2))
        change = (factor - 1) * activations[..., features] + constant
        change = change * self._holds(rule.when, activations)[..., None]
        change[:, : max(0, self._model.n_real - self._past)] = 0
        rows = self._dictionary.decoder_rows(layer, features).to(change)
        for k, target in enumerate(self._dictionary.targets(layer)):
            waiting = self._pending.get(target, torch.zeros_like(output))
            self._pending[target] = waiting + (change @ rows[:, k]).to(output.dtype)

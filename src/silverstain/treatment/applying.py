"""A treatment in force on the Hugging Face model, for the length of a `with`.

Each rule reads the treated run itself, so a call costs one pass, and generation with a key-value cache works: what
conditions saw of earlier tokens is kept from call to call. A call with an empty cache starts anew.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.interventions.edits import DirectionEdit, Edit, PatternEdit
from silverstain.interventions.running import FeatureChanges, running_under
from silverstain.models import LanguageModel
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
def treated(model: LanguageModel, dictionary: Basis, treatment: Treatment) -> Iterator[LanguageModel]:
    """The model under the treatment: any call of `model.hf`, `generate` included. No stored weight is touched.

    with treated(model, dictionary, treatment):
        logits = model.logits(token_ids)
    """
    treatment.check_fits(model, dictionary)
    running = _Running(model, dictionary, treatment)
    with ExitStack() as stack:
        stack.callback(model.hf.register_forward_pre_hook(running.enter, with_kwargs=True).remove)
        stack.callback(model.hf.register_forward_hook(running.leave).remove)
        stack.enter_context(running_under(model, dictionary, running))
        yield model


class _Running:
    """What the rules need to know of the call that is running."""

    def __init__(self, model: LanguageModel, dictionary: Basis, treatment: Treatment) -> None:
        self._model, self._dictionary, self._rules = model, dictionary, treatment.rules
        self._watched = sorted({at for rule in self._rules if rule.when for at in rule.when.features})
        self._past = 0
        self._active: dict[tuple[int, int], Tensor] = {}  # of all tokens so far, [batch, pos]
        self.changes_embedding = False
        self.changed_streams = tuple(sorted({r.edit.layer for r in self._rules if isinstance(r.edit, DirectionEdit)}))
        self.changes_patterns = any(isinstance(rule.edit, PatternEdit) for rule in self._rules)

    def enter(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        cache = named.get("past_key_values")
        self._past = 0 if cache is None else cache.get_seq_length()
        if not self._past:
            self._active = {}

    def leave(self, _: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        if not bool(output.logits.isfinite().all()):
            raise UsageError("under this treatment the model gives NaN or infinite logits; make its changes smaller")

    def embedding(self, stream: Tensor) -> Tensor:
        return stream

    def mlp_output(self, layer: int, read: Tensor, output: Tensor) -> Tensor:
        return output

    def held(self, layer: int, output: Tensor) -> Tensor:
        return output

    def features(self, layer: int, read: Float[Tensor, "batch pos d_model"]) -> FeatureChanges | None:
        """What the rules of features change in this layer; what conditions watch there is remembered."""
        rules = [(rule, edited) for rule in self._rules if (edited := _of_features(rule, layer))]
        watched = [at for at in self._watched if at[0] == layer]
        if not rules and not watched:
            return None
        activations = self._dictionary.encode_layer(layer, read)
        n_real = max(0, self._dictionary.n_real(self._model) - self._past)  # these tokens keep their MLP: no features
        activations[:, :n_real] = 0
        for at in watched:
            self._remember(at, activations[..., at[1]] != 0)
        found = []
        for rule, edited in rules:
            features = torch.tensor([feature for feature, _, _ in edited], device=activations.device)
            factor, constant = (torch.tensor([row[i] for row in edited]).to(activations) for i in (1, 2))
            change = (factor - 1) * activations[..., features] + constant
            change = change * self._holds(rule.when, activations)[..., None]
            change[:, :n_real] = 0
            row, position, which = change.nonzero(as_tuple=True)
            found.append(FeatureChanges(row, position, features[which], change[row, position, which]))
        return FeatureChanges(*(torch.cat(column) for column in zip(*found, strict=True))) if found else None

    def stream(self, layer: int, stream: Float[Tensor, "batch pos d_model"]) -> Tensor:
        """All components along directions are measured before any is changed."""
        edited = stream.clone()
        for rule in self._rules:
            if isinstance(rule.edit, DirectionEdit) and rule.edit.layer == layer:
                unit = torch.tensor(rule.edit.direction, dtype=torch.float64)
                unit = (unit / unit.norm()).to(stream)
                factor, constant = rule.edit.rule
                change = (factor - 1) * (stream @ unit) + constant
                edited += (change * self._holds(rule.when, stream))[..., None] * unit
        return edited

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


def _of_features(rule: Rule, layer: int) -> list[tuple[int, float, float]]:
    """(feature, factor, constant) of what a rule edits in a layer."""
    if not isinstance(rule.edit, Edit):
        return []
    return [(feature, factor, constant) for at, feature, factor, constant in rule.edit.rules() if at == layer]

"""The forward pass under edits: the model as it is, plus what the edited features would write more or less.

Clean and edited rows run in one batch. So the clean activations an edit is measured against, the clean attention
patterns that `attention="frozen"` imposes, and the clean MLP outputs that `held_layers` imposes are all at hand at the
layer where they are needed; nothing is recorded, and nothing runs twice.

Error and token nodes, directions and attention patterns are changed by `applied`; here are the features. The MLP itself
stays: a change of a feature is (new − activation) · its decoder rows, added once to the MLP output of
every layer it writes to, so the dictionary's error is kept. Everything downstream recomputes.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.applied import CleanErrors, edit_pattern, tokens_and_directions
from silverstain.interventions.changes import Changes, resolve_changes
from silverstain.interventions.edit_text import AnyEdit
from silverstain.interventions.edits import Edit
from silverstain.interventions.regimes import Regime
from silverstain.interventions.sites import Sites
from silverstain.models import LanguageModel, MlpCall, Norm, attention_through, harvest, mlps_through
from silverstain.models.mlps import forwards_of


def paired_logits(
    model: LanguageModel,
    dictionary: Dictionary,
    prompts: Int[Tensor, "prompt pos"],
    prompt_of_row: Int[Tensor, " row"],
    changes: Changes,
    regime: Regime,
) -> tuple[Float[Tensor, "prompt pos d_vocab"], Float[Tensor, "row pos d_vocab"]]:
    """Logits of every prompt as it is, and of every edited row (row r is prompt prompt_of_row[r] under its sites)."""
    n_rows, n_prompts = len(prompt_of_row), len(prompts)
    ids = torch.cat([prompts[prompt_of_row], prompts])
    clean = torch.arange(n_prompts, device=ids.device) + n_rows
    twin = torch.cat([clean[prompt_of_row], clean])
    with torch.no_grad(), edited_rows(model, dictionary, changes, twin, regime):
        logits = model.hf(input_ids=ids, use_cache=False).logits
    return logits[n_rows:], logits[:n_rows]


@contextmanager
def editing(
    model: LanguageModel,
    dictionary: Dictionary,
    edits: Sequence[AnyEdit],
    *,
    attention: str = "live",
    base: str = "clean",
    held_layers: Collection[int] = (),
    norms: str = "live",
) -> Iterator[LanguageModel]:
    """Apply the edits to the Hugging Face model itself for the length of a `with`; afterwards it is as before.

    Any call of `model.hf` or `model.logits` inside gives edited logits, for whatever tokens it is called with
    (positions are resolved against each call). Each call runs its clean twin in the same batch, so it costs two
    passes. Key-value caches are refused: pass use_cache=False.

        with editing(model, dictionary, [parse_edit("ablate:L1.F23@5")]):
            logits = model.logits(token_ids)
    """
    regime = Regime(attention=attention, base=base, held_layers=tuple(held_layers), norms=norms)
    _check_layers(regime.held_layers, model.n_layers)
    with ExitStack() as stack:
        twin = _Twin(model, dictionary, tuple(edits), regime)
        stack.callback(model.hf.register_forward_pre_hook(twin.enter, with_kwargs=True).remove)
        stack.callback(model.hf.register_forward_hook(twin.leave, always_call=True).remove)
        yield model


class _Twin:
    """Doubles each call of the model and gives back the edited half.

    Edited rows come first: whoever records row 0 of a single prompt records the edited run.
    """

    def __init__(
        self, model: LanguageModel, dictionary: Dictionary, edits: tuple[AnyEdit, ...], regime: Regime
    ) -> None:
        self._model, self._dictionary, self._edits, self._regime = model, dictionary, edits, regime
        self._open = ExitStack()

    def enter(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        ids = arguments[0] if arguments else named.get("input_ids")
        cache = named.get("past_key_values")
        if ids is None:
            raise UsageError("An edited model takes input_ids; call it with tokens, not with embeddings.")
        if cache is not None and cache.get_seq_length() > 0:
            raise UsageError("An edited model cannot continue from a cache; pass use_cache=False, or use generate().")
        batch, length = ids.shape
        changes = changes_for(self._model, self._dictionary, [self._edits] * batch, [length] * batch)
        twin = (torch.arange(batch, device=ids.device) + batch).repeat(2)
        self._open = ExitStack()
        self._open.enter_context(edited_rows(self._model, self._dictionary, changes, twin, self._regime))
        named = {key: _doubled(value, batch) for key, value in named.items()}
        return tuple(_doubled(value, batch) for value in arguments), named

    def leave(self, _: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        self._open.close()
        if output is None:  # the call failed: only the undoing matters
            return None
        output.logits = output.logits[: output.logits.shape[0] // 2]
        return output


def _doubled(value: Any, batch: int) -> Any:
    is_batched = isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == batch
    return torch.cat([value, value]) if is_batched else value


@contextmanager
def edited_rows(
    model: LanguageModel,
    dictionary: Dictionary,
    changes: Changes,
    twin: Int[Tensor, " batch"],
    regime: Regime,
) -> Iterator[None]:
    """A `with` in which the rows that changes name are edited; twin[row] is the clean row of each, or its own."""
    _check_layers(regime.held_layers, model.n_layers)
    pending: dict[int, Tensor] = {}  # what is still to be added to the MLP output of each layer, all rows
    errors = CleanErrors(dictionary, changes.errors, twin)

    def edited(call: MlpCall) -> Tensor:
        layer, here = call.layer, changes.sites.at_layer(call.layer)
        output = call.real(call.x)
        if len(here):
            read_rows = twin[here.row] if regime.base == "clean" else here.row
            change = here.change(_activations(dictionary, layer, call.read, read_rows, here))
            _queue(pending, dictionary, layer, change, here, like=output)
        for row, position, delta in errors.deltas(layer, call.read, output):
            pending.setdefault(layer, torch.zeros_like(output))[row, position] += delta
        if layer in regime.held_layers:
            n_real = max(0, model.n_real - changes.offset)
            output = output[twin] + _skip_response(dictionary, layer, call.read, twin, n_real)
        return output + pending.pop(layer) if layer in pending else output

    def patterns(layer: int, pattern: Tensor) -> Tensor:
        used = pattern[twin] if regime.attention == "frozen" else pattern
        return edit_pattern(used, changes.patterns[layer]) if layer in changes.patterns else used

    with ExitStack() as stack:
        if regime.norms == "frozen":
            stack.enter_context(_held_norms(model, twin))  # first: what an MLP adds may have passed a norm
        stack.enter_context(mlps_through(model, edited, reads_at=dictionary.reads_at))
        stack.enter_context(tokens_and_directions(model, changes, twin, regime))
        if regime.attention == "frozen" or changes.patterns:
            stack.enter_context(attention_through(model.hf, patterns))
        yield


def _held_norms(model: LanguageModel, twin: Int[Tensor, " batch"]) -> AbstractContextManager[None]:
    """Let every norm scale each row as it scales its twin."""

    def held(norm: Norm) -> Callable[[Tensor], Tensor]:
        return lambda x: norm.with_scale(x, norm.scale(x)[twin])

    norms = list(model.norms())
    return forwards_of([norm.module for norm in norms], [held(norm) for norm in norms])


def _skip_response(
    dictionary: Dictionary,
    layer: int,
    mlp_input: Float[Tensor, "batch pos d_model"],
    twin: Int[Tensor, " batch"],
    n_real: int,
) -> Float[Tensor, "batch pos d_model"] | float:
    """What the dictionary's linear skip makes of the change of an MLP's input; 0 where there is no skip, as at the
    first `n_real` positions, which keep their real MLP."""
    W_skip = dictionary.W_skip(layer)
    if W_skip is None:
        return 0.0
    change = mlp_input - mlp_input[twin]
    change[:, :n_real] = 0
    return change @ W_skip.to(mlp_input).T


def _activations(
    dictionary: Dictionary,
    layer: int,
    mlp_input: Float[Tensor, "batch pos d_model"],
    rows: Int[Tensor, " site"],
    here: Sites,
) -> Float[Tensor, " site"]:
    """The activation at each site, read from the given rows; each token is encoded once."""
    places, which = torch.unique(torch.stack([rows, here.position]), dim=1, return_inverse=True)
    dense = dictionary.encode_layer(layer, mlp_input[places[0], places[1]].to(dictionary.dtype))
    return dense[which, here.feature].to(here.factor.dtype)


def _queue(
    pending: dict[int, Tensor],
    dictionary: Dictionary,
    layer: int,
    change: Float[Tensor, " site"],
    here: Sites,
    *,
    like: Float[Tensor, "batch pos d_model"],
) -> None:
    """Add change · decoder rows to what waits for the MLP output of every layer the features write to."""
    for target, write in writes(dictionary, layer, change, here):
        waiting = pending.setdefault(target, torch.zeros_like(like))
        waiting.index_put_((here.row, here.position), write.to(like.dtype), accumulate=True)


def writes(
    dictionary: Dictionary, layer: int, change: Float[Tensor, " site"], here: Sites
) -> Iterator[tuple[int, Float[Tensor, "site d_model"]]]:
    """(target layer, change · decoder row of each site) for every layer that features of `layer` write to."""
    features, which = torch.unique(here.feature, return_inverse=True)
    rows = dictionary.decoder_rows(layer, features).to(change)
    for k, target in enumerate(dictionary.targets(layer)):
        yield target, change[:, None] * rows[which, k]


def edit_deltas(
    model: LanguageModel, dictionary: Dictionary, prompts: Int[Tensor, "row pos"], sites: Sites
) -> dict[int, Float[Tensor, "row pos d_model"]]:
    """What base="clean" edits add to the MLP output of each layer they reach, from one clean pass.

    The same vectors can be added to another model of the same stream: the replaced one.
    """
    deltas: dict[int, Tensor] = {}
    if not len(sites):
        return deltas
    mlp_inputs, *_ = harvest(model, prompts, reads_at=dictionary.reads_at)
    for layer in range(dictionary.n_layers):
        here = sites.at_layer(layer)
        if len(here):
            change = here.change(_activations(dictionary, layer, mlp_inputs[layer], here.row, here))
            _queue(deltas, dictionary, layer, change, here, like=mlp_inputs[layer])
    return deltas


def changes_for(
    model: LanguageModel, dictionary: Dictionary, edits: Sequence[Sequence[AnyEdit]], lengths: Sequence[int]
) -> Changes:
    """`resolve_changes` with the sizes and type of this model and dictionary."""
    dtype = model.dtype if model.dtype == torch.float64 else torch.float32
    return resolve_changes(edits, lengths, model=model, n_features=dictionary.n_features, dtype=dtype)


def sites_for(
    model: LanguageModel, dictionary: Dictionary, edits: Sequence[Sequence[AnyEdit]], lengths: Sequence[int]
) -> Sites:
    """The same where only features can be edited; UsageError for another edit."""
    for edit in (edit for listed in edits for edit in listed):
        if not isinstance(edit, Edit):
            raise UsageError(f"Only edits of features can be used here, and {edit} is none; leave it out.")
    return changes_for(model, dictionary, edits, lengths).sites


def _check_layers(layers: Collection[int], n_layers: int) -> None:
    wrong = [layer for layer in layers if not 0 <= layer < n_layers]
    if wrong:
        raise UsageError(f"held_layers names {wrong}, but the model's layers are 0 to {n_layers - 1}.")

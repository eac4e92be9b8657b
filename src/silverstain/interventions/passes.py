"""The forward pass under edits: the model as it is, plus what the edits change.

Clean and edited rows run in one batch. So the clean activations an edit is measured against, the clean attention
patterns that `attention="frozen"` imposes, and the clean MLP outputs that `held_layers` imposes are all at hand at the
layer where they are needed; nothing is recorded, and nothing runs twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.bases import Basis, NeuronBasis, writes_before_norm
from silverstain.errors import UsageError
from silverstain.interventions.changes import Changes, PatternChange, Sites, VectorChange, resolve_changes
from silverstain.interventions.edits import AnyEdit, Edit
from silverstain.interventions.regimes import Regime
from silverstain.interventions.running import FeatureChanges, add_writes_, running_under
from silverstain.models import LanguageModel, Norm, harvest_mlps
from silverstain.models.mlps import forwards_of


def paired_logits(
    model: LanguageModel,
    basis: Basis,
    prompts: Int[Tensor, "prompt pos"],
    prompt_of_row: Int[Tensor, " row"],
    changes: Changes,
    regime: Regime,
) -> tuple[Float[Tensor, "prompt pos d_vocab"], Float[Tensor, "row pos d_vocab"]]:
    """Logits of every prompt as it is, and of every edited row (row r is prompt prompt_of_row[r] under its changes)."""
    n_rows, n_prompts = len(prompt_of_row), len(prompts)
    ids = torch.cat([prompts[prompt_of_row], prompts])
    clean = torch.arange(n_prompts, device=ids.device) + n_rows
    twin = torch.cat([clean[prompt_of_row], clean])
    with torch.no_grad(), edited_rows(model, basis, changes, twin, regime):
        logits = model.hf(input_ids=ids, use_cache=False).logits
    return logits[n_rows:], logits[:n_rows]


@contextmanager
def editing(
    model: LanguageModel, basis: Basis, edits: Sequence[AnyEdit], regime: Regime | None = None, **held: Any
) -> Iterator[LanguageModel]:
    """Apply the edits to the Hugging Face model itself for the length of a `with`; afterwards it is as before.

    Any call of `model.hf` or `model.logits` inside gives edited logits, for whatever tokens it is called with
    (positions are resolved against each call). Each call runs its clean twin in the same batch, so it costs two
    passes. Key-value caches are refused: pass use_cache=False.

        with editing(model, dictionary, [parse_edit("ablate:L1.F23@5")]):
            logits = model.logits(token_ids)
    """
    twin = _Twin(model, basis, tuple(edits), Regime.of(regime, held, n_layers=model.n_layers))
    with ExitStack() as stack:
        stack.callback(model.hf.register_forward_pre_hook(twin.enter, with_kwargs=True).remove)
        stack.callback(model.hf.register_forward_hook(twin.leave, always_call=True).remove)
        yield model


class _Twin:
    """Doubles each call of the model and gives back the edited half.

    Edited rows come first: whoever records row 0 of a single prompt records the edited run.
    """

    def __init__(self, model: LanguageModel, basis: Basis, edits: tuple[AnyEdit, ...], regime: Regime) -> None:
        self._model, self._basis, self._edits, self._regime = model, basis, edits, regime
        self._open = ExitStack()

    def enter(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        ids = arguments[0] if arguments else named.get("input_ids")
        cache = named.get("past_key_values")
        if ids is None:
            raise UsageError("An edited model takes input_ids; call it with tokens, not with embeddings.")
        if cache is not None and cache.get_seq_length() > 0:
            raise UsageError("An edited model cannot continue from a cache; pass use_cache=False, or use generate().")
        batch, length = ids.shape
        changes = changes_for(self._model, self._basis, [self._edits] * batch, [length] * batch)
        twin = (torch.arange(batch, device=ids.device) + batch).repeat(2)
        self._open = ExitStack()
        self._open.enter_context(edited_rows(self._model, self._basis, changes, twin, self._regime))
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
    model: LanguageModel, basis: Basis, changes: Changes, twin: Int[Tensor, " batch"], regime: Regime
) -> Iterator[None]:
    """A `with` in which the rows that changes name are edited; twin[row] is the clean row of each, or its own."""
    with ExitStack() as stack:
        if regime.norms == "frozen":
            stack.enter_context(_held_norms(model, twin))  # first: what an MLP adds may have passed a norm
        stack.enter_context(running_under(model, basis, _Resolved(model, basis, changes, twin, regime)))
        yield


class _Resolved:
    """Changes that are laid out for a batch, measured against each row's clean twin or against the row itself."""

    def __init__(
        self, model: LanguageModel, basis: Basis, changes: Changes, twin: Int[Tensor, " batch"], regime: Regime
    ) -> None:
        self._basis, self._changes, self._twin, self._regime = basis, changes, twin, regime
        self._n_real = max(0, basis.n_real(model) - changes.offset)
        self._errors = _CleanErrors(basis, changes.errors, twin)
        self.changes_embedding = bool(changes.tokens)
        self.changed_streams = tuple(changes.directions)
        self.changes_patterns = regime.attention == "frozen" or bool(changes.patterns)

    def embedding(self, stream: Tensor) -> Tensor:
        """Clean embeddings, which are the rows' own, are scaled or exchanged."""
        edited = stream.clone()
        for change in self._changes.tokens:
            edited[change.row, change.position] += change.delta(stream[self._twin[change.row], change.position])
        return edited

    def features(self, layer: int, read: Tensor) -> FeatureChanges | None:
        here = self._changes.sites.at_layer(layer)
        if not len(here):
            return None
        rows = self._twin[here.row] if self._regime.base == "clean" else here.row
        return feature_changes(self._basis, layer, read, rows, here)

    def mlp_output(self, layer: int, read: Tensor, output: Tensor) -> Tensor:
        deltas = self._errors.deltas(layer, read, output)
        if layer in self._regime.held_layers:
            output = output[self._twin] + self._skip_response(layer, read)
        if deltas:
            output = output.clone()
        for row, position, delta in deltas:
            output[row, position] += delta
        return output

    def held(self, layer: int, output: Tensor) -> Tensor:
        return output[self._twin] if layer in self._regime.held_layers else output

    def stream(self, layer: int, stream: Tensor) -> Tensor:
        """All components along directions are measured before any is changed."""
        edited = stream.clone()
        for change in self._changes.directions[layer]:
            unit = torch.tensor(change.unit, dtype=stream.dtype, device=stream.device)
            measured = int(self._twin[change.row]) if self._regime.base == "clean" else change.row
            at = list(change.positions)
            component = stream[measured, at] @ unit
            edited[change.row, at] += ((change.factor - 1) * component + change.constant)[:, None] * unit
        return edited

    def pattern(self, layer: int, pattern: Tensor) -> Tensor:
        used = pattern[self._twin] if self._regime.attention == "frozen" else pattern
        changes = self._changes.patterns.get(layer)
        return _edited_pattern(used, changes) if changes else used

    def _skip_response(self, layer: int, read: Tensor) -> Tensor | float:
        """What the basis' linear skip makes of the change of a layer's input; 0 where there is no skip, as at the
        leading positions, which keep their real MLP."""
        W_skip = self._basis.W_skip(layer)
        if W_skip is None:
            return 0.0
        change = read - read[self._twin]
        change[:, : self._n_real] = 0
        return change @ W_skip.to(read).T


class _CleanErrors:
    """What the basis misses of the clean MLP outputs, found layer by layer as a pass goes up.

    Only at the places whose error nodes are scaled or exchanged: there the clean rows are encoded in every layer up to
    the last that is edited, since features of lower layers write to it too.
    """

    def __init__(self, basis: Basis, errors: Mapping[int, Sequence[VectorChange]], twin: Int[Tensor, " batch"]) -> None:
        self._basis, self._errors, self._clean = basis, errors, twin.tolist()
        measured = {layer: [c for c in found if c.factor != 1] for layer, found in errors.items()}
        self._last = max((layer for layer, found in measured.items() if found), default=-1)
        places = {(self._clean[change.row], change.position) for found in measured.values() for change in found}
        self._index = {place: i for i, place in enumerate(sorted(places))}
        columns = torch.tensor(sorted(places), dtype=torch.long).reshape(-1, 2).to(twin.device)
        self._rows, self._positions = columns.unbind(1)
        self._written: dict[int, Tensor] = {}

    def deltas(
        self, layer: int, read: Float[Tensor, "batch pos d_model"], output: Float[Tensor, "batch pos d_model"]
    ) -> list[tuple[int, int, Float[Tensor, " d_model"]]]:
        """(row, position, what is added to the MLP output there) for each edited error node of the layer."""
        errors = self._clean_errors(layer, read, output) if layer <= self._last else None
        nothing = torch.zeros_like(output[0, 0])

        def own(change: VectorChange) -> Tensor:
            if change.factor == 1 or errors is None:
                return nothing
            return errors[self._index[self._clean[change.row], change.position]]

        found = self._errors.get(layer, ())
        return [(change.row, change.position, change.delta(own(change))) for change in found]

    def _clean_errors(self, layer: int, read: Tensor, output: Tensor) -> Float[Tensor, "place d_model"]:
        basis = self._basis
        x = basis.cast(read[self._rows, self._positions])
        activations = basis.encode_layer(layer, x)
        rows, features = activations.nonzero(as_tuple=True)
        found = FeatureChanges(rows, torch.zeros_like(rows), features, activations[rows, features])
        add_writes_(self._written, basis, layer, found, like=x[:, None])
        W_skip = basis.W_skip(layer)
        constant = basis.b_dec[layer] if W_skip is None else basis.b_dec[layer] + x @ W_skip.T
        written = self._written.pop(layer)[:, 0] + constant
        return output[self._rows, self._positions] - written.to(output)


def _edited_pattern(
    pattern: Float[Tensor, "batch head query key"], changes: Sequence[PatternChange]
) -> Float[Tensor, "batch head query key"]:
    """The pattern with some entries changed."""
    edited = pattern.clone()
    for change in changes:
        at = (change.row, change.head, change.position, list(change.keys))
        edited[at] = change.factor * pattern[at] + torch.tensor(change.constant).to(pattern)
    return edited


def _held_norms(model: LanguageModel, twin: Int[Tensor, " batch"]) -> AbstractContextManager[None]:
    """Let every norm scale each row as it scales its twin."""

    def held(norm: Norm) -> Callable[[Tensor], Tensor]:
        return lambda x: norm.with_scale(x, norm.scale(x)[twin])

    norms = list(model.norms())
    return forwards_of([norm.module for norm in norms], [held(norm) for norm in norms])


def feature_changes(
    basis: Basis, layer: int, read: Float[Tensor, "batch pos d_model"], rows: Int[Tensor, " site"], here: Sites
) -> FeatureChanges:
    """What the sites of a layer change, their activations being measured in the given rows."""
    measured = basis.activations_at(layer, read, rows, here.position, here.feature).to(here.factor.dtype)
    return FeatureChanges(here.row, here.position, here.feature, here.change(measured))


def edit_deltas(
    model: LanguageModel, basis: Basis, prompts: Int[Tensor, "row pos"], sites: Sites
) -> dict[int, Float[Tensor, "row pos d_model"]]:
    """What base="clean" edits add to the MLP output of each layer they reach, from one clean pass.

    The same vectors can be added to another model of the same stream: the replaced one.
    """
    deltas: dict[int, Tensor] = {}
    if not len(sites):
        return deltas
    mlp_inputs = harvest_mlps(model, prompts, reads_at=basis.reads_at).mlp_inputs
    for layer in range(basis.n_layers):
        here = sites.at_layer(layer)
        if len(here):
            found = feature_changes(basis, layer, mlp_inputs[layer], here.row, here)
            add_writes_(deltas, basis, layer, found, like=mlp_inputs[layer])
    if not isinstance(basis, NeuronBasis) or not writes_before_norm(basis, model):
        return deltas
    for layer, delta in deltas.items():
        norm, neurons = model.norm("mlp_output", layer), basis.layer(layer)
        if norm is not None:
            clean = neurons.written(neurons.activations(mlp_inputs[layer]))
            deltas[layer] = norm(clean + delta) - norm(clean)
    return deltas


def changes_for(
    model: LanguageModel, basis: Basis, edits: Sequence[Sequence[AnyEdit]], lengths: Sequence[int]
) -> Changes:
    """`resolve_changes` with the sizes and type of this model and basis."""
    dtype = model.dtype if model.dtype == torch.float64 else torch.float32
    return resolve_changes(edits, lengths, model=model, basis=basis, dtype=dtype)


def sites_for(model: LanguageModel, basis: Basis, edits: Sequence[Sequence[AnyEdit]], lengths: Sequence[int]) -> Sites:
    """The same where only features can be edited; UsageError for another edit."""
    for edit in (edit for listed in edits for edit in listed):
        if not isinstance(edit, Edit):
            raise UsageError(f"Only edits of features can be used here, and {edit} is none; leave it out.")
    return changes_for(model, basis, edits, lengths).sites

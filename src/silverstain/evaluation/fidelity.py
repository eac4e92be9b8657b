"""How faithful a dictionary is: what it reconstructs, and what the model says when all of its MLPs are replaced.

NMSE is Σ‖ŷ − y‖² ÷ Σ‖y − mean y‖², numerator, denominator and mean taken over the whole set of tokens, on the model's
own stream; nothing is averaged over batches. Beside it stands the NMSE of the best affine map of the same inputs: an
MLP that is nearly affine is no feat to reconstruct. Positions outside a batch's mask count nowhere.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from silverstain.bases.replaced import edited_logits, replaced_logits
from silverstain.bases.substitutes import ConstantSubstitute, as_substitute
from silverstain.brief import brief
from silverstain.evaluation.fidelity_sums import (
    Columns,
    OutputSums,
    StreamSums,
    contributing,
    output_figures,
    stream_figures,
)
from silverstain.evaluation.held_out import KEPT_BYTES, HeldOut
from silverstain.evaluation.stream_patching import StreamPatching, stream_patching
from silverstain.models import Harvest, LanguageModel, TokenBatch
from silverstain.statistics import Interval, each_counted_once, intervals

OnProgress = Callable[[int, int], None]
"""Told (passes over a batch done, passes in all)."""


@brief
@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Figures over one set of tokens; lists are a value a layer."""

    n_tokens: int
    nmse: float
    """Mean over layers of `nmse_layers`."""
    nmse_layers: tuple[float, ...]
    nmse_pooled: float
    """One ratio over all layers: the layers with large outputs decide it."""
    affine_nmse: float
    """NMSE of an affine map fitted by least squares to these very tokens, mean over layers."""
    affine_nmse_layers: tuple[float, ...]
    l0: float | None = None
    """Active features a token and layer; None for what has no features, as all that follows about features."""
    l0_layers: tuple[float, ...] | None = None
    dead: float | None = None
    """Share of features that were active on none of the tokens."""
    dead_layers: tuple[float, ...] | None = None
    contributing: float | None = None
    """Share of features among the fewest of their layer that write 99 % of all it writes (Σ |activation| · decoder
    norm): a feature that is alive may still do nothing. None where what a feature writes has no one length."""
    contributing_layers: tuple[float, ...] | None = None
    skip_share: float | None = None
    """Share of the outputs' variance that the linear skip carries (its covariance with them); features and what is
    missed carry the rest. None without a skip."""
    skip_share_layers: tuple[float, ...] | None = None
    kl: float
    """KL(model ‖ replaced model) in nats, mean over tokens, all MLPs replaced."""
    top1_match: float
    """Share of tokens where both have the same most probable next token."""
    top1_match_determined: float | None
    families: Mapping[int, float]
    """The same on determined tokens, for each family."""
    ce_model: float
    """Cross-entropy of the next token, in nats."""
    ce_replaced: float
    ce_recovered: float
    """(ce of the mean output in place of every MLP − ce_replaced) ÷ (the same − ce_model)."""

    @property
    def explained_variance(self) -> float:
        return 1 - self.nmse

    @property
    def nmse_ratio(self) -> float:
        """NMSE in units of what affine maps leave: above 1, features do worse than no features."""
        return self.nmse / max(self.affine_nmse, 1e-30)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "families": {str(k): v for k, v in self.families.items()}}


@brief
@dataclass(frozen=True, kw_only=True)
class StandIn:
    """The fidelity of a substitute without features: an affine map of each MLP, its mean output, or zero."""

    nmse: float
    nmse_layers: tuple[float, ...]
    kl: float
    top1_match: float
    top1_match_determined: float | None
    ce_replaced: float
    ce_recovered: float


@brief
@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A dictionary's fidelity with intervals, beside that of substitutes without features."""

    fidelity: Fidelity
    n_sequences: int
    intervals: Mapping[str, Interval]
    """95 % intervals of the figures of `fidelity` and of `family N`, by the bootstrap over sequences."""
    intervals_layers: Mapping[str, tuple[Interval, ...]]
    """The same of its lists, a pair a layer."""
    kl_layers: tuple[float, ...]
    """KL with the MLP of one layer alone replaced, everything else the model's own."""
    top1_match_layers: tuple[float, ...]
    stream_patching: StreamPatching | None
    """Whether the replaced model follows its stream; None where nothing can be patched."""
    stand_ins: Mapping[str, StandIn]
    """"affine": the best affine map of each MLP, fitted to these very tokens; "mean" and "zero" output."""


def evaluate_dictionary(model: LanguageModel, dictionary: object, batches: Iterable[TokenBatch]) -> Fidelity:
    """The fidelity of a dictionary, or of anything that can stand in for MLPs, on `batches`."""
    return fidelity_on(HeldOut(model, batches, reads_at=as_substitute(dictionary).reads_at), dictionary)


@torch.no_grad()
def fidelity_on(held_out: HeldOut, dictionary: object) -> Fidelity:
    """The fidelity of a dictionary, or of anything that can stand in for MLPs, on a held-out set."""
    return _measured(held_out, dictionary).fidelity()


@torch.no_grad()
def stand_in_on(held_out: HeldOut, substitute: object) -> StandIn:
    """What a substitute without features reaches on a held-out set."""
    return _measured(held_out, substitute).stand_in()


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    dictionary: object,
    batches: Iterable[TokenBatch],
    *,
    seed: int = 0,
    kept_bytes: int = KEPT_BYTES,
    on_progress: OnProgress = lambda done, total: None,
) -> Evaluation:
    """Everything that can be said of a dictionary without tracing; `score_graphs` says the rest.

    What the model itself does is kept up to `kept_bytes`; of more text than that the rest is run twice.
    """
    held_out = HeldOut(model, batches, reads_at=as_substitute(dictionary).reads_at, kept_bytes=kept_bytes)
    measured, alone = Measured(held_out, dictionary), [OutputSums() for _ in range(model.n_layers)]
    n_batches, total = len(held_out.batches), len(held_out.batches) * (2 + 3)
    for index, (batch, harvested) in enumerate(held_out.harvests(), start=1):
        missed = measured.add(batch, harvested)
        for layer, sums in enumerate(alone):
            sums.add(batch, harvested.logits, _with_one_replaced(model, batch, layer, missed[layer]))
        on_progress(2 * index, total)
    mean = held_out.mean_output
    zero = ConstantSubstitute(torch.zeros_like(mean.outputs))
    stand_ins = {
        name: Measured(held_out, substitute)
        for name, substitute in {"affine": held_out.affine_maps, "mean": mean, "zero": zero}.items()
    }
    for index, (batch, harvested) in enumerate(held_out.harvests(), start=1):
        for stand_in in stand_ins.values():
            stand_in.add(batch, harvested)
        on_progress(2 * n_batches + 3 * index, total)
    held_out.ce_mean = stand_ins["mean"].output.columns["ce_replaced"]  # so that the mean output runs no second time
    ends, ends_layers = measured.intervals(seed)
    by_layer = [output_figures(sums.columns, None, each_counted_once(held_out.n_sequences)) for sums in alone]
    return Evaluation(
        fidelity=measured.fidelity(),
        n_sequences=held_out.n_sequences,
        intervals=ends,
        intervals_layers=ends_layers,
        kl_layers=tuple(float(figures["kl"]) for figures in by_layer),
        top1_match_layers=tuple(float(figures["top1_match"]) for figures in by_layer),
        stream_patching=stream_patching(model, measured.substitute, held_out.batches, seed=seed),
        stand_ins={name: stand_in.stand_in() for name, stand_in in stand_ins.items()},
    )


def _measured(held_out: HeldOut, substitute: object) -> "Measured":
    measured = Measured(held_out, substitute)
    for batch, harvested in held_out.harvests():
        measured.add(batch, harvested)
    return measured


class Measured:
    """One substitute on one held-out set, batch by batch."""

    def __init__(self, held_out: HeldOut, dictionary: object) -> None:
        self.held_out, self.substitute = held_out, as_substitute(dictionary)
        self.stream, self.output = StreamSums(held_out.model), OutputSums()

    def add(self, batch: TokenBatch, harvested: Harvest) -> list[Tensor]:
        """Measure a batch; what is missed of each layer's output is given back."""
        missed = self.stream.add(self.substitute, batch, harvested)
        replaced = replaced_logits(self.held_out.model, self.substitute, batch.token_ids, mask=batch.mask)
        self.output.add(batch, harvested.logits, replaced)
        return missed

    def figures(self, times: Tensor) -> dict[str, Tensor]:
        """Every figure where each sequence counts so many times: see `fidelity_sums`."""
        output = output_figures(self.output.columns, self.held_out.ce_mean, times)
        return stream_figures(self.stream.columns, times) | output

    def fidelity(self) -> Fidelity:
        found = {name: value[0] for name, value in self.figures(each_counted_once(self.held_out.n_sequences)).items()}
        families = {int(n.removeprefix("family ")): float(v) for n, v in found.items() if n.startswith("family ")}
        affine = self._affine_nmse(self.stream.columns)
        determined = _known(found.pop("top1_match_determined"))
        values = {name: _plain(value) for name, value in found.items() if not name.startswith("family ")}
        return Fidelity(
            n_tokens=self.held_out.n_tokens,
            affine_nmse=sum(affine) / len(affine),
            affine_nmse_layers=affine,
            families={family: share for family, share in families.items() if share == share},
            top1_match_determined=determined,
            **values,
            **self._features(),
        )

    def stand_in(self) -> StandIn:
        found = {
            name: _plain(value[0]) for name, value in self.figures(each_counted_once(self.held_out.n_sequences)).items()
        }
        wanted = {name: found[name] for name in StandIn.__dataclass_fields__}
        wanted["top1_match_determined"] = _known(torch.tensor(found["top1_match_determined"]))
        return StandIn(**wanted)

    def intervals(self, seed: int) -> tuple[dict[str, Interval], dict[str, tuple[Interval, ...]]]:
        """Of every figure that sequences are drawn for, in all and by layer."""
        found = intervals(self.figures, self.held_out.n_sequences, seed=seed)
        single = {n: (float(v[0]), float(v[1])) for n, v in found.items() if v.ndim == 1 and not v.isnan().any()}
        layers = {n: tuple((float(low), float(high)) for low, high in v.T) for n, v in found.items() if v.ndim == 2}
        return single, layers

    def _affine_nmse(self, columns: Columns) -> tuple[float, ...]:
        yy, y, n = columns["yy"].sum(0), columns["y"].sum(0), columns["n"].sum()
        variance = (yy - y.square().sum(1) / n).clamp_min(1e-30)
        return tuple(((yy - self.held_out.affine.explained()).clamp_min(0) / variance).tolist())

    def _features(self) -> dict[str, Any]:
        """Figures without an interval: a rare feature would look dead in most draws of sequences."""
        fired, amounts = self.stream.fired, self.stream.amounts
        if fired is None or amounts is None:
            return {}
        found = {"dead": [float((counts == 0).double().mean()) for counts in fired]}
        norms = [self.substitute.decoder_norms(layer) for layer in range(len(amounts))]
        known = [norm.cpu() for norm in norms if norm is not None]
        if len(known) == len(norms):
            found["contributing"] = [contributing(a, norm) for a, norm in zip(amounts, known, strict=True)]
        means = {name: sum(values) / len(values) for name, values in found.items()}
        return means | {f"{name}_layers": tuple(values) for name, values in found.items()}


def _with_one_replaced(model: LanguageModel, batch: TokenBatch, layer: int, missed: Tensor) -> Tensor:
    """Logits with the MLP of one layer giving what the dictionary gives there, the others the model's own."""
    delta = missed.new_zeros(*batch.mask.shape, missed.shape[1])
    delta[batch.mask] = -missed
    return edited_logits(model, batch.token_ids, {layer: delta})


def _known(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _plain(value: Tensor) -> Any:
    return tuple(value.tolist()) if value.ndim else float(value)

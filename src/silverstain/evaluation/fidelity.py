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

from silverstain.bases import Dictionary
from silverstain.bases.replaced import edited_logits, replaced_logits
from silverstain.bases.substitutes import AffineSubstitute, ConstantSubstitute, Substitute, as_substitute
from silverstain.errors import UsageError
from silverstain.evaluation.figures import output_figures, stream_figures
from silverstain.evaluation.sums import (
    AffineSums,
    Columns,
    OutputSums,
    StreamSums,
    contributing,
    decoder_norms,
    next_token_loss,
)
from silverstain.models import Harvest, LanguageModel, TokenBatch, harvest
from silverstain.models.recording import MLP_INPUT
from silverstain.statistics import Interval, intervals, once

OnProgress = Callable[[int, int], None]
"""Told (passes over a batch done, passes in all)."""


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
    l0: float | None
    """Active features a token and layer; None for what has no features."""
    l0_layers: tuple[float, ...] | None
    dead: float | None
    """Share of features that were active on none of the tokens."""
    dead_layers: tuple[float, ...] | None
    contributing: float | None = None
    """Share of features among the fewest of their layer that write 99 % of all it writes (Σ activation · decoder
    norm): a feature that is alive may still do nothing. None where activations are not known."""
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


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """What MLPs are replaced by when nothing is known of features."""

    nmse: float
    nmse_layers: tuple[float, ...]
    kl: float
    top1_match: float
    top1_match_determined: float | None
    ce_replaced: float
    ce_recovered: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A dictionary's fidelity with intervals, beside what stands in for MLPs without features."""

    fidelity: Fidelity
    n_sequences: int
    intervals: Mapping[str, Interval]
    """95 % intervals of the figures of `fidelity` and of `family N`, by the bootstrap over sequences."""
    intervals_layers: Mapping[str, tuple[Interval, ...]]
    """The same of its lists, a pair a layer."""
    kl_layers: tuple[float, ...]
    """KL with the MLP of one layer alone replaced, everything else the model's own."""
    top1_match_layers: tuple[float, ...]
    stand_ins: Mapping[str, StandIn]
    """"affine": the best affine map of each MLP, fitted to these very tokens; "mean" and "zero" output."""


@torch.no_grad()
def evaluate_dictionary(model: LanguageModel, dictionary: object, batches: Iterable[TokenBatch]) -> Fidelity:
    """The fidelity of a dictionary, or of anything that can stand in for MLPs, on `batches` (read twice)."""
    return HeldOut(model, batches, reads_at=_reads_at(dictionary)).fidelity(dictionary)


class HeldOut:
    """A fixed set of sequences to measure on again and again: what the model itself does there is found once."""

    def __init__(self, model: LanguageModel, batches: Iterable[TokenBatch], *, reads_at: str = MLP_INPUT) -> None:
        self.model, self.reads_at = model, reads_at
        self.batches = [batch.to(model.device) for batch in batches]
        if not any(batch.n_tokens for batch in self.batches):
            raise UsageError("there are no tokens to evaluate on; give at least one batch with positions that count")
        self._affine: AffineSums | None = None
        self._ce_mean: Tensor | None = None

    @property
    def n_tokens(self) -> int:
        return sum(batch.n_tokens for batch in self.batches)

    @torch.no_grad()
    def fidelity(self, dictionary: object) -> Fidelity:
        """The fidelity of a dictionary here."""
        measured = _Measured(self, dictionary)
        affine = None if self._affine is not None else AffineSums(self.model.n_layers, self.model.d_model)
        for batch in self.batches:
            harvested = self.harvest(batch)
            measured.add(batch, harvested)
            if affine is not None:
                affine.add(batch, harvested)
        self._affine = affine or self._affine
        return measured.fidelity()

    @torch.no_grad()
    def stand_in(self, substitute: Substitute) -> StandIn:
        """What something without features reaches here."""
        measured = _Measured(self, substitute)
        for batch in self.batches:
            measured.add(batch, self.harvest(batch))
        return measured.stand_in()

    def harvest(self, batch: TokenBatch) -> Harvest:
        return harvest(self.model, batch.token_ids, reads_at=self.reads_at)

    def affine(self) -> AffineSums:
        """The sums behind the best affine maps on these tokens."""
        if self._affine is None:
            self._affine = AffineSums(self.model.n_layers, self.model.d_model)
            for batch in self.batches:
                self._affine.add(batch, self.harvest(batch))
        return self._affine

    def mean_output(self) -> ConstantSubstitute:
        return ConstantSubstitute(self.affine().mean_output().to(self.model.dtype).to(self.model.device))

    def affine_map(self) -> AffineSubstitute:
        solution = self.affine().solution().to(self.model.dtype).to(self.model.device)
        return AffineSubstitute(solution, reads_at=self.reads_at)

    def ce_mean(self) -> Tensor:
        """Loss of each sequence with the mean output in place of every MLP."""
        if self._ce_mean is None:
            mean = self.mean_output()
            losses = [
                next_token_loss(batch, replaced_logits(self.model, mean, batch.token_ids, mask=batch.mask))[0]
                for batch in self.batches
            ]
            self._ce_mean = torch.cat(losses)
        return self._ce_mean


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    dictionary: object,
    batches: Iterable[TokenBatch],
    *,
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> Evaluation:
    """Everything that can be said of a dictionary without tracing; `graph_figures` says the rest."""
    held_out = HeldOut(model, batches, reads_at=_reads_at(dictionary))
    measured = _Measured(held_out, dictionary)
    alone = [OutputSums() for _ in range(model.n_layers)]
    total = len(held_out.batches) * (2 + 3)
    for index, batch in enumerate(held_out.batches):
        harvested = held_out.harvest(batch)
        missed = measured.add(batch, harvested)
        for layer, sums in enumerate(alone):
            sums.add(batch, harvested.logits, _with_one_replaced(model, batch, layer, missed[layer]))
        on_progress(2 * (index + 1), total)
    stand_ins = {
        name: _Measured(held_out, substitute)
        for name, substitute in {
            "affine": held_out.affine_map(),
            "mean": held_out.mean_output(),
            "zero": ConstantSubstitute(torch.zeros_like(held_out.mean_output().outputs)),
        }.items()
    }
    for index, batch in enumerate(held_out.batches):
        harvested = held_out.harvest(batch)
        for stand_in in stand_ins.values():
            stand_in.add(batch, harvested)
        on_progress(2 * len(held_out.batches) + 3 * (index + 1), total)
    ends, ends_layers = measured.intervals(seed)
    times = once(measured.n_sequences)
    by_layer = [output_figures(sums.columns, None, times) for sums in alone]
    return Evaluation(
        fidelity=measured.fidelity(),
        n_sequences=measured.n_sequences,
        intervals=ends,
        intervals_layers=ends_layers,
        kl_layers=tuple(float(figures["kl"]) for figures in by_layer),
        top1_match_layers=tuple(float(figures["top1_match"]) for figures in by_layer),
        stand_ins={name: stand_in.stand_in() for name, stand_in in stand_ins.items()},
    )


class _Measured:
    """One substitute on one held-out set."""

    def __init__(self, held_out: HeldOut, dictionary: object) -> None:
        self.held_out, self.dictionary = held_out, dictionary
        self.substitute: Substitute = as_substitute(dictionary)
        self.stream, self.output = StreamSums(held_out.model.n_layers), OutputSums()

    @property
    def n_sequences(self) -> int:
        return sum(len(batch.mask) for batch in self.held_out.batches)

    def add(self, batch: TokenBatch, harvested: Harvest) -> list[Tensor]:
        """Measure a batch; what is missed of each layer's output is given back."""
        model = self.held_out.model
        missed = self.stream.add(self.substitute, batch, harvested)
        replaced = replaced_logits(model, self.dictionary, batch.token_ids, mask=batch.mask)
        self.output.add(batch, harvested.logits, replaced)
        return missed

    def figures(self, times: Tensor) -> dict[str, Tensor]:
        return stream_figures(self.stream.columns, times) | output_figures(
            self.output.columns, self.held_out.ce_mean(), times
        )

    def fidelity(self) -> Fidelity:
        found = {name: value[0] for name, value in self.figures(once(self.n_sequences)).items()}
        families = {int(n.removeprefix("family ")): float(v) for n, v in found.items() if n.startswith("family ")}
        affine = self._affine_nmse(self.stream.columns)
        determined = _known(found.pop("top1_match_determined"))
        values: dict[str, Any] = {"l0": None, "l0_layers": None, **self._features()}
        values |= {name: _plain(value) for name, value in found.items() if not name.startswith("family ")}
        return Fidelity(
            n_tokens=self.held_out.n_tokens,
            affine_nmse=sum(affine) / len(affine),
            affine_nmse_layers=affine,
            families={family: share for family, share in families.items() if share == share},
            top1_match_determined=determined,
            **values,
        )

    def stand_in(self) -> StandIn:
        found = {name: _plain(value[0]) for name, value in self.figures(once(self.n_sequences)).items()}
        wanted = {name: found[name] for name in StandIn.__dataclass_fields__}
        wanted["top1_match_determined"] = _known(torch.tensor(found["top1_match_determined"]))
        return StandIn(**wanted)

    def intervals(self, seed: int) -> tuple[dict[str, Interval], dict[str, tuple[Interval, ...]]]:
        """Of every figure that sequences are drawn for, in all and by layer."""
        found = intervals(self.figures, self.n_sequences, seed=seed)
        single = {n: (float(v[0]), float(v[1])) for n, v in found.items() if v.ndim == 1 and not v.isnan().any()}
        layers = {n: tuple((float(low), float(high)) for low, high in v.T) for n, v in found.items() if v.ndim == 2}
        return single, layers

    def _affine_nmse(self, columns: Columns) -> tuple[float, ...]:
        yy, y, n = columns["yy"].sum(0), columns["y"].sum(0), columns["n"].sum()
        variance = (yy - y.square().sum(1) / n).clamp_min(1e-30)
        return tuple(((yy - self.held_out.affine().explained()).clamp_min(0) / variance).tolist())

    def _features(self) -> dict[str, Any]:
        out: dict[str, Any] = dict.fromkeys(("dead", "dead_layers", "contributing", "contributing_layers"))
        fired, amounts = self.stream.fired, self.stream.amounts
        if fired is not None:
            dead = tuple(float((counts == 0).double().mean()) for counts in fired)
            out |= {"dead": sum(dead) / len(dead), "dead_layers": dead}
            if "active" not in self.stream.columns:
                l0 = tuple(float(counts.sum()) / self.held_out.n_tokens for counts in fired)
                out |= {"l0": sum(l0) / len(l0), "l0_layers": l0}
        if amounts is not None:
            norms = [decoder_norms(self.substitute, layer) for layer in range(len(amounts))]
            shares = tuple(contributing(a, n.cpu()) for a, n in zip(amounts, norms, strict=True) if n is not None)
            out |= {"contributing": sum(shares) / len(shares), "contributing_layers": shares}
        return out


def _with_one_replaced(model: LanguageModel, batch: TokenBatch, layer: int, missed: Tensor) -> Tensor:
    """Logits with the MLP of one layer giving what the dictionary gives there, the others the model's own."""
    delta = missed.new_zeros(*batch.mask.shape, missed.shape[1])
    delta[batch.mask] = -missed
    return edited_logits(model, batch.token_ids, {layer: delta})


def _reads_at(dictionary: object) -> str:
    return dictionary.reads_at if isinstance(dictionary, Dictionary) else MLP_INPUT


def _known(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _plain(value: Tensor) -> Any:
    return tuple(value.tolist()) if value.ndim else float(value)

"""How faithful a dictionary is: what it reconstructs, and what the model says when all of its MLPs are replaced.

NMSE is Σ‖ŷ − y‖² ÷ Σ‖y − mean y‖², numerator, denominator and mean taken over the whole set of tokens, on the model's
own stream; nothing is averaged over batches. Beside it stands the NMSE of the best affine map of the same inputs: an
MLP that is nearly affine is no feat to reconstruct. Positions outside a batch's mask count nowhere.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from silverstain.attribution.replacement import Substitute, as_substitute, replaced_logits
from silverstain.errors import UsageError
from silverstain.models import Harvest, LanguageModel, harvest
from silverstain.training.baselines import ConstantSubstitute
from silverstain.training.batches import TokenBatch
from silverstain.training.finetuning import divergence


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

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "families": {str(k): v for k, v in self.families.items()}}


@torch.no_grad()
def evaluate_dictionary(model: LanguageModel, dictionary: object, batches: Iterable[TokenBatch]) -> Fidelity:
    """The fidelity of a dictionary, or of anything that can stand in for MLPs, on `batches` (read twice)."""
    substitute, kept = as_substitute(dictionary), list(batches)
    if not any(batch.n_tokens for batch in kept):
        raise UsageError("there are no tokens to evaluate on; give at least one batch with positions that count")
    stream, output = _StreamSums(model), _OutputSums()
    for batch in kept:
        harvested = harvest(model, batch.token_ids)
        stream.add(substitute, batch, harvested)
        output.add(batch, harvested.logits, replaced_logits(model, substitute, batch.token_ids, mask=batch.mask))
    mean_output = ConstantSubstitute(stream.mean_output().to(model.dtype))
    for batch in kept:
        output.add_mean(batch, replaced_logits(model, mean_output, batch.token_ids, mask=batch.mask))
    return Fidelity(**stream.figures(), **output.figures())


class _StreamSums:
    """Sums over tokens of what happens on the model's own stream, in float64."""

    def __init__(self, model: LanguageModel) -> None:
        self.n_layers, d = model.n_layers, model.d_model
        self.n_tokens = 0
        self.error = torch.zeros(self.n_layers, dtype=torch.float64)
        self.y = torch.zeros(self.n_layers, d, dtype=torch.float64)
        self.yy = torch.zeros(self.n_layers, dtype=torch.float64)
        self.xx = torch.zeros(self.n_layers, d + 1, d + 1, dtype=torch.float64)
        self.xy = torch.zeros(self.n_layers, d + 1, d, dtype=torch.float64)
        self.firing: list[Tensor] | None = None

    def add(self, substitute: Substitute, batch: TokenBatch, harvested: Harvest) -> None:
        mask, layers = batch.mask, range(self.n_layers)
        inputs = [harvested.mlp_inputs[layer][mask] for layer in layers]
        outputs = [harvested.mlp_outputs[layer][mask].double() for layer in layers]
        written = [torch.zeros_like(y) for y in outputs]
        ids = batch.token_ids[mask]
        counts = getattr(substitute, "firing", None)
        for layer in layers:
            for target, part in enumerate(substitute.writes(layer, inputs[layer], ids).unbind(1), start=layer):
                written[target] += part
        for layer, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
            wide = F.pad(x.double(), (0, 1), value=1.0)
            self.error[layer] += (written[layer] - y).square().sum().cpu()
            self.y[layer] += y.sum(0).cpu()
            self.yy[layer] += y.square().sum().cpu()
            self.xx[layer] += (wide.T @ wide).cpu()
            self.xy[layer] += (wide.T @ y).cpu()
        if counts is not None:
            firing = [counts(layer, inputs[layer]).cpu() for layer in layers]
            self.firing = firing if self.firing is None else [a + b for a, b in zip(self.firing, firing, strict=True)]
        self.n_tokens += ids.numel()

    def mean_output(self) -> Tensor:
        return self.y / self.n_tokens

    def figures(self) -> dict[str, Any]:
        variance = (self.yy - self.y.square().sum(1) / self.n_tokens).clamp_min(1e-30)
        nmse = self.error / variance
        affine = self._affine_error().clamp_min(0) / variance
        out: dict[str, Any] = {
            "n_tokens": self.n_tokens,
            "nmse": float(nmse.mean()),
            "nmse_layers": tuple(nmse.tolist()),
            "nmse_pooled": float(self.error.sum() / variance.sum()),
            "affine_nmse": float(affine.mean()),
            "affine_nmse_layers": tuple(affine.tolist()),
            "l0": None, "l0_layers": None, "dead": None, "dead_layers": None,
        }  # fmt: skip
        if self.firing is not None:
            l0 = [float(f.sum()) / self.n_tokens for f in self.firing]
            dead = [float((f == 0).double().mean()) for f in self.firing]
            out |= {
                "l0": sum(l0) / len(l0),
                "l0_layers": tuple(l0),
                "dead": sum(dead) / len(dead),
                "dead_layers": tuple(dead),
            }
        return out

    def _affine_error(self) -> Tensor:
        """Σ‖y‖² − tr(Bᵀ XᵀY) with B the least-squares solution; a trace of ridge keeps repeated tokens solvable."""
        ridge = 1e-9 * self.xx.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(self.xx.shape[1])
        solution = torch.linalg.solve(self.xx + ridge, self.xy)
        return self.yy - (solution * self.xy).sum((1, 2))


class _OutputSums:
    """Sums over tokens of how the replaced model's words compare with the model's."""

    def __init__(self) -> None:
        self.n = self.n_next = self.match = self.n_determined = self.match_determined = 0
        self.kl = self.ce = self.ce_replaced = self.ce_mean = 0.0
        self.families: dict[int, tuple[int, int]] = {}

    def add(self, batch: TokenBatch, real: Tensor, replaced: Tensor) -> None:
        same, mask = real.argmax(-1) == replaced.argmax(-1), batch.mask
        self.n += batch.n_tokens
        self.match += int(same[mask].sum())
        self.kl += float(divergence(real[mask], replaced[mask]).sum())
        ce, n_next = _next_token_loss(batch, real)
        self.ce, self.n_next = self.ce + ce, self.n_next + n_next
        self.ce_replaced += _next_token_loss(batch, replaced)[0]
        if batch.determined is None:
            return
        determined = batch.determined & mask
        self.n_determined += int(determined.sum())
        self.match_determined += int(same[determined].sum())
        if batch.families is not None:
            for family in batch.families.unique().tolist():
                here = determined & (batch.families == family)[:, None]
                match, n = self.families.get(family, (0, 0))
                self.families[family] = (match + int(same[here].sum()), n + int(here.sum()))

    def add_mean(self, batch: TokenBatch, logits: Tensor) -> None:
        self.ce_mean += _next_token_loss(batch, logits)[0]

    def figures(self) -> dict[str, Any]:
        n_next = max(self.n_next, 1)
        harm = self.ce_mean - self.ce
        return {
            "kl": self.kl / self.n,
            "top1_match": self.match / self.n,
            "top1_match_determined": self.match_determined / self.n_determined if self.n_determined else None,
            "families": {family: match / n for family, (match, n) in sorted(self.families.items()) if n},
            "ce_model": self.ce / n_next,
            "ce_replaced": self.ce_replaced / n_next,
            "ce_recovered": (self.ce_mean - self.ce_replaced) / harm if harm else 0.0,
        }


def _next_token_loss(batch: TokenBatch, logits: Tensor) -> tuple[float, int]:
    """Σ −log p(next token) over positions that count and have a next token that does, and their number."""
    here = batch.mask[:, :-1] & batch.mask[:, 1:]
    loss = F.cross_entropy(logits[:, :-1][here], batch.token_ids[:, 1:][here], reduction="sum")
    return float(loss), int(here.sum())

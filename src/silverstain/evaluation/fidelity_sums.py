"""What is added up while a substitute is measured, a row of sums for each sequence, and the figures that follow.

Every figure is a ratio of sums over sequences, so one function of the sums and of how often each sequence counts gives
the figure itself (each counts once) and its interval (each counts as often as it was drawn: `intervals`).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from silverstain.bases import writes_before_norm
from silverstain.bases.substitutes import Substitute
from silverstain.models import Harvest, LanguageModel, TokenBatch
from silverstain.statistics import divergence

Columns = dict[str, Tensor]
"""A sum for each sequence, first axis, by name; float64 on the processor."""

CONTRIBUTING_SHARE = 0.99
"""The features of a layer that contribute are the fewest that write this share of all it writes, by length."""


class Rows:
    """The positions of a batch that count, as one list of rows, and their sums by sequence."""

    def __init__(self, batch: TokenBatch) -> None:
        self.mask = batch.mask
        self.ids = batch.token_ids[batch.mask]
        self.sequence = batch.mask.nonzero()[:, 0]
        self.n_sequences = len(batch.mask)

    def by_sequence(self, values: Float[Tensor, "row *rest"]) -> Tensor:
        sums = torch.zeros(self.n_sequences, *values.shape[1:], dtype=torch.float64, device=values.device)
        return sums.index_add_(0, self.sequence, values.double()).cpu()


class StreamSums:
    """What happens on the model's own stream: errors, variances, activity."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.n_layers = model, model.n_layers
        self._parts: list[Columns] = []
        self.fired: list[Tensor] | None = None
        """On how many tokens each feature was active, layer by layer; None without features."""
        self.amounts: list[Tensor] | None = None
        """Σ |activation| of each."""

    @property
    def columns(self) -> Columns:
        return _joined(self._parts)

    def add(self, substitute: Substitute, batch: TokenBatch, harvested: Harvest) -> list[Float[Tensor, "row d_model"]]:
        """Add a batch; what the substitute misses of each layer's output is given back."""
        rows, layers = Rows(batch), range(self.n_layers)
        inputs, outputs = ([x[rows.mask] for x in part] for part in (harvested.mlp_inputs, harvested.mlp_outputs))
        pending: dict[int, Tensor] = {}
        missed: list[Tensor] = []
        for layer in layers:
            for target, part in enumerate(substitute.writes(layer, inputs[layer], rows.ids).unbind(1), start=layer):
                pending[target] = pending[target] + part if target in pending else part
            written = pending.pop(layer)
            norm = self.model.norm("mlp_output", layer) if writes_before_norm(substitute, self.model) else None
            missed.append(outputs[layer] - (written if norm is None else norm(written)))
        columns = {
            "error": [rows.by_sequence(error.double().square().sum(1)) for error in missed],
            "y": [rows.by_sequence(y) for y in outputs],
            "yy": [rows.by_sequence(y.double().square().sum(1)) for y in outputs],
            **_skip_columns(substitute, inputs, outputs, rows),
            **self._activity_columns(substitute, inputs, rows),
        }
        stacked = {name: torch.stack(parts, dim=1) for name, parts in columns.items()}
        self._parts.append({"n": rows.by_sequence(torch.ones(len(rows.ids), device=rows.mask.device)), **stacked})
        return missed

    def _activity_columns(self, substitute: Substitute, inputs: list[Tensor], rows: Rows) -> dict[str, list[Tensor]]:
        found = [substitute.activity(layer, x) for layer, x in enumerate(inputs)]
        seen = [activity for activity in found if activity is not None]
        if len(seen) < len(found):
            return {}
        self.fired = _added(self.fired, [activity.fired.cpu() for activity in seen])
        self.amounts = _added(self.amounts, [activity.amounts.double().cpu() for activity in seen])
        return {"active": [rows.by_sequence(activity.per_row.double()) for activity in seen]}


def _skip_columns(
    substitute: Substitute, inputs: list[Tensor], outputs: list[Tensor], rows: Rows
) -> dict[str, list[Tensor]]:
    """What the linear skip writes, and how it goes with the output."""
    found = [substitute.skip(layer, x) for layer, x in enumerate(inputs)]
    if all(skip is None for skip in found):
        return {}
    skips = [torch.zeros_like(y) if skip is None else skip for skip, y in zip(found, outputs, strict=True)]
    return {
        "skip": [rows.by_sequence(skip) for skip in skips],
        "skip_y": [
            rows.by_sequence((skip.double() * y.double()).sum(1)) for skip, y in zip(skips, outputs, strict=True)
        ],
    }


class OutputSums:
    """How the replaced model's words compare with the model's."""

    def __init__(self) -> None:
        self._parts: list[Columns] = []

    @property
    def columns(self) -> Columns:
        return _joined(self._parts)

    def add(self, batch: TokenBatch, real: Tensor, replaced: Tensor) -> None:
        rows, mask = Rows(batch), batch.mask
        same = (real.argmax(-1) == replaced.argmax(-1))[mask]
        determined = torch.zeros_like(mask) if batch.determined is None else batch.determined & mask
        families = torch.full((len(mask),), -1) if batch.families is None else batch.families.cpu()
        at_determined = determined[mask]
        ce, n_next = next_token_loss(batch, real)
        self._parts.append(
            {
                "n": mask.sum(1).double().cpu(),
                "match": rows.by_sequence(same.double()),
                "kl": rows.by_sequence(divergence(real[mask], replaced[mask])),
                "n_next": n_next,
                "ce": ce,
                "ce_replaced": next_token_loss(batch, replaced)[0],
                "n_determined": rows.by_sequence(at_determined.double()),
                "match_determined": rows.by_sequence((same & at_determined).double()),
                "family": families.double(),
            }
        )


def next_token_loss(batch: TokenBatch, logits: Tensor) -> tuple[Float[Tensor, " sequence"], Float[Tensor, " sequence"]]:
    """Σ −log p(next token) over positions that count and have a next token that does, and their number."""
    here = batch.mask[:, :-1] & batch.mask[:, 1:]
    loss = F.cross_entropy(logits[:, :-1][here], batch.token_ids[:, 1:][here], reduction="none").double()
    sums = torch.zeros(len(here), dtype=torch.float64, device=loss.device)
    return sums.index_add_(0, here.nonzero()[:, 0], loss).cpu(), here.sum(1).double().cpu()


class AffineSums:
    """The sums from which the best affine map of each layer follows."""

    def __init__(self, n_layers: int, d_model: int) -> None:
        self.n_tokens = 0
        self.xx = torch.zeros(n_layers, d_model + 1, d_model + 1, dtype=torch.float64)
        self.xy = torch.zeros(n_layers, d_model + 1, d_model, dtype=torch.float64)

    def add(self, batch: TokenBatch, harvested: Harvest) -> None:
        self.n_tokens += batch.n_tokens
        for layer in range(len(self.xx)):
            wide = F.pad(harvested.mlp_inputs[layer][batch.mask].double(), (0, 1), value=1.0)
            self.xx[layer] += (wide.T @ wide).cpu()
            self.xy[layer] += (wide.T @ harvested.mlp_outputs[layer][batch.mask].double()).cpu()

    def solution(self) -> Float[Tensor, "layer d_model_plus_1 d_model"]:
        """The least-squares map of (x, 1); a trace of ridge keeps repeated tokens solvable."""
        ridge = 1e-9 * self.xx.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(self.xx.shape[1])
        return torch.linalg.solve(self.xx + ridge, self.xy)

    def explained(self) -> Float[Tensor, " layer"]:
        """tr(Bᵀ XᵀY): what it leaves of Σ‖y‖² is the residual."""
        return (self.solution() * self.xy).sum((1, 2))

    def mean_output(self) -> Float[Tensor, "layer d_model"]:
        return self.xy[:, -1] / self.n_tokens


def _joined(parts: list[Columns]) -> Columns:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _added(one: list[Tensor] | None, other: list[Tensor]) -> list[Tensor]:
    return other if one is None else [a + b for a, b in zip(one, other, strict=True)]


def contributing(fired_amounts: Float[Tensor, " feature"], norms: Float[Tensor, " feature"]) -> float:
    """Share of features among the fewest that write CONTRIBUTING_SHARE of Σ activation · decoder norm."""
    written = (fired_amounts * norms.to(fired_amounts)).sort(descending=True).values
    if not float(written.sum()) > 0:
        return 0.0
    n = int((written.cumsum(0) < CONTRIBUTING_SHARE * written.sum()).sum()) + 1
    return n / len(written)


# figures


def stream_figures(columns: Columns, times: Float[Tensor, "draw sequence"]) -> dict[str, Tensor]:
    """NMSE and L0 where sequence s counts `times[draw, s]` times: [draw] in all, [draw, layer] by layer."""
    n = times @ columns["n"]
    error, yy = times @ columns["error"], times @ columns["yy"]
    y = torch.einsum("rs,sld->rld", times, columns["y"])
    variance = (yy - y.square().sum(2) / n[:, None]).clamp_min(1e-30)
    nmse = error / variance
    out = {"nmse_layers": nmse, "nmse": nmse.mean(1), "nmse_pooled": error.sum(1) / variance.sum(1)}
    if "active" in columns:
        l0 = times @ columns["active"] / n[:, None]
        out |= {"l0_layers": l0, "l0": l0.mean(1)}
    if "skip" in columns:
        skip = torch.einsum("rs,sld->rld", times, columns["skip"])
        covariance = times @ columns["skip_y"] - (skip * y).sum(2) / n[:, None]
        out |= {"skip_share_layers": covariance / variance, "skip_share": covariance.sum(1) / variance.sum(1)}
    return out


def output_figures(
    columns: Columns, ce_mean: Float[Tensor, " sequence"] | None, times: Float[Tensor, "draw sequence"]
) -> dict[str, Tensor]:
    """KL, matches and cross-entropies where sequence s counts `times[draw, s]` times; `ce_mean` is the loss with the
    mean output in place of every MLP."""
    n, n_next = times @ columns["n"], (times @ columns["n_next"]).clamp_min(1)
    n_determined = times @ columns["n_determined"]
    ce, ce_replaced = (times @ columns[name] / n_next for name in ("ce", "ce_replaced"))
    out = {
        "kl": times @ columns["kl"] / n,
        "top1_match": times @ columns["match"] / n,
        "top1_match_determined": times @ columns["match_determined"] / n_determined,
        "ce_model": ce,
        "ce_replaced": ce_replaced,
    }
    if ce_mean is not None:
        harm = times @ ce_mean / n_next - ce
        recovered = 1 - (ce_replaced - ce) / harm
        out["ce_recovered"] = torch.where(harm == 0, torch.zeros_like(harm), recovered)
    for family in sorted(set(columns["family"].int().tolist()) - {-1}):
        here = times * (columns["family"] == family)
        out[f"family {family}"] = (here @ columns["match_determined"]) / (here @ columns["n_determined"])
    return out

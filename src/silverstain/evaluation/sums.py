"""What is added up while a substitute is measured: a row of sums for each sequence.

Every figure is a ratio of sums over sequences, so one function of the sums and of how often each sequence counts gives
the figure itself (each counts once) and its interval (each counts as often as it was drawn: `intervals`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases.substitutes import DictionarySubstitute, Substitute
from silverstain.models import Harvest, TokenBatch
from silverstain.statistics import divergence
from silverstain.training.weights import Weights

Columns = dict[str, Tensor]
"""A sum for each sequence, first axis, by name; float64 on the processor."""

CARRIES = 0.99
"""The features of a layer that contribute are the fewest that write this share of all it writes, by length."""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What the features of one layer did on some rows."""

    per_row: Int[Tensor, " row"] | None
    """How many are active on each; None where only the features can be asked."""
    fired: Int[Tensor, " feature"]
    """On how many rows each is active."""
    amounts: Float[Tensor, " feature"] | None
    """Σ activation of each; None where it is not known."""


def activity_of(substitute: Substitute, layer: int, x: Float[Tensor, "row d_model"]) -> Activity | None:
    """What the features of a substitute do on MLP inputs x; None for one that has no features."""
    if isinstance(substitute, DictionarySubstitute):
        activations = substitute.dictionary.encode_layer(layer, x)
        is_active = activations > 0
        amounts = activations.clamp(min=0).sum(0)
        return Activity(per_row=is_active.sum(1), fired=is_active.sum(0), amounts=amounts)
    if isinstance(substitute, Weights):
        active, values = substitute.active(layer, substitute.scales.scale_inputs(layer, x))
        amounts = values.new_zeros(active.n_features).index_add_(0, active.features, values)
        return Activity(
            per_row=torch.bincount(active.rows, minlength=len(x)),
            fired=torch.bincount(active.features, minlength=active.n_features),
            amounts=amounts,
        )
    firing = getattr(substitute, "firing", None)
    return None if firing is None else Activity(per_row=None, fired=firing(layer, x), amounts=None)


def decoder_norms(substitute: Substitute, layer: int) -> Float[Tensor, " feature"] | None:
    """The length of what a unit of each feature writes, to all layers together."""
    if isinstance(substitute, DictionarySubstitute):
        return substitute.dictionary.W_dec(layer).flatten(1).norm(dim=1)
    return substitute.decoder_norms(layer) if isinstance(substitute, Weights) else None


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

    def __init__(self, n_layers: int) -> None:
        self.n_layers = n_layers
        self._parts: list[Columns] = []
        self.fired: list[Tensor] | None = None
        self.amounts: list[Tensor] | None = None

    @property
    def columns(self) -> Columns:
        return _joined(self._parts)

    def add(self, substitute: Substitute, batch: TokenBatch, harvested: Harvest) -> list[Float[Tensor, "row d_model"]]:
        """Add a batch; what the substitute misses of each layer's output is given back."""
        rows, layers = Rows(batch), range(self.n_layers)
        inputs = [harvested.mlp_inputs[layer][rows.mask] for layer in layers]
        pending: dict[int, Tensor] = {}
        columns: dict[str, list[Tensor]] = {name: [] for name in ("error", "y", "yy")}
        missed: list[Tensor] = []
        for layer in layers:
            for target, part in enumerate(substitute.writes(layer, inputs[layer], rows.ids).unbind(1), start=layer):
                pending[target] = pending[target] + part if target in pending else part
            y = harvested.mlp_outputs[layer][rows.mask]
            missed.append(y - pending.pop(layer))
            columns["error"].append(rows.by_sequence(missed[-1].double().square().sum(1)))
            columns["y"].append(rows.by_sequence(y))
            columns["yy"].append(rows.by_sequence(y.double().square().sum(1)))
            self._add_skip(substitute, layer, inputs[layer], y, rows, columns)
        self._add_activity(substitute, inputs, rows, columns)
        stacked = {name: torch.stack(parts, dim=1) for name, parts in columns.items()}
        self._parts.append({"n": rows.by_sequence(torch.ones(len(rows.ids), device=rows.mask.device)), **stacked})
        return missed

    def _add_skip(
        self, substitute: Substitute, layer: int, x: Tensor, y: Tensor, rows: Rows, columns: dict[str, list[Tensor]]
    ) -> None:
        """What the linear skip of a dictionary writes, and how it goes with the output."""
        if not isinstance(substitute, DictionarySubstitute) or not substitute.dictionary.has_skip:
            return
        W_skip = substitute.dictionary.W_skip(layer)
        skipped = torch.zeros_like(y) if W_skip is None else x @ W_skip.to(x.dtype).T
        columns.setdefault("skip", []).append(rows.by_sequence(skipped))
        columns.setdefault("skip_y", []).append(rows.by_sequence((skipped.double() * y.double()).sum(1)))

    def _add_activity(
        self, substitute: Substitute, inputs: list[Tensor], rows: Rows, columns: dict[str, list[Tensor]]
    ) -> None:
        found = [activity_of(substitute, layer, x) for layer, x in enumerate(inputs)]
        seen = [activity for activity in found if activity is not None]
        if len(seen) < len(found):
            return
        self.fired = _added(self.fired, [activity.fired.cpu() for activity in seen])
        amounts = [activity.amounts.double().cpu() for activity in seen if activity.amounts is not None]
        self.amounts = _added(self.amounts, amounts) if len(amounts) == len(seen) else None
        per_row = [activity.per_row for activity in seen if activity.per_row is not None]
        if len(per_row) == len(seen):
            columns["active"] = [rows.by_sequence(counts.double()) for counts in per_row]


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
    """Share of features among the fewest that write CARRIES of Σ activation · decoder norm."""
    written = (fired_amounts * norms.to(fired_amounts)).sort(descending=True).values
    if not float(written.sum()) > 0:
        return 0.0
    n = int((written.cumsum(0) < CARRIES * written.sum()).sum()) + 1
    return n / len(written)

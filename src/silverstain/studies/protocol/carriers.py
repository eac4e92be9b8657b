"""What a variable is held in and moved by: units of a basis, or the stream as it is.

Both are read at one place of many prompts, layer by layer, and both can be given more or less of each of their
components there. So a study is the same in a dictionary, in neurons, and in contrasts (mean differences of the stream).
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Basis
from silverstain.interventions import AnyEdit, DirectionEdit, Edit, VectorEdit
from silverstain.models import harvest_mlps
from silverstain.models.prompts import padded, side_by_side

from .subject import ROWS_A_PASS, Subject

SHARE_MOVED = 0.9
"""The fewest units are moved that carry this share of a difference, as they are written to the stream."""

Amounts = dict[int, Float[Tensor, " component"]]
"""By layer, how much more of each component there is to be."""
Window = tuple[int, int]
"""The first and the last layer that are moved."""


@runtime_checkable
class Carrier(Protocol):
    """Units, or the stream."""

    name: str

    def windows(self) -> tuple[Window, ...]:
        """The layers that may be moved together."""
        ...

    def inputs(
        self, subject: Subject, rows: Sequence[tuple[int, ...]], positions: Sequence[int]
    ) -> Float[Tensor, "layer case d"]:
        """What is read of each prompt at its position, in every layer."""
        ...

    def components(self, layer: int, inputs: Float[Tensor, "case d"]) -> Float[Tensor, "case component"]:
        """What a layer holds, given its inputs."""
        ...

    def size(self, layer: int, components: Int[Tensor, " k"] | None = None) -> Float[Tensor, " component"]:
        """How long what each component writes is."""
        ...

    def edits(self, amounts: Amounts, position: int) -> list[AnyEdit]:
        """The edits that add so much of each component; of few enough, where components are many."""
        ...

    def length(self, amounts: Amounts) -> float:
        """How long what these amounts write is, over all layers."""
        ...

    def others(self, amounts: Amounts, held: Float[Tensor, "layer d"], seed: int, kind: str) -> Amounts:
        """Other components moved in place of these, as many and by as much as is written, as `random_control` does to
        edits: of `random` ones, the same the other way (`opposite`), or of those that fire there (`active`), given what
        is read at the place."""
        ...


class Units:
    """Units of a basis; of each change the fewest that carry nearly all of it, and no more than `most` in all."""

    name = "units"

    def __init__(self, basis: Basis, most: int | None = None) -> None:
        self.basis, self.most = basis, most
        self._sizes: dict[int, Tensor] = {}
        self._decoders: dict[int, Tensor] = {}

    def windows(self) -> tuple[Window, ...]:
        n = self.basis.n_layers
        marks = sorted({round(n * quarter / 4) for quarter in range(5)})
        return tuple((first, end - 1) for first in marks for end in marks if end > first)

    def inputs(self, subject: Subject, rows: Sequence[tuple[int, ...]], positions: Sequence[int]) -> Tensor:
        found: dict[int, Tensor] = {}
        for numbers in side_by_side(subject.model, [len(row) for row in rows], ROWS_A_PASS):
            ids = padded([rows[i] for i in numbers], subject.model.device)
            read = harvest_mlps(subject.model, ids, reads_at=self.basis.reads_at).mlp_inputs
            for batch, i in enumerate(numbers):
                found[i] = read[:, batch, positions[i]].clone()
        return torch.stack([found[i] for i in range(len(rows))], dim=1)

    def components(self, layer: int, inputs: Tensor) -> Tensor:
        return self.basis.encode_layer(layer, inputs).float()

    def size(self, layer: int, components: Tensor | None = None) -> Tensor:
        if layer not in self._sizes:
            self._sizes[layer] = self._rows(layer).flatten(1).norm(dim=1)
        return self._sizes[layer] if components is None else self._sizes[layer][components]

    def edits(self, amounts: Amounts, position: int) -> list[AnyEdit]:
        """What the units write more, as one vector a layer: an `add` needs nothing of the run that it is added to, so
        this is the edit of the units themselves (a test compares them), and many times cheaper."""
        return [
            VectorEdit(op="add", layer=target, positions=(position,), donor=tuple(row.tolist()))
            for target, row in sorted(self._written(amounts).items())
        ]

    def length(self, amounts: Amounts) -> float:
        return float(sum(row.square().sum() for row in self._written(amounts).values())) ** 0.5

    def _written(self, amounts: Amounts) -> dict[int, Float[Tensor, " d_model"]]:
        """By target layer, what the units whose change is made write more."""
        written: dict[int, Tensor] = {}
        for layer, units in self.moved(amounts).items():
            amount = amounts[layer]
            if len(units):
                rows = torch.einsum("f, ftd -> td", amount[units], self._rows(layer)[units])
                for target, row in zip(self.basis.targets(layer), rows, strict=True):
                    written[target] = written.get(target, 0) + row
        return written

    def moved(self, amounts: Amounts) -> dict[int, Int[Tensor, " k"]]:
        """By layer, the units whose change is made."""
        sizes = {layer: amount.abs() * self.size(layer) for layer, amount in amounts.items()}
        chosen = {layer: fewest(size) for layer, size in sizes.items()}
        if self.most is None or sum(len(units) for units in chosen.values()) <= self.most:
            return chosen
        ranked = torch.cat([sizes[layer][units] for layer, units in chosen.items()]).sort(descending=True).values
        least = ranked[self.most - 1]
        return {layer: units[sizes[layer][units] >= least] for layer, units in chosen.items()}

    def unit_edits(self, amounts: Amounts, position: int) -> list[AnyEdit]:
        """The same edits unit by unit: what can be saved, and read by others."""
        edits: list[AnyEdit] = []
        for layer, units in self.moved(amounts).items():
            amount = amounts[layer]
            pairs, values = tuple((layer, unit) for unit in units.tolist()), tuple(amount[units].tolist())
            if len(units) == 1:
                edits.append(Edit(op="add", features=pairs, positions=(position,), value=values[0]))
            elif len(units):
                edits.append(Edit(op="add", features=pairs, positions=(position,), donor=values))
        return edits

    def others(self, amounts: Amounts, held: Float[Tensor, "layer d"], seed: int, kind: str) -> Amounts:
        found: Amounts = {}
        generator = torch.Generator().manual_seed(seed)
        for layer, units in self.moved(amounts).items():
            amount = amounts[layer]
            free = torch.ones(len(amount), dtype=torch.bool)
            if kind == "active":
                free = self.components(layer, held[layer][None])[0] != 0
            free[units] = False
            candidates = free.nonzero().flatten()
            chosen = candidates[torch.randperm(len(candidates), generator=generator)[: len(units)]]
            if not len(chosen):
                continue
            moved = amount[units][: len(chosen)]
            rows = self._rows(layer)
            long, short = (
                torch.einsum("f, ftd -> td", by, rows[which]).norm()
                for by, which in ((amount[units], units), (moved, chosen))
            )
            scale = float(long / short) if float(short) > 0 else 0.0
            found[layer] = torch.zeros_like(amount)
            found[layer][chosen] = moved * (-scale if kind == "opposite" else scale)
        return found

    def _rows(self, layer: int) -> Float[Tensor, "unit target d_model"]:
        if layer not in self._decoders:
            units = torch.arange(self.basis.n_features, device=self.basis.device)
            self._decoders[layer] = self.basis.decoder_rows(layer, units).float()
        return self._decoders[layer]


class Stream:
    """The stream behind each block but the last."""

    name = "contrasts"

    def __init__(self, n_layers: int) -> None:
        self.n_layers = n_layers

    def windows(self) -> tuple[Window, ...]:
        """One layer at a time: what is added there is there in all that follow."""
        last = max(self.n_layers - 1, 1)
        step = max(1, round(last / 8))
        return tuple((layer, layer) for layer in range(0, last, step))

    @torch.no_grad()
    def inputs(self, subject: Subject, rows: Sequence[tuple[int, ...]], positions: Sequence[int]) -> Tensor:
        found: dict[int, Tensor] = {}
        for numbers in side_by_side(subject.model, [len(row) for row in rows], ROWS_A_PASS):
            ids = padded([rows[i] for i in numbers], subject.model.device)
            states = subject.model.hf(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
            layers = torch.stack(list(states[1 : self.n_layers]) or [states[-1]])  # the last has passed the final norm
            for batch, i in enumerate(numbers):
                found[i] = layers[:, batch, positions[i]].clone()
        return torch.stack([found[i] for i in range(len(rows))], dim=1)

    def components(self, layer: int, inputs: Tensor) -> Tensor:
        return inputs.float()

    def size(self, layer: int, components: Tensor | None = None) -> Tensor:
        raise NotImplementedError("directions of the stream are not chosen among")

    def edits(self, amounts: Amounts, position: int) -> list[AnyEdit]:
        return [
            DirectionEdit(op="add", layer=layer, direction=tuple(amount.tolist()), positions=(position,),
                          value=float(amount.norm()), name="contrast")
            for layer, amount in amounts.items() if float(amount.norm()) > 0
        ]  # fmt: skip

    def length(self, amounts: Amounts) -> float:
        return float(sum(amount.square().sum() for amount in amounts.values())) ** 0.5

    def others(self, amounts: Amounts, held: Float[Tensor, "layer d"], seed: int, kind: str) -> Amounts:
        """A Gaussian direction of the same length."""
        generator = torch.Generator().manual_seed(seed)
        found: Amounts = {}
        for layer, amount in amounts.items():
            draw = torch.randn(len(amount), generator=generator)
            scale = amount.norm() / draw.norm()
            found[layer] = draw * (-scale if kind == "opposite" else scale)
        return found


def times(factor: float, amounts: Amounts) -> Amounts:
    """So many times as much in every layer."""
    return {layer: factor * amount for layer, amount in amounts.items()}


def fewest(size: Float[Tensor, " component"], share: float = SHARE_MOVED) -> Int[Tensor, " k"]:
    """The fewest components that carry a share of the size, at most half of all, so that others can be controls."""
    ranked, order = size.sort(descending=True)
    total = ranked.sum()
    if float(total) == 0:
        return order[:0]
    n = int((ranked.cumsum(0) < share * total).sum()) + 1
    return order[: min(n, len(size) // 2)].sort().values

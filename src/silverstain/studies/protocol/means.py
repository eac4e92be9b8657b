"""What a carrier holds at one place for each value of a variable, on average over prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .carriers import Amounts, Carrier, Window
from .subject import Subject
from .values import Case


@dataclass(frozen=True, kw_only=True)
class Means:
    """Means by value at one place, of the prompts that are fitted on.

    Attributes:
        labels: The value that each prompt counts under; permuted for a nonsense task.
        inputs: What the carrier reads, from which everything follows.
    """

    carrier: Carrier
    place: str
    values: tuple[str, ...]
    labels: Int[Tensor, " case"]
    combinations: tuple[str, ...]
    inputs: Float[Tensor, "layer case d"]
    _by_value: dict[int, Float[Tensor, "value component"]] = field(default_factory=dict, repr=False)

    def by_value(self, layer: int) -> Float[Tensor, "value component"]:
        """Of a value without prompts, zeros."""
        if layer not in self._by_value:
            held = self.carrier.components(layer, self.inputs[layer])
            counts = torch.bincount(self.labels, minlength=len(self.values)).clamp_min(1)
            sums = held.new_zeros(len(self.values), held.shape[1]).index_add_(0, self.labels, held)
            self._by_value[layer] = sums / counts[:, None]
        return self._by_value[layer]

    def overall(self, layer: int) -> Float[Tensor, " component"]:
        """The mean over values, each counted once."""
        there = torch.bincount(self.labels, minlength=len(self.values)) > 0
        return self.by_value(layer)[there].mean(0)

    def of(self, value: str, layer: int, without: frozenset[str] = frozenset()) -> Float[Tensor, " component"]:
        """The mean of a value, without the prompts of some combinations; the mean over values where none is left."""
        code = self.values.index(value)
        chosen = self.labels == code
        own = torch.tensor([name in without for name in self.combinations])
        if not bool((own & chosen).any()):
            return self.by_value(layer)[code] if bool(chosen.any()) else self.overall(layer)
        chosen = chosen & ~own
        if not bool(chosen.any()):
            return self.overall(layer)
        return self.carrier.components(layer, self.inputs[layer][chosen]).mean(0)

    def difference(self, of: str, to: str, window: Window, *, without: frozenset[str] = frozenset()) -> Amounts:
        """What makes prompts of one value into prompts of another, by layer."""
        return {
            layer: self.of(to, layer, without) - self.of(of, layer, without)
            for layer in range(window[0], window[1] + 1)
        }

    def less(self, value: str, window: Window, *, without: frozenset[str] = frozenset()) -> Amounts:
        """What takes a value away and puts none in its place: the mean over values in its stead."""
        return {
            layer: self.overall(layer) - self.of(value, layer, without) for layer in range(window[0], window[1] + 1)
        }

    def halves_apart(self, value: str, window: Window, seed: int) -> Amounts:
        """The difference between two halves of the prompts of one value: a change that should change nothing."""
        mine = (self.labels == self.values.index(value)).nonzero().flatten()
        order = mine[torch.randperm(len(mine), generator=torch.Generator().manual_seed(seed))]
        if len(order) < 2:
            return {}
        one, other = order[: len(order) // 2], order[len(order) // 2 :]
        found: Amounts = {}
        for layer in range(window[0], window[1] + 1):
            held = self.carrier.components(layer, self.inputs[layer][order])
            found[layer] = held[len(one) :].mean(0) - held[: len(one)].mean(0)
        assert len(one) + len(other) == len(order)
        return found

    def of_rows(self, rows: Int[Tensor, " row"]) -> "Means":
        """The means of some of the prompts; one that is named twice counts twice."""
        return Means(
            carrier=self.carrier, place=self.place, values=self.values, labels=self.labels[rows],
            combinations=tuple(self.combinations[row] for row in rows.tolist()), inputs=self.inputs[:, rows],
        )  # fmt: skip

    def relabelled(self, labels: Int[Tensor, " case"]) -> "Means":
        """The same prompts, counted under other values."""
        return Means(
            carrier=self.carrier, place=self.place, values=self.values, labels=labels,
            combinations=self.combinations, inputs=self.inputs,
        )  # fmt: skip


def means_at(subject: Subject, carrier: Carrier, cases: Sequence[Case], place: str) -> Means:
    """Means at a place of some prompts."""
    values = tuple(sorted({case.value for case in cases}))
    code = {value: number for number, value in enumerate(values)}
    rows = [subject.ids(case.text) for case in cases]
    positions = [subject.position(case, place) for case in cases]
    return Means(
        carrier=carrier, place=place, values=values, labels=torch.tensor([code[case.value] for case in cases]),
        combinations=tuple(case.combination for case in cases), inputs=carrier.inputs(subject, rows, positions),
    )  # fmt: skip

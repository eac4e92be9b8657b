"""The verdict from the mechanism alone: which part of the prompt drives the answer, by the attribution graph.

With S the share of the answer's input that comes from the shortcut, and E from the evidence (`graphs.origins`), the
lean is S / (S + E). The formula is fixed: above ½ by a margin the answer is *cheated*, below ½ by it *learned*, between
*undecided*. The confidence is |2 · lean − 1|. A learned answer whose evidence has several parts must use all of them:
where hardly any unit that carries the answer is driven by one of the parts, the answer is looked up by the others
alone, and the verdict is *memorised*.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from silverstain.brief import brief
from silverstain.graphs import Graph, Origins

Verdict = Literal["learned", "cheated", "memorised", "undecided"]
VERDICTS: tuple[Verdict, ...] = ("learned", "cheated", "memorised", "undecided")

MARGIN = 0.1
"""The least confidence of a verdict."""
LEAST_NAMED = 0.2
"""Share of the answer's input that evidence and shortcut carry at least; below it the answer comes from elsewhere."""
LEAST_PART = 0.15
"""Share of the units' influence in units that a part of the evidence drives more than any other part: below it the
answer does not depend on that part by way of units."""
LEAST_EXPLAINED = 0.5
"""Share of the answer's input that must not come from errors: below it the basis is too poor to judge."""


@brief
@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """What one graph says of one answer."""

    verdict: Verdict
    reason: str
    """Of an undecided one, why; else what decided."""
    lean: float | None
    """Shortcut ÷ (shortcut + evidence); None where neither is named or carries anything."""
    confidence: float
    shortcut: float
    """Share of the answer's input."""
    evidence: float
    parts: tuple[float, ...]
    """The evidence's share by its parts, in their order."""
    carried: tuple[float, ...]
    """Share of the units' influence that is in units driven by that part more than by any other; empty for one part."""
    errors: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judged(graph: Graph, found: Origins, n_evidence: int, n_shortcut: int) -> Mechanism:
    """The verdict on a graph, given its origins in each part of the evidence, then in each of the shortcut."""
    shares = found.of_targets[: n_evidence + n_shortcut].tolist()
    parts, used = shares[:n_evidence], sum(shares[n_evidence:])
    named = used + sum(parts)
    lean = used / named if named > 0 else None
    carried = carried_by_parts(graph, found, n_evidence) if n_evidence > 1 else ()
    verdict, reason = verdict_of(lean, named, found.errors, carried)
    return Mechanism(
        verdict=verdict, reason=reason, lean=lean, confidence=0.0 if lean is None else abs(2 * lean - 1),
        shortcut=used, evidence=sum(parts), parts=tuple(parts), carried=carried, errors=found.errors,
    )  # fmt: skip


def verdict_of(lean: float | None, named: float, errors: float, carried: Sequence[float]) -> tuple[Verdict, str]:
    """The formula, and what decided in it."""
    if errors > 1 - LEAST_EXPLAINED:
        return (
            "undecided",
            f"{100 * errors:.0f} % of the answer's input comes from errors: the basis is too poor to judge",
        )
    if lean is None or named < LEAST_NAMED:
        return (
            "undecided",
            f"evidence and shortcut carry {100 * named:.0f} % of the answer's input; it comes from elsewhere",
        )
    if abs(2 * lean - 1) < MARGIN:
        return "undecided", "evidence and shortcut carry about the same"
    if lean > 0.5:
        return "cheated", "the shortcut carries more than the evidence"
    if carried and min(carried) < LEAST_PART:
        part = min(range(len(carried)), key=lambda i: carried[i])
        return "memorised", f"units driven by part {part + 1} of the evidence carry {100 * carried[part]:.0f} %"
    return "learned", "the evidence carries more than the shortcut"


def carried_by_parts(graph: Graph, found: Origins, n_parts: int) -> tuple[float, ...]:
    """Of all influence of units, the share in units that each part drives more than any other part does."""
    is_unit = graph.nodes.is_unit & (found.of_nodes[:, :n_parts].sum(1) > 0)
    reached = graph.influence().double() * is_unit
    strongest = found.of_nodes[:, :n_parts].argmax(1)
    total = float(reached.sum())
    return tuple(float(reached[strongest == part].sum()) / total if total else 0.0 for part in range(n_parts))


@brief
@dataclass(frozen=True, kw_only=True)
class Carrier:
    """A unit by which a span reaches the answer."""

    layer: int
    position: int
    feature: int
    share: float
    """Influence on the answer times the share of the unit's input that comes from the span."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def carriers(graph: Graph, found: Origins, column: int, most: int) -> tuple[Carrier, ...]:
    """The units that carry most of a span's influence and get more than half of their input from it."""
    is_its_own = graph.nodes.is_kind("feature") & (found.of_nodes[:, column] > 0.5)
    through = torch.where(is_its_own, found.through[:, column], 0.0)
    ranked = through.argsort(descending=True, stable=True)[:most].tolist()
    return tuple(
        Carrier(
            layer=int(graph.nodes.layer[i]), position=int(graph.nodes.position[i]),
            feature=int(graph.nodes.feature[i]), share=float(through[i]),
        )
        for i in ranked if through[i] > 0
    )  # fmt: skip

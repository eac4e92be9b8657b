"""The demonstration on a real model: why two prompts are answered differently, and the proof by patching."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from silverstain.attribution.secant import Contrast, contrast_graph, find_contrast
from silverstain.brief import brief
from silverstain.graphs import Graph, Story
from silverstain.loading import ReplacementModel
from silverstain.verification.contrast import Patching, Region, Turned
from silverstain.verification.contrast.curves import Curve, curves, smallest
from silverstain.verification.contrast.patching import CONTRAST
from silverstain.verification.contrast.rankings import account, order_by, random_orders, write_sizes
from silverstain.verification.counting import counting

MODEL = "smollm2-135m"
BASE, OTHER = "The capital of France is", "The capital of Spain is"
KS = (5, 10, 20, 50, 100, 200)


@brief
@dataclass(frozen=True, kw_only=True)
class RealDemo:
    """A contrast, drawn and proved."""

    contrast: Contrast
    graph: Graph
    story: Story
    """Groups and names, with the curves as evidence: the page shows them at once."""
    curves: tuple[Curve, ...]
    """The account's order, the largest changes and random units, patched into the base."""
    turned: Turned
    turned_back: Turned


@torch.no_grad()
def demonstrate_contrast(
    loaded: ReplacementModel, *, on_progress: Callable[[int, int], None] | None = None
) -> RealDemo:
    """Two prompts that differ in a word: the circuit of the difference, and how few units turn the answer."""
    steps = counting(on_progress, 4)
    found = find_contrast(loaded.model, loaded.dictionary, BASE, OTHER)
    graph = contrast_graph(found).prune()
    steps()
    story = loaded.read(graph)
    steps()
    patching, everywhere = Patching(found), Region().units(found)
    most = max(KS)
    signed = order_by(account(found), everywhere, most)
    orders = {
        "signed": [signed],
        "largest_change": [order_by(write_sizes(found), everywhere, most)],
        "random": random_orders(found, everywhere, most, torch.Generator().manual_seed(0))[:1],
    }
    drawn = curves(patching, orders, ks=KS)
    steps()
    turned = smallest(patching, signed, known=drawn[0])
    back = smallest(patching, signed, run=CONTRAST)
    steps()
    story = replace(story, evidence=(_evidence(graph, drawn, turned),))
    return RealDemo(contrast=found, graph=graph, story=story, curves=tuple(drawn), turned=turned, turned_back=back)


def _evidence(graph: Graph, drawn: Sequence[Curve], turned: Turned) -> dict[str, Any]:
    """The curves as the explorer keeps those that it measures."""
    said = graph.meta["contrast"]
    by_method = {curve.method: [[k, value] for k, value in curve.values.items()] for curve in drawn}
    ends = {"base": said["base"], "contrast": said["contrast"]}
    return {"kind": "curves", **ends, "curves": by_method, "turned": turned.to_json()}

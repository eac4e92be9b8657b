"""A contrast of two prompts on the page: how few units turn the answer, and what a chosen number of them does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field

from silverstain.errors import UsageError
from silverstain.explorer.jobs import Job
from silverstain.explorer.live import Live
from silverstain.graphs import Graph
from silverstain.printable import printable
from silverstain.validation import FromOutside, ShortText
from silverstain.verification.contrast import Patch, Patching
from silverstain.verification.contrast.curves import curves, smallest
from silverstain.verification.contrast.proof import contrast_of
from silverstain.verification.contrast.rankings import Region, account, order_by, random_orders, write_sizes

if TYPE_CHECKING:
    from silverstain.attribution.secant import Contrast
    from silverstain.loading import ReplacementModel

KS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
MOST = max(KS)
METHODS = ("signed", "largest_change", "random")
N_TOP = 5


class CurvesAsked(FromOutside):
    graph: ShortText


class PatchAsked(FromOutside):
    """So many units of an order, patched into one of the runs."""

    graph: ShortText
    k: Annotated[int, Field(ge=0, le=MOST)]
    method: Literal["signed", "largest_change", "random"] = "signed"
    run: Literal["base", "contrast"] = "base"


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """A contrast with the orders in which units are patched."""

    patching: Patching
    orders: dict[str, torch.Tensor]


def ordered(found: "Contrast") -> Ordered:
    """The account's order, the largest changes, and units drawn at random."""
    everywhere = Region().units(found)
    drawn = random_orders(found, everywhere, MOST, torch.Generator().manual_seed(0))[0]
    return Ordered(
        patching=Patching(found),
        orders={
            "signed": order_by(account(found), everywhere, MOST),
            "largest_change": order_by(write_sizes(found), everywhere, MOST),
            "random": drawn,
        },
    )


def patching_of(graph: Graph, loaded: "ReplacementModel") -> Ordered:
    """The two runs of a graph, made again."""
    return ordered(contrast_of(loaded.model, loaded.dictionary, graph))


@torch.no_grad()
def k_curves(graph: Graph, live: Live, job: Job) -> dict[str, Any]:
    """The difference of logits with K units patched into the base, by each order."""
    here = _ordered(graph, live, job)
    patching = here.patching
    ends = patching.ends()
    job.tell("ends", base=float(ends.value[0]), contrast=float(ends.value[1]))
    for method in METHODS:
        job.phase(f"patching, {NAMES[method]}")
        order = here.orders[method]
        ks = [k for k in KS if k <= len(order)]
        (curve,) = curves(patching, {method: [order]}, ks=ks)
        job.tell("curve", method=method, values=[[k, value] for k, value in curve.values.items()])
    job.phase("how few turn the answer")
    turned = smallest(patching, here.orders["signed"])
    return {"turned": turned.to_json(), "most": len(here.orders["signed"])}


NAMES = {"signed": "by the account", "largest_change": "the largest changes", "random": "random units"}


@torch.no_grad()
def patched(graph: Graph, live: Live, asked: PatchAsked, job: Job) -> dict[str, Any]:
    """What the model says with K units of the other run."""
    here = _ordered(graph, live, job)
    run = 0 if asked.run == "base" else 1
    order = here.orders[asked.method]
    return {"k": min(asked.k, len(order)), **_said(here.patching, Patch(run=run, units=order[: asked.k]))}


def _said(patching: Patching, patch: Patch) -> dict[str, Any]:
    model = patching.contrast.model
    logits = patching.logits([patch])[0]
    plus, minus = patching.contrast.roots[0].facts["ids"]
    chances = logits.double().softmax(-1)
    best = chances.topk(N_TOP)
    wanted = list(dict.fromkeys([*best.indices.tolist(), minus, plus]))
    names = model.token_strings(wanted)
    return {
        "value": float(logits[plus] - logits[minus]),
        "answers": [
            {
                "token": printable(name, 80),
                "id": token,
                "probability": float(chances[token]),
                "is_answer": token in (plus, minus),
            }
            for name, token in zip(names, wanted, strict=True)
        ],
    }


def _ordered(graph: Graph, live: Live, job: Job) -> Ordered:
    if not graph.meta.get("contrast"):
        raise UsageError("this graph is of one prompt; trace two to see what differs between them")
    loaded = live.model_of(graph, job.phase)

    def make() -> Ordered:
        job.phase("running both prompts")
        return patching_of(graph, loaded)

    return live.kept("patching", graph, make)


def units_at(here: Ordered, places: Sequence[tuple[int, int, int]], run: int, graph: Graph) -> dict[str, Any]:
    """What patching the units at (layer, position, feature) is accounted to do to the target, and what it does."""
    flow, offsets = here.patching.contrast.flow, here.patching.offsets
    found: list[int] = []
    for layer, units in enumerate(flow.units):
        mine = {(position, feature) for at, position, feature in places if at == layer}
        if not mine:
            continue
        columns = zip(units.position.tolist(), units.feature.tolist(), strict=True)
        found += [offsets[layer] + k for k, place in enumerate(columns) if place in mine]
    chosen = torch.tensor(found, dtype=torch.long)
    sign = 1 if run == 0 else -1
    nothing = torch.zeros(0, dtype=torch.long)
    values = here.patching.run([Patch(run=run, units=nothing), Patch(run=run, units=chosen)]).value.tolist()
    predicted = sign * float(account(here.patching.contrast)[chosen].sum())
    span = graph.nodes.span("logit")
    name = graph.target_names[0] if graph.target_names else "the difference"
    row = {"id": graph.nodes.ids()[span.start], "kind": "answer", "name": printable(name, 80)}
    return {"rows": [row | {"predicted": predicted, "measured": values[1] - values[0]}]}

"""The kinds of work on one graph, each from what the page sent to what it is told in the end.

Loaded when the first such request comes, as all of it needs a model.
"""

from typing import Annotated, Any

import torch
from pydantic import Field

from silverstain.attribution import record_run
from silverstain.errors import UsageError
from silverstain.explorer.contrasting import CurvesAsked, PatchAsked, k_curves, patched
from silverstain.explorer.jobs import Job
from silverstain.explorer.lab import experiment as run_experiment
from silverstain.explorer.lab_edits import LabAsked
from silverstain.explorer.lens import LensAsked
from silverstain.explorer.lens import lens as read_lens
from silverstain.explorer.live import Live
from silverstain.explorer.proposing import proposed_groups
from silverstain.explorer.tracing import MOST_TOKENS, Text
from silverstain.graphs import Graph, Story
from silverstain.pieces import piece
from silverstain.printable import printable
from silverstain.validation import Count, FromOutside, ShortText, validated

SENT = "what the page sent"
ADVICE = "change it, or load the page again"


class ActivityAsked(FromOutside):
    """A text on which one feature is to be read."""

    graph: ShortText = ""
    layer: Count
    feature: Count
    text: Annotated[Text, Field(min_length=1)]


class ProposalsAsked(FromOutside):
    """Groups of a graph, to accept or reject."""

    graph: ShortText = ""


ASKED: dict[str, type[FromOutside]] = {
    "experiment": LabAsked, "curves": CurvesAsked, "patch": PatchAsked, "lens": LensAsked, "activity": ActivityAsked,
    "proposals": ProposalsAsked,
}  # fmt: skip
"""What each kind of work is asked with."""


def experiment(graph: Graph, live: Live, asked: dict[str, Any], job: Job) -> dict[str, Any]:
    return run_experiment(graph, live, validated(LabAsked, asked, SENT, ADVICE), job)


def curves(graph: Graph, live: Live, asked: dict[str, Any], job: Job) -> dict[str, Any]:
    validated(CurvesAsked, asked, SENT, ADVICE)
    return k_curves(graph, live, job)


def patch(graph: Graph, live: Live, asked: dict[str, Any], job: Job) -> dict[str, Any]:
    return patched(graph, live, validated(PatchAsked, asked, SENT, ADVICE), job)


def lens(graph: Graph, live: Live, asked: dict[str, Any], job: Job) -> dict[str, Any]:
    return read_lens(graph, live, validated(LensAsked, asked, SENT, ADVICE), job)


def proposals(graph: Graph, live: Live, asked: dict[str, Any], job: Job) -> dict[str, Any]:
    """Groups to accept or reject."""
    loaded = live.model_of(graph, job.phase)
    job.phase("grouping and naming")
    groups = proposed_groups(graph, Story(graph_hash=graph.hash), loaded)
    return {
        "groups": [
            {"label": printable(group.label, 200), "members": list(group.members), "kind": group.kind}
            for group in groups
        ]
    }


@torch.no_grad()
def activity(graph: Graph, live: Live, asked: dict[str, Any], job: Job) -> dict[str, Any]:
    """How active one feature is at every token of a text."""
    wanted = validated(ActivityAsked, asked, SENT, ADVICE)
    loaded = live.model_of(graph, job.phase)
    basis, model = loaded.dictionary, loaded.model
    if wanted.layer >= basis.n_layers or wanted.feature >= basis.n_features:
        raise UsageError(f"there is no L{wanted.layer}.F{wanted.feature}; load the page again")
    ids = model.tokenize(wanted.text)
    if len(ids) > MOST_TOKENS:
        raise UsageError(f"the text has {len(ids):,} tokens, and at most {MOST_TOKENS} are read; shorten it")
    run = record_run(model, basis, ids)
    found = run.activations([(wanted.layer, position, wanted.feature) for position in range(len(ids))])
    names = [piece(printable(name, 80)) for name in model.token_strings(ids)]
    return {"tokens": names, "activations": [round(value, 5) for value in found.tolist()], "n_real": run.n_real}

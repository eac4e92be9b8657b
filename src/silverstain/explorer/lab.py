"""An experiment of the lab: edits of the running model, what it says then, and whether the graph said so before."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from silverstain.attribution import RecordedRun, record_run
from silverstain.errors import UsageError
from silverstain.explorer.jobs import Job
from silverstain.explorer.lab_edits import Bench, LabAsked, raw_edits
from silverstain.explorer.live import Live
from silverstain.graphs import Graph
from silverstain.graphs.kinds import FEATURE
from silverstain.interventions import (
    AnyEdit,
    Donor,
    Edit,
    Intervention,
    Regime,
    VectorEdit,
    intervene_many,
    random_control,
    stream,
)
from silverstain.printable import printable
from silverstain.verification import graph_run

if TYPE_CHECKING:
    from silverstain.loading import ReplacementModel

MOST_READ = 60
"""Features whose change is predicted and measured, those with the most influence."""
N_TOP = 6


def experiment(graph: Graph, live: Live, asked: LabAsked, job: Job) -> dict[str, Any]:
    """Run it, telling what comes as it comes; gives the whole of it, as a story keeps it."""
    if not asked.edits and not asked.raw:
        raise UsageError("there is no edit; choose a node, a group or a line, and say what is done to it")
    loaded = live.model_of(graph, job.phase)
    job.phase("running the prompt")
    ids = ids_of(graph, asked.run)
    run = live.kept(f"run {asked.run}", graph, lambda: record_run(loaded.model, loaded.dictionary, ids))
    bench = Bench(graph=graph, run=run, donor=_donor(graph, loaded, asked))
    edits = (*bench.edits(asked.edits), *raw_edits(asked.raw))
    regime = Regime(attention=asked.attention, base=asked.base)
    job.phase("running it with the change")
    changed, control = _interventions(loaded, run, edits, regime, asked)
    tables = _tables(changed, control)
    job.tell("answers", **tables)
    job.phase("what the graph predicts")
    compared = _compared(graph, loaded, live, edits, asked)
    if compared is not None:
        job.tell("compared", **compared)
    generated = _generated(loaded, ids, edits, regime, asked, job)
    return {
        "evidence": {
            "kind": "experiment",
            "graph_hash": graph.hash,
            "prompt": loaded.model.tokenizer.decode(ids, skip_special_tokens=True),  # pyright: ignore
            "asked": asked.model_dump(exclude={"graph"}, exclude_none=True),
            "edits": [edit.to_json() for edit in edits] if _size(edits) <= 2_000 else [],
            "n_changed": _size(edits),
            **tables,
            **({} if compared is None else {"compared": compared}),
            "generated": generated,
        }
    }


def ids_of(graph: Graph, run: str) -> list[int]:
    """The tokens that are run; UsageError where the graph does not say them."""
    said = graph.meta.get("contrast")
    ids = said["token_ids" if run == "base" else "contrast_token_ids"] if said else graph.meta.get("token_ids")
    if not ids or min(ids) < 0:
        raise UsageError("the graph does not say which tokens it is of, so nothing can be run; trace the prompt again")
    return list(ids)


def _donor(graph: Graph, loaded: "ReplacementModel", asked: LabAsked) -> Donor | None:
    """The run that is taken from: of the prompt that was typed, or of a contrast's other prompt."""
    if all(edit.op not in ("patch", "inject") for edit in asked.edits):
        return None
    if asked.donor.strip():
        return Donor(loaded.model, loaded.dictionary, asked.donor)
    if graph.meta.get("contrast"):
        return Donor(loaded.model, loaded.dictionary, ids_of(graph, "contrast" if asked.run == "base" else "base"))
    return None


def _interventions(
    loaded: "ReplacementModel", run: RecordedRun, edits: Sequence[AnyEdit], regime: Regime, asked: LabAsked
) -> tuple[Intervention, Intervention | None]:
    """The run under the edits, and under random ones of the same size, where there are such."""
    lists: list[Sequence[AnyEdit]] = [edits]
    if asked.control:
        only = [edit for edit in edits if isinstance(edit, Edit)]
        found = random_control(run, only, seed=asked.seed) if len(only) == len(edits) else ()
        if found:
            lists.append(found)
    ids = run.recording.token_ids.tolist()
    changed, *control = intervene_many(loaded.model, loaded.dictionary, [ids], lists, regime, n_top=N_TOP)
    return changed, control[0] if control else None


def _tables(changed: Intervention, control: Intervention | None) -> dict[str, Any]:
    """The likeliest answers before and after, each with all three probabilities."""
    ids = list(dict.fromkeys(line.id for line in (*changed.baseline[:5], *changed.edited[:5])))
    names = {line.id: line.token for line in (*changed.baseline, *changed.edited)}
    rows = []
    for token in ids:
        before, after = changed.probability(token)
        row = {"token": printable(names[token], 80), "id": token, "before": before, "after": after}
        rows.append(row if control is None else row | {"control": control.probability(token)[1]})
    rows.sort(key=lambda row: -max(row["before"], row["after"]))
    return {
        "answers": rows,
        "says": [printable(one[0].token, 80) for one in (changed.baseline, changed.edited)],
        "changed": changed.is_changed,
        "kl": changed.kl,
        **({} if control is None else {"control": {"kl": control.kl, "changed": control.is_changed}}),
    }


def _compared(
    graph: Graph, loaded: "ReplacementModel", live: Live, edits: Sequence[AnyEdit], asked: LabAsked
) -> dict[str, Any] | None:
    """What the graph says would happen to what comes after, beside what does; None where it says nothing of that."""
    if graph.meta.get("contrast"):
        return _compared_in_contrast(graph, loaded, live, edits, asked)
    if not all(isinstance(edit, Edit) or (isinstance(edit, VectorEdit) and edit.layer is not None) for edit in edits):
        return None
    try:
        found = live.kept("graph run", graph, lambda: graph_run(loaded.model, loaded.dictionary, graph))
        read = _read(graph, edits)
        readouts = found.readouts(torch.tensor(read, dtype=torch.long))
        predicted = found.predicted([edits], readouts)
        measured = found.measured([edits], readouts, attention=asked.attention)
    except UsageError as error:  # a target or an edit that the graph's own model cannot be asked about
        return {"rows": [], "why": str(error)}
    ids, names = graph.nodes.ids(), graph.target_names
    span = graph.nodes.span("logit")
    rows = []
    for node, one, other in zip(read, predicted.features[0].tolist(), measured.features[0].tolist(), strict=True):
        size = max(abs(float(graph.nodes.activation[node])), 1e-9)
        rows.append({"id": ids[node], "kind": "feature", "predicted": one / size, "measured": other / size})
    for k, (one, other) in enumerate(zip(predicted.targets[0].tolist(), measured.targets[0].tolist(), strict=True)):
        rows.append(
            {
                "id": ids[span.start + k],
                "kind": "answer",
                "name": printable(names[k], 80),
                "predicted": one,
                "measured": other,
            }
        )
    return {"rows": rows}


def _read(graph: Graph, edits: Sequence[AnyEdit]) -> list[int]:
    """The features whose change is looked at: those with the most influence above what is changed."""
    lowest = min((layer for edit in edits for layer in _layers(edit)), default=0)
    places = {
        (*at, position)
        for edit in edits
        if isinstance(edit, Edit)
        for at in edit.features
        for position in _positions(edit)
    }
    nodes = graph.nodes
    reached = graph.influence()
    above = ((nodes.kind == FEATURE) & (nodes.layer > lowest)).nonzero().flatten()
    ranked = above[reached[above].argsort(descending=True)].tolist()
    columns = (nodes.layer, nodes.feature, nodes.position)
    free = [node for node in ranked if tuple(int(column[node]) for column in columns) not in places]
    return sorted(free[:MOST_READ])


def _layers(edit: AnyEdit) -> list[int]:
    if isinstance(edit, Edit):
        return [layer for layer, _ in edit.features]
    return [-1 if edit.layer is None else edit.layer] if isinstance(edit, VectorEdit) else [0]


def _positions(edit: Edit) -> tuple[int, ...]:
    return edit.positions if isinstance(edit.positions, tuple) else ()


def _compared_in_contrast(
    graph: Graph, loaded: "ReplacementModel", live: Live, edits: Sequence[AnyEdit], asked: LabAsked
) -> dict[str, Any] | None:
    """Of units that are given the other run's activations: what the account says comes through them, and what does."""
    is_patch = all(one.op == "patch" and one.what == "nodes" and one.value in (None, 1.0) for one in asked.edits)
    if not is_patch or asked.raw or asked.donor.strip() or not all(isinstance(edit, Edit) for edit in edits):
        return None
    from silverstain.explorer.contrasting import patching_of, units_at

    try:
        patching = live.kept("patching", graph, lambda: patching_of(graph, loaded))
    except UsageError as error:
        return {"rows": [], "why": str(error)}
    places = [
        (layer, position, feature)
        for edit in edits
        if isinstance(edit, Edit)
        for layer, feature in edit.features
        for position in _positions(edit)
    ]
    return units_at(patching, places, 0 if asked.run == "base" else 1, graph)


def _generated(
    loaded: "ReplacementModel", ids: list[int], edits: Sequence[AnyEdit], regime: Regime, asked: LabAsked, job: Job
) -> dict[str, str]:
    """Both continuations, a token of each at a time."""
    said = {"baseline": "", "edited": ""}
    if not asked.tokens:
        return said
    job.phase("going on with the text")
    model = loaded.model
    drawn: dict[str, Any] = {"temperature": asked.temperature, "seed": asked.seed}
    sides = {
        "baseline": stream(model, ids, **drawn),
        "edited": stream(model, ids, dictionary=loaded.dictionary, edits=edits, regime=regime, **drawn),
    }
    tokens: dict[str, list[int]] = {side: [] for side in sides}
    open_ = list(sides)
    for _ in range(asked.tokens):
        for side in list(open_):
            token = next(sides[side], None)
            if token is None or token in model.end_tokens:
                open_.remove(side)
                continue
            tokens[side].append(token)
            said[side] = printable(str(model.tokenizer.decode(tokens[side])), 2_000)  # pyright: ignore
            job.tell("text", side=side, text=said[side])
    return said


def _size(edits: Sequence[AnyEdit]) -> int:
    """How many numbers are changed."""
    return sum(len(edit.features) * max(len(_positions(edit)), 1) if isinstance(edit, Edit) else 1 for edit in edits)

"""From a prompt to its attribution graph."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import transformers

from silverstain.attribution.always_on import always_on
from silverstain.attribution.joining import check_finite
from silverstain.attribution.plan import Plan, plan_of
from silverstain.attribution.recorded import RecordedRun, record_run
from silverstain.attribution.room import saying_what_fits
from silverstain.attribution.roots import cut_prompt, find_roots, likeliest, root_facts
from silverstain.attribution.run import Progress, Run, attribute
from silverstain.attribution.settings import TraceSettings
from silverstain.bases import Basis, NeuronBasis, with_rule
from silverstain.graphs import Graph
from silverstain.models import LanguageModel
from silverstain.resuming import ResumeStore
from silverstain.version import __version__


def trace(
    model: LanguageModel,
    basis: Basis,
    prompt: str | Sequence[int],
    settings: TraceSettings | None = None,
    *,
    resume: str | Path | None = None,
    on_progress: Progress | None = None,
    **keywords: Any,
) -> Graph:
    """How the model came to its next token: every active feature, what fed it, and what it fed.

    Args:
        prompt: text, or token ids as they are to be run.
        settings: all that decides the trace; keywords (`targets=`, `max_features=`, …) change single ones.
        resume: a folder for what is found on the way. A trace that is interrupted leaves it, and the same call goes on
            from there; a trace that ends deletes it.
        on_progress: told (targets done, targets in all).

    UsageError for a prompt, target or position that the model does not have, or a dictionary of another model.
    """
    start, settings = perf_counter(), TraceSettings.of(settings, keywords)
    run = _run(model, basis, prompt, settings)
    text = prompt if isinstance(prompt, str) else None
    return _traced(run, text, start, resume=resume, on_progress=on_progress)


def trace_recorded(recorded: RecordedRun, settings: TraceSettings | None = None) -> Graph:
    """`trace` of a run that is recorded already, as it is recorded: to its last token."""
    start, settings = perf_counter(), settings or TraceSettings()
    _, places = cut_prompt(recorded.recording.token_ids.tolist(), settings.requests, settings.position)
    recorded = replace(recorded, basis=with_rule(recorded.basis, settings.neuron_rule))
    return _traced(run_of(recorded, settings, places), None, start)


@torch.no_grad()
def plan_trace(
    model: LanguageModel,
    basis: Basis,
    prompt: str | Sequence[int],
    settings: TraceSettings | None = None,
    **keywords: Any,
) -> Plan:
    """What `trace` with these arguments would take: nodes, operations, memory, time. The prompt is run once."""
    return plan_of(_run(model, basis, prompt, TraceSettings.of(settings, keywords)))


def _run(model: LanguageModel, basis: Basis, prompt: str | Sequence[int], settings: TraceSettings) -> Run:
    """The prompt recorded up to the last token after which something is read, with what is asked about it."""
    tokens = model.tokenize(prompt) if isinstance(prompt, str) else [int(token) for token in prompt]
    tokens, places = cut_prompt(tokens, settings.requests, settings.position)
    return run_of(record_run(model, with_rule(basis, settings.neuron_rule), tokens), settings, places)


@torch.no_grad()
def run_of(recorded: RecordedRun, settings: TraceSettings, places: Sequence[int]) -> Run:
    """A recorded run with what the settings ask about it, read at `places`."""
    requests, places = settings.requests, list(places)
    if requests is None:
        asked = likeliest(recorded.recording, places[0], probability=settings.probability, most=settings.most_targets)
        return Run(recorded=recorded, settings=settings, roots=find_roots(recorded, asked, places * len(asked)))
    return Run(recorded=recorded, settings=settings, roots=find_roots(recorded, requests, places))


@torch.no_grad()
def _traced(
    run: Run,
    prompt: str | None,
    start: float,
    *,
    resume: str | Path | None = None,
    on_progress: Progress | None = None,
) -> Graph:
    """The graph of a run with what it is of and how well it holds; `start` is when recording began."""
    recorded = run.recorded
    facts = {"n_real": recorded.n_real, "dtype": str(recorded.model.dtype).removeprefix("torch.")}
    if isinstance(recorded.basis, NeuronBasis):
        facts["neuron_rule"] = recorded.basis.rule
    said = run.settings.to_json() | facts
    meta = _meta(run, prompt)
    store = None if resume is None else ResumeStore(resume, json.dumps([meta, said], sort_keys=True))
    begun = perf_counter()
    with saying_what_fits(
        n_features=run.expanded,
        n_others=run.layout(0).size,
        n_targets=len(run.roots),
        itemsize=recorded.model.dtype.itemsize,
        device=recorded.model.device,
    ):
        graph, unexplained = attribute(run, store=store, on_progress=on_progress)
    done = perf_counter()
    check_finite(graph.values_of_targets, "values")
    if isinstance(recorded.basis, NeuronBasis):
        steady = always_on(recorded.model)
        places = zip(run.active.layer.tolist(), run.active.feature.tolist(), strict=True)
        meta["always_on"] = sorted([layer, feature] for layer, feature in {*places} & steady)
    meta |= {
        "targets": root_facts(run.roots, graph.values_of_targets[-len(run.roots) :]),
        "settings": said,
        "unexplained_influence": unexplained,
        "exactness": {"max_relative_error": graph.exactness()},
        "seconds": {"record": begun - start, "attribute": done - begun, "total": perf_counter() - start},
    }
    return graph.with_meta(meta)


def _meta(run: Run, prompt: str | None) -> dict[str, Any]:
    """What the graph is of: JSON can hold it."""
    recorded = run.recorded
    model, basis, token_ids = recorded.model, recorded.basis, recorded.recording.token_ids.tolist()
    return {
        "prompt": model.tokenizer.decode(token_ids, skip_special_tokens=True) if prompt is None else prompt,
        "tokens": model.token_strings(token_ids),
        "token_ids": token_ids,
        "model": model.about,
        "dictionary": {"name": basis.name, "hash": basis.hash},
        "active_features": run.n_active,
        **({} if run.selection is None else {"rest": True, "share": run.selection.share}),
        "versions": {
            "silverstain": __version__,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
        },
    }

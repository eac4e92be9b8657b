"""From a prompt to its attribution graph."""

import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import transformers

from silverstain.attribution.freezing import Norms, norms_named
from silverstain.attribution.plan import Plan, plan_of
from silverstain.attribution.requests import TargetRequest, as_request, described
from silverstain.attribution.resuming import RowStore
from silverstain.attribution.room import saying_what_fits
from silverstain.attribution.roots import (
    MOST_TARGETS,
    PROBABILITY,
    cut_prompt,
    find_roots,
    likeliest,
    root_facts,
)
from silverstain.attribution.run import Progress, Run, attribute
from silverstain.bases import Dictionary, check_fits
from silverstain.errors import UsageError
from silverstain.graphs import Graph
from silverstain.models import LanguageModel, record
from silverstain.version import __version__


@torch.no_grad()
def trace(
    model: LanguageModel,
    dictionary: Dictionary,
    prompt: str | Sequence[int],
    *,
    targets: Sequence[str | int | TargetRequest] | None = None,
    position: int = -1,
    probability: float = PROBABILITY,
    most_targets: int = MOST_TARGETS,
    max_features: int | None = None,
    max_unexplained: float = 0.0,
    norms: Norms = "frozen",
    products: torch.dtype | None = None,
    resume: str | Path | None = None,
    on_progress: Progress | None = None,
) -> Graph:
    """How the model came to its next token: every active feature, what fed it, and what it fed.

    Args:
        prompt: text, or token ids as they are to be run.
        targets: what is explained, each with a position of its own where it names one: tokens (text or ids) whose
            logits are read, TokenTarget, DifferenceTarget, DirectionTarget, FeatureTarget. By default the smallest set
            of tokens that reaches `probability`, at most `most_targets`.
        position: the token after which the answer is read, for targets that name no other. What follows the last
            token that is read is left out, as it changes nothing.
        max_features: room for features with nodes of their own, taken in order of influence. What the others write
            goes to the error nodes of the layers and positions they write to. By default every active feature.
        max_unexplained: stop expanding when no more than this share of the influence is left unexplained; the share
            that was left is `meta["unexplained_influence"]`.
        norms: "frozen", dividing by what they divided by in the run (the papers'); or "linearised", so that a change
            along the stream, which a norm divides away, counts for nothing. Edges add up in both.
        products: dtype of products with attention's weights; bfloat16 is faster where the hardware has it, and its
            error is part of `meta["exactness"]`.
        resume: a folder for what is found on the way. A trace that is interrupted leaves it, and the same call goes on
            from there; a trace that ends deletes it.
        on_progress: told (targets done, targets in all).

    UsageError for a prompt, target or position that the model does not have, or a dictionary of another model.
    """
    _check_budget(max_features, max_unexplained)
    start = perf_counter()
    run, asked = _run(model, dictionary, prompt, targets, position, probability, most_targets, norms, products)
    settings = {
        "targets": asked,
        "position": position,
        "probability": probability,
        "most_targets": most_targets,
        "max_features": max_features,
        "max_unexplained": max_unexplained,
        "n_real": run.n_real,
        "dtype": str(model.dtype).removeprefix("torch."),
        "norms": norms,
        "products": None if products is None else str(products).removeprefix("torch."),
    }
    meta = _meta(run, dictionary, prompt)
    store = None if resume is None else RowStore(Path(resume), json.dumps([meta, settings], sort_keys=True))
    recorded = perf_counter()
    with saying_what_fits(
        n_features=len(run.active) if max_features is None else min(len(run.active), max_features),
        n_others=run.layout(0).size,
        n_targets=len(run.roots),
        itemsize=model.dtype.itemsize,
        device=model.device,
    ):
        graph, unexplained = attribute(run, max_features, max_unexplained, store=store, on_progress=on_progress)
    done = perf_counter()
    meta |= {
        "targets": root_facts(run.roots, graph.values_of_targets[-len(run.roots) :]),
        "settings": settings,
        "unexplained_influence": unexplained,
        "exactness": {"max_relative_error": graph.exactness()},
        "seconds": {"record": recorded - start, "attribute": done - recorded, "total": perf_counter() - start},
    }
    return graph.with_meta(meta)


@torch.no_grad()
def plan_trace(
    model: LanguageModel,
    dictionary: Dictionary,
    prompt: str | Sequence[int],
    *,
    targets: Sequence[str | int | TargetRequest] | None = None,
    position: int = -1,
    probability: float = PROBABILITY,
    most_targets: int = MOST_TARGETS,
    max_features: int | None = None,
) -> Plan:
    """What `trace` with these arguments would take: nodes, operations, memory, time. The prompt is run once."""
    _check_budget(max_features, 0.0)
    run, _ = _run(model, dictionary, prompt, targets, position, probability, most_targets, "frozen", None)
    return plan_of(run, max_features)


def _run(
    model: LanguageModel,
    dictionary: Dictionary,
    prompt: str | Sequence[int],
    targets: Sequence[str | int | TargetRequest] | None,
    position: int,
    probability: float,
    most_targets: int,
    norms: Norms,
    products: torch.dtype | None,
) -> tuple[Run, list[Any] | None]:
    """The prompt recorded and encoded, with what is asked about it; and the targets as JSON holds them."""
    check_fits(dictionary, model)
    norms_named(norms)
    _check_likeliest(probability, most_targets)
    requests = None if targets is None else [as_request(target) for target in targets]
    token_ids, places = cut_prompt(_tokens(model, prompt), requests, position)
    recording = record(model, token_ids, reads_at=dictionary.reads_at)
    n_real = min(model.n_real, recording.n_positions)
    ours = dictionary.to(device=model.device, dtype=model.dtype)
    everything = ours.encode(recording.mlp_inputs, n_real=n_real)
    if requests is None:
        asked = likeliest(recording, places[0], probability=probability, most=most_targets)
        places = places * len(asked)
    else:
        asked = requests
    roots = find_roots(model, ours, recording, asked, places)
    run = Run(
        model=model,
        dictionary=ours,
        recording=recording,
        # features above lead to no target, and get no node
        active=everything[: everything.of_layer(max(root.layer for root in roots)).start],
        n_encoded=len(everything),
        roots=roots,
        n_real=n_real,
        norms=norms,
        products=products,
    )
    return run, None if requests is None else [described(request) for request in requests]


def _meta(run: Run, dictionary: Dictionary, prompt: str | Sequence[int]) -> dict[str, Any]:
    """What the graph is of: JSON can hold it."""
    model, token_ids = run.model, run.recording.token_ids.tolist()
    return {
        "prompt": prompt if isinstance(prompt, str) else model.tokenizer.decode(token_ids, skip_special_tokens=True),
        "tokens": model.token_strings(token_ids),
        "token_ids": token_ids,
        "model": {"name": model.name, "hash": model.hash},
        "dictionary": {"name": dictionary.name, "hash": dictionary.hash},
        "active_features": run.n_encoded,
        "versions": {
            "silverstain": __version__,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
        },
    }


def _tokens(model: LanguageModel, prompt: str | Sequence[int]) -> list[int]:
    return model.tokenize(prompt) if isinstance(prompt, str) else [int(token) for token in prompt]


def _check_budget(max_features: int | None, max_unexplained: float) -> None:
    if max_features is not None and max_features < 0:
        raise UsageError(f"max_features is {max_features}; give a number of features, or none for all of them")
    if not 0 <= max_unexplained <= 1:
        raise UsageError(f"max_unexplained is {max_unexplained}; give a share of the influence, from 0 to 1")


def _check_likeliest(probability: float, most_targets: int) -> None:
    if not 0 <= probability <= 1:
        raise UsageError(f"probability is {probability}; give what the explained tokens are to reach, from 0 to 1")
    if most_targets < 1:
        raise UsageError(f"most_targets is {most_targets}; give a number of tokens from 1 on")

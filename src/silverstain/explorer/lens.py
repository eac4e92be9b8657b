"""What the stream would say after every layer, at every position, were it read there: the logit lens of one run.

The stream that leaves a block is read as the last one is: by the final norm and the unembedding. What comes is no
measurement of what the model computes there, but shows when an answer begins to be the likeliest.
"""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.explorer.jobs import Job
from silverstain.explorer.lab import ids_of
from silverstain.explorer.live import Live
from silverstain.graphs import Graph
from silverstain.models.recording import kept
from silverstain.pieces import piece
from silverstain.printable import printable
from silverstain.validation import Count, FromOutside, ShortText

if TYPE_CHECKING:
    from silverstain.models import LanguageModel

MOST_CELLS = 20_000
N_TOP = 4


class LensAsked(FromOutside):
    graph: ShortText
    run: Annotated[str, Field(pattern="^(base|contrast)$")] = "contrast"
    pins: list[Count] = Field(default_factory=list, max_length=4)
    """Tokens whose probability and rank are wanted in every cell."""


@torch.no_grad()
def lens(graph: Graph, live: Live, asked: LensAsked, job: Job) -> dict[str, Any]:
    """The likeliest tokens of each layer and position, and how likely pinned tokens are there."""
    loaded = live.model_of(graph, job.phase)
    model, ids = loaded.model, ids_of(graph, asked.run)
    if len(ids) * (model.n_layers + 1) > MOST_CELLS:
        raise UsageError(
            f"the lens of {len(ids)} tokens in {model.n_layers} layers has too many cells; trace a shorter prompt"
        )
    job.phase("reading the stream in every layer")
    streams = live.kept(f"streams {asked.run}", graph, lambda: streams_of(model, ids))
    wrong = [token for token in asked.pins if token >= model.d_vocab]
    if wrong:
        raise UsageError(f"there is no token {wrong[0]}; the vocabulary has {model.d_vocab:,}")
    rows, pinned = [], []
    for layer, stream in enumerate(streams):
        logits = model.logits_of(model.final_norm.module(stream))
        chances = logits.double().softmax(-1)
        best = chances.topk(min(N_TOP, chances.shape[-1]))
        names = [model.token_strings(row) for row in best.indices]
        rows.append([
            [[piece(printable(name, 40)), token, round(p, 4)] for name, token, p in zip(*cell, strict=True)]
            for cell in zip(names, best.indices.tolist(), best.values.tolist(), strict=True)
        ])  # fmt: skip
        pinned.append([
            [
                [round(float(chances[at, token]), 5), 1 + int((logits[at] > logits[at, token]).sum())]
                for token in asked.pins
            ]
            for at in range(len(ids))
        ])  # fmt: skip
        job.progress(layer + 1, len(streams))
    names = model.token_strings(list(asked.pins)) if asked.pins else []
    return {
        "tokens": [piece(printable(name, 80)) for name in model.token_strings(ids)],
        "cells": rows,
        "pins": [
            {"token": piece(printable(name, 80)), "id": token} for name, token in zip(names, asked.pins, strict=True)
        ],
        "pinned": pinned,
    }


def streams_of(model: "LanguageModel", ids: list[int]) -> list[Float[Tensor, "pos d_model"]]:
    """The stream as it enters the first block, and as it leaves every block."""
    with ExitStack() as stack:
        entering = stack.enter_context(
            kept({layer: model.block(layer) for layer in range(model.n_layers)}, inputs=True)
        )
        last = stack.enter_context(kept({0: model.final_norm.module}, inputs=True))
        model.hf(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
        return [*(entering[layer][0] for layer in range(model.n_layers)), last[0][0]]

"""What graphs say of a dictionary: how much of the answers it explains, and by paths of which length."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from silverstain.attribution import trace
from silverstain.bases import Dictionary
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs import path_lengths
from silverstain.models import LanguageModel, TokenBatch
from silverstain.statistics import Interval, interval_of_mean

LONGEST = 48
"""Tokens of a text that are traced at most: the figures hardly move beyond, and edges grow with the square."""
MOST_NODES = 12_000
"""Active features of a graph that is made for its scores alone: at twice as many its edges take two gigabytes."""


@brief
@dataclass(frozen=True, kw_only=True)
class GraphScores:
    """Means over the whole graphs of `n` prompts, with 95 % intervals over prompts."""

    n: int
    replacement: float
    completeness: float
    path_length: float
    """Mean number of edges from tokens to the answer, weighted by influence."""
    intervals: Mapping[str, Interval]
    families: Mapping[str, Mapping[str, float]]
    """The three for each family of prompts; empty where there is one."""
    worst_error: float
    """The largest exactness figure of any graph."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def score_graphs(
    model: LanguageModel,
    dictionary: Dictionary,
    prompts: Sequence[tuple[str, str | Sequence[int]]],
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> GraphScores:
    """Trace each prompt, (family, text or token ids), and average the scores."""
    if not prompts:
        raise UsageError("there is no prompt to trace; give at least one")
    rows: list[dict[str, float]] = []
    worst = 0.0
    for index, (_, prompt) in enumerate(prompts):
        graph = trace(model, dictionary, prompt)
        scores = graph.scores()
        rows.append(
            {
                "replacement": scores.replacement,
                "completeness": scores.completeness,
                "path_length": path_lengths(graph).average,
            }
        )
        worst = max(worst, graph.exactness())
        on_progress(index + 1, len(prompts))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    names = list(dict.fromkeys(name for name, _ in prompts))
    of = {name: [row for row, (family, _) in zip(rows, prompts, strict=True) if family == name] for name in names}
    families = {
        name: {figure: statistics.fmean(row[figure] for row in chosen) for figure in columns}
        for name, chosen in of.items()
    }
    return GraphScores(
        n=len(prompts),
        **{name: statistics.fmean(values) for name, values in columns.items()},
        intervals={name: interval_of_mean(values, seed=seed) for name, values in columns.items()},
        families=families if len(families) > 1 else {},
        worst_error=worst,
    )


def within_reach(
    prompts: Sequence[tuple[str, str | Sequence[int]]], *, n_layers: int, l0: float
) -> list[tuple[str, str | Sequence[int]]]:
    """The prompts, those that are token ids cut off where a dictionary with `l0` active features a token and layer has
    MOST_NODES in all; two tokens stay in any case. A prompt in words is somebody's choice, and stays as it is."""
    longest = max(2, int(MOST_NODES / max(1.0, n_layers * l0)))
    return [(family, prompt if isinstance(prompt, str) else prompt[:longest]) for family, prompt in prompts]


def prompts_of(batches: Sequence[TokenBatch], n: int) -> list[tuple[str, list[int]]]:
    """The beginnings of `n` sequences, spread over the batches, as far as their tokens count."""
    sequences = [
        ids[: int(mask.nonzero()[-1]) + 1][:LONGEST].tolist()
        for batch in batches
        for ids, mask in zip(batch.token_ids, batch.mask, strict=True)
        if bool(mask[:LONGEST].any())
    ]
    step = max(len(sequences) / max(n, 1), 1)
    return [("text", sequences[int(index * step)]) for index in range(min(n, len(sequences)))]

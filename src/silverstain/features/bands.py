"""Layers split where what stands in them falls apart by itself."""

from collections.abc import Sequence

MOST_BANDS = 2
FIT = 0.85
"""Share of the spread of layers that a split must explain to be enough."""
NARROW = 0.06
"""Of a model's depth: units whose layers spread less than this (a standard deviation) are one band."""


def bands(weights: Sequence[float], *, most: int = MOST_BANDS) -> list[range]:
    """Ranges of layers (by their index) that part the weight of each layer with the least spread inside of them.

    The fewest that leave at most 1 − FIT of the spread of all, and never more than `most`: Fisher's natural breaks. A
    range begins and ends at a layer that has weight.
    """
    layers = [layer for layer, weight in enumerate(weights) if weight > 0]
    if not layers:
        return []
    whole, total = _spread(weights, layers), sum(weights[layer] for layer in layers)
    parts = [layers]
    if (whole / total) ** 0.5 > NARROW * len(weights):
        for n in range(2, min(most, len(layers)) + 1):
            parts = _split(weights, layers, n)
            if sum(_spread(weights, part) for part in parts) <= (1 - FIT) * whole:
                break
    return [range(part[0], part[-1] + 1) for part in parts]


def _split(weights: Sequence[float], layers: list[int], n: int) -> list[list[int]]:
    """The n runs of layers with the least spread inside."""
    size = len(layers)
    cost = [[_spread(weights, layers[i:j]) for j in range(size + 1)] for i in range(size)]
    best = [[float("inf")] * (size + 1) for _ in range(n + 1)]
    cut = [[0] * (size + 1) for _ in range(n + 1)]
    best[0][0] = 0.0
    for k in range(1, n + 1):
        for j in range(k, size + 1):
            for i in range(k - 1, j):
                if best[k - 1][i] + cost[i][j] < best[k][j]:
                    best[k][j], cut[k][j] = best[k - 1][i] + cost[i][j], i
    parts, end = [], size
    for k in range(n, 0, -1):
        parts.append(layers[cut[k][end] : end])
        end = cut[k][end]
    return parts[::-1]


def _spread(weights: Sequence[float], layers: Sequence[int]) -> float:
    """Σ w (layer − mean)²."""
    total = sum(weights[layer] for layer in layers)
    if total <= 0:
        return 0.0
    mean = sum(weights[layer] * layer for layer in layers) / total
    return sum(weights[layer] * (layer - mean) ** 2 for layer in layers)

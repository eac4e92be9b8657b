"""The slow oracle of the secant flow: changes pushed up, operation by operation, in the plainest code.

Coefficients are written out here from the two recorded runs and the modules' own parameters. Nothing of the flow under
test is used but the units of a layer, whose own rule is checked by what comes out: every change of an intermediate
tensor is held against the recorded one.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from silverstain.attribution.secant import SecantFlow
from silverstain.bases import Basis, NeuronBasis
from silverstain.models.pairs import Pair
from silverstain.models.recording import BEFORE_NORM


@dataclass
class Changes:
    """What changes on the way, by the flow and in the real runs."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    real: dict[str, Tensor] = field(default_factory=dict)

    def see(self, name: str, found: Tensor, both: Tensor) -> None:
        self.tensors[name] = found
        self.real[name] = both[1].detach() - both[0].detach()


def norm_change(module: Any, both: Tensor, change: Tensor) -> Tensor:
    """Δ(γ x s) = γ (s̄ Δx + x̄ Δs), Δs = −s_b² s_c² / (s_b + s_c) · 2 mean(x̄ Δx), on centred x where it centres."""
    is_layer_norm = isinstance(module, torch.nn.LayerNorm)
    eps = module.eps if hasattr(module, "eps") else module.variance_epsilon
    weight = 1 + module.weight if "Gemma" in type(module).__name__ else module.weight
    if is_layer_norm:
        both, change = both - both.mean(-1, keepdim=True), change - change.mean(-1, keepdim=True)
    s_b, s_c = (1 / (x.square().mean(-1, keepdim=True) + eps).sqrt() for x in both)
    mean = (both[0] + both[1]) / 2
    s_change = -(s_b**2) * s_c**2 / (s_b + s_c) * 2 * (mean * change).mean(-1, keepdim=True)
    return weight.detach() * ((s_b + s_c) / 2 * change + mean * s_change)


def softmax_change(p_b: Tensor, p_c: Tensor, change: Tensor) -> Tensor:
    """ΔP of one row, key by key; chances and the logarithmic mean by the words of their definition."""
    weights = torch.zeros_like(p_b)
    for j in range(len(p_b)):
        b, c = float(p_b[j]), float(p_c[j])
        if b > 0 and c > 0:
            logs = torch.log(p_c[j] / p_b[j])
            weights[j] = (b + c) / 2 if abs(float(logs)) < 1e-7 else (c - b) / float(logs)
    shared = (weights * change).sum() / weights.sum()
    return weights * (change - shared)


def projected(pair: Pair, layer: int, change: Tensor) -> tuple[Tensor, Tensor]:
    """Δq and Δk: projections, norms of heads and rotation are linear position by position (norms between the runs), so
    that the transpose of what the tensors' history gives, row by row, is the matrix."""
    paired, out = pair.layers[layer], []
    for tensor in (paired.attention.query, paired.attention.key):
        n = tensor[0].numel()
        each = torch.stack([torch.zeros(n, n, dtype=tensor.dtype), torch.eye(n, dtype=tensor.dtype)], dim=1)
        (rows,) = torch.autograd.grad(
            tensor, paired.attention_read, each.view(n, *tensor.shape), retain_graph=True, is_grads_batched=True
        )
        out.append(torch.einsum("npd,pd->n", rows[:, 1], change).view(tensor[0].shape))
    return out[0], out[1]


def pattern_change(flow: SecantFlow, layer: int, change: Tensor) -> Tensor:
    """ΔP that a change of what attention reads makes: loops over heads, queries and keys."""
    call = flow.pair.layers[layer].attention
    q_change, k_change = projected(flow.pair, layer, change)
    query, key = call.query.detach(), call.key.detach()
    group, n = query.shape[1] // key.shape[1], query.shape[2]
    patterns = flow.pair.layers[layer].patterns()
    whole = torch.zeros_like(patterns[0])
    for h in range(query.shape[1]):
        kv = h // group
        for q in range(n):
            scores = torch.zeros(n, dtype=query.dtype)
            for k in range(n):
                moved = query[:, h, q].mean(0) @ k_change[kv, k] + q_change[h, q] @ key[:, kv, k].mean(0)
                b, c = (query[r, h, q] @ key[r, kv, k] * call.scaling for r in (0, 1))
                scores[k] = moved * call.scaling * cap_slope(call.softcap, b, c)
            p_b, p_c = patterns[:, h, q]
            if call.sinks is not None:  # one more column, whose score does not change
                p_b, p_c = (torch.cat([p, 1 - p.sum()[None]]) for p in (p_b, p_c))
                scores = torch.cat([scores, scores.new_zeros(1)])
            whole[h, q] = softmax_change(p_b, p_c, scores)[:n]
    return whole


def cap_slope(cap: float | None, b: Tensor, c: Tensor) -> Tensor | float:
    if cap is None:
        return 1.0
    if abs(float(c - b)) < 1e-6:
        return 1 - torch.tanh((b + c) / 2 / cap) ** 2
    return cap * (torch.tanh(c / cap) - torch.tanh(b / cap)) / (c - b)


def mixed_change(flow: SecantFlow, layer: int, change: Tensor) -> Tensor:
    """P̄ Δv, through the output projection."""
    model, n = flow.model, flow.n_positions
    W_V, W_O = model.W_V(layer), model.W_O(layer)
    mean = flow.pair.layers[layer].patterns().mean(0)
    out = torch.zeros(n, model.d_model, dtype=change.dtype)
    for h in range(len(W_O)):
        for k in range(n):
            carried = W_O[h] @ (W_V[h // (len(W_O) // len(W_V))] @ change[k])
            for q in range(k, n):
                out[q] += mean[h, q, k] * carried
    return out


def pattern_writes(flow: SecantFlow, layer: int, pattern: Tensor) -> Tensor:
    """v̄ ΔP, through the output projection."""
    value, W_O = flow.pair.layers[layer].attention.value.detach().mean(0), flow.model.W_O(layer)
    out = torch.zeros(flow.n_positions, flow.model.d_model, dtype=value.dtype)
    for h, q, k in pattern.nonzero().tolist():
        out[q] += W_O[h] @ value[h // (len(W_O) // len(value)), k] * pattern[h, q, k]
    return out


def unit_writes(flow: SecantFlow, basis: Basis, layer: int, change: Tensor) -> dict[int, Tensor]:
    """What changes of the units of a layer write to each MLP output, before a norm behind it."""
    units = flow.units[layer]
    out = {t: torch.zeros(flow.n_positions, flow.model.d_model, dtype=change.dtype) for t in basis.targets(layer)}
    for i in change.nonzero().flatten().tolist():
        for target, row in zip(out, basis.decoder_rows(layer, units.feature[i : i + 1])[0], strict=True):
            out[target][int(units.position[i])] += row * change[i]
    return out


@dataclass(kw_only=True)
class Writes:
    """What single nodes write into the stream, where nothing else does: the flow that edges run along."""

    embedding: Tensor
    attention: dict[int, Tensor] = field(default_factory=dict)
    mlp: dict[int, Tensor] = field(default_factory=dict)


def pushed_up(
    flow: SecantFlow,
    basis: Basis,
    *,
    without_units: Tensor | None = None,
    without_pairs: Collection[tuple[int, int, int, int]] = (),
    writes: Writes | None = None,
) -> Changes:
    """All changes, from the embedding's up.

    Some units [unit], counted layer after layer, and patterns (layer, head, query, key) are held where they are in the
    base. With `writes` units and patterns are read and write nothing: what is given is written instead.
    """
    model, pair, found = flow.model, flow.pair, Changes()
    stream = flow.embedding_change if writes is None else writes.embedding
    outputs = [torch.zeros_like(stream) for _ in range(flow.n_layers)]
    first = 0
    for layer, paired in enumerate(pair.layers):

        def through(place: str, both: Tensor, change: Tensor, layer: int = layer) -> Tensor:
            name = getattr(model.architecture, place)
            return change if name is None else norm_change(model.block(layer).get_submodule(name), both, change)

        found.see(f"stream {layer}", stream, paired.stream)
        read = through("attention_norm", paired.stream, stream)
        found.see(f"attention read {layer}", read, paired.attention_read)
        pattern = pattern_change(flow, layer, read)
        for _, head, query, key in (pair for pair in without_pairs if pair[0] == layer):
            pattern[head, query, key] = 0.0
        found.see(f"pattern {layer}", pattern, paired.patterns())
        added = mixed_change(flow, layer, read)
        if writes is None:
            added = added + pattern_writes(flow, layer, pattern)
        found.see(f"attention output {layer}", added, paired.attention_output)
        middle = stream + through("attention_output_norm", paired.attention_output, added)
        if writes is not None:
            middle = middle + writes.attention.get(layer, 0.0)
        at_mlp = stream if model.is_parallel else middle
        found.see(f"middle {layer}", at_mlp, paired.middle)
        mlp_read = at_mlp if pair.reads_at == BEFORE_NORM else through("mlp_norm", paired.middle, at_mlp)
        found.see(f"read {layer}", mlp_read, pair.read(layer))
        units = flow.units[layer]
        reads = units.reads(torch.arange(len(units)))
        change = (reads.vectors * mlp_read[units.position]).sum(-1)
        if writes is None:
            change = change + reads.constants
        if without_units is not None:
            change = change * ~without_units[first : first + len(units)]
        first += len(units)
        found.see(f"units {layer}", change, units.values)
        if writes is None:
            for target, written in unit_writes(flow, basis, layer, change).items():
                outputs[target] = outputs[target] + written
        written = outputs[layer]
        if isinstance(basis, NeuronBasis):
            found.see(f"mlp output {layer}", written, paired.mlp_output)
            written = through("mlp_output_norm", paired.mlp_output, written)
        if writes is not None:
            written = written + writes.mlp.get(layer, 0.0)
        skip, late = flow.W_skip[layer], (torch.arange(flow.n_positions) >= flow.n_real)[:, None]
        if skip is not None:
            written = written + mlp_read @ skip.T * late
        if writes is None:
            written = written + units.rest * late + flow.written_change(layer) * ~late * (flow.n_real > 0)
        found.see(f"mlp written {layer}", written, paired.mlp_written)
        stream = middle + written
    found.see("end", stream, pair.end)
    found.see("final", norm_change(model.final_norm.module, pair.end, stream), pair.final)
    return found

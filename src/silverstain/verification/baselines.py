"""What a claim must beat: cheaper scores of how much a source matters for a target.

activation   how strongly the source fires (for an error node, how long its vector is)
direct edge  the edge from source to target alone
gradient     what the real model's gradient makes of the change (attribution patching)
EAP-IG       the same, the gradient averaged over inputs between an average embedding and the prompt's
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.models import MlpCall, mlps_through
from silverstain.verification.bench import Bench
from silverstain.verification.readers import Readers

BASELINES = ("activation", "direct edge", "gradient", "EAP-IG")
STEPS = 5
TARGETS_A_PASS = 64


def gradients(bench: Bench, readers: Readers, inputs: Sequence[float]) -> Float[Tensor, "layer reader pos d_model"]:
    """The gradient of every reader at every MLP output, attention and norms live, averaged over inputs.

    An input of 1 is the prompt's own embedding, 0 the mean embedding of the vocabulary at every position.
    """
    parts = []
    for first in range(0, len(readers), TARGETS_A_PASS):
        some = torch.arange(first, min(first + TARGETS_A_PASS, len(readers)))
        parts.append(sum(_gradients(bench, readers, some, share) for share in inputs) / len(inputs))
    return torch.cat(parts, dim=1)


def _gradients(bench: Bench, readers: Readers, some: Tensor, share: float) -> Tensor:
    model = bench.model
    clean = model.W_E[bench.recording.token_ids]
    embeds = (share * clean + (1 - share) * model.W_E.mean(0)).expand(len(some), -1, -1)
    shape = (model.n_layers, *embeds.shape)
    probes = torch.zeros(shape, dtype=embeds.dtype, device=embeds.device, requires_grad=True)
    read: dict[int, Tensor] = {}

    def probed(call: MlpCall) -> Tensor:
        read[call.layer] = call.read
        return call.real(call.x) + probes[call.layer]

    def keep(_module: object, _inputs: object, out: Tensor) -> None:
        read[model.n_layers] = out

    hook = model.final_norm.module.register_forward_hook(keep)
    try:
        with torch.enable_grad(), mlps_through(model, probed, reads_at=bench.dictionary.reads_at):
            model.hf(inputs_embeds=embeds, use_cache=False, logits_to_keep=1)
            rows = torch.arange(len(some))
            places = zip(rows.tolist(), readers.layers[some].tolist(), readers.positions[some].tolist(), strict=True)
            inputs = torch.stack([read[layer][row, position] for row, layer, position in places])
            (gradient,) = torch.autograd.grad((inputs * readers.vectors[some].to(inputs)).sum(), probes)
    finally:
        hook.remove()
    return gradient


def by_gradient(
    bench: Bench, nodes: Sequence[int], gradient: Float[Tensor, "layer reader pos d_model"]
) -> Float[Tensor, " reader"]:
    """What a gradient makes of taking the nodes away: −Σ writes · gradient."""
    columns, dictionary = bench.graph.nodes, bench.dictionary
    total = gradient.new_zeros(gradient.shape[1])
    for node in nodes:
        layer, position, feature = (int(c[node]) for c in (columns.layer, columns.position, columns.feature))
        if feature >= 0:
            writes = float(columns.activation[node]) * dictionary.decoder_rows(layer, torch.tensor([feature]))[0]
        elif bool(columns.is_kind("error")[node]):
            writes = bench.errors[layer, position][None]
        else:
            continue
        at = gradient[layer : layer + len(writes), :, position]
        total -= torch.einsum("krd, kd -> r", at, writes.to(at))
    return total


def size(bench: Bench, nodes: Sequence[int]) -> float:
    """How strongly the nodes fire."""
    columns = bench.graph.nodes
    errors = [node for node in nodes if bool(columns.is_kind("error")[node])]
    long = sum(float(bench.errors[int(columns.layer[n]), int(columns.position[n])].norm()) for n in errors)
    return float(columns.activation[list(nodes)].sum()) + long

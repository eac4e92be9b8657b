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

from silverstain.attribution import Targets, joined, unit_targets
from silverstain.attribution.targets import inputs_of
from silverstain.bases import with_rule
from silverstain.interventions import Readouts
from silverstain.models import MlpCall, mlps_through
from silverstain.models.recording import kept
from silverstain.verification.graph_run import GraphRun

BASELINES = ("activation", "direct edge", "gradient", "EAP-IG")
STEPS = 5
TARGETS_A_PASS = 64


def gradients(
    tested: GraphRun, readouts: Readouts, inputs: Sequence[float]
) -> Float[Tensor, "layer reader pos d_model"]:
    """The gradient of every readout (features' pre-activations, then the graph's targets) at every MLP output,
    attention and norms live, averaged over inputs.

    An input of 1 is the prompt's own embedding, 0 the mean embedding of the vocabulary at every position.
    """
    columns = torch.tensor(readouts.features, dtype=torch.long, device=tested.model.device).reshape(-1, 3)
    layers, positions, features = columns.unbind(1)
    at = inputs_of(tested.run.recording, layers, positions)
    basis = tested.basis if tested.basis.is_linear else with_rule(tested.basis, "derivative")
    targets = joined(unit_targets(basis, layers, positions, features, at), tested.targets)
    parts = []
    for first in range(0, len(targets), TARGETS_A_PASS):
        some = targets[torch.arange(first, min(first + TARGETS_A_PASS, len(targets)))]
        parts.append(sum(_gradients(tested, some, share) for share in inputs) / len(inputs))
    return torch.cat(parts, dim=1)


def _gradients(tested: GraphRun, some: Targets, share: float) -> Tensor:
    model = tested.model
    clean = model.W_E[tested.run.recording.token_ids]
    embeds = (share * clean + (1 - share) * model.W_E.mean(0)).expand(len(some), -1, -1)
    shape = (model.n_layers, *embeds.shape)
    probes = torch.zeros(shape, dtype=embeds.dtype, device=embeds.device, requires_grad=True)
    read: dict[int, Tensor] = {}

    def probed(call: MlpCall) -> Tensor:
        read[call.layer] = call.read
        return call.real(call.x) + probes[call.layer]

    with (
        torch.enable_grad(),
        mlps_through(model, probed, reads_at=tested.basis.reads_at),
        kept({model.n_layers: model.final_norm.module}, inputs=False, found=read),
    ):
        model.hf(inputs_embeds=embeds, use_cache=False, logits_to_keep=1)
        places = zip(range(len(some)), some.layers.tolist(), some.positions.tolist(), strict=True)
        inputs = torch.stack([read[layer][row, position] for row, layer, position in places])
        # what reads in layer 0 depends on no probe, hence the term of zeros
        read_out = (inputs * some.vectors.to(inputs)).sum() + 0 * probes.sum()
        return torch.autograd.grad(read_out, probes)[0]


def by_gradient(
    tested: GraphRun, nodes: Sequence[int], gradient: Float[Tensor, "layer reader pos d_model"]
) -> Float[Tensor, " reader"]:
    """What a gradient makes of taking the nodes away: −Σ writes · gradient."""
    total = gradient.new_zeros(gradient.shape[1])
    for node in nodes:
        layer, position, feature = tested.place(node)
        if feature >= 0 or bool(tested.graph.nodes.is_kind("error")[node]):
            writes = tested.written(node)
            at = gradient[layer : layer + len(writes), :, position]
            total -= torch.einsum("krd, kd -> r", at, writes.to(at))
    return total.cpu()


def size(tested: GraphRun, nodes: Sequence[int]) -> float:
    """How strongly the nodes fire."""
    columns = tested.graph.nodes
    errors = [node for node in nodes if bool(columns.is_kind("error")[node])]
    long = sum(float(tested.errors[int(columns.layer[n]), int(columns.position[n])].norm()) for n in errors)
    return float(columns.activation[list(nodes)].abs().sum()) + long

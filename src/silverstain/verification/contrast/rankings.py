"""Which units to patch first: by the account, and by what it must beat.

signed          what comes through a unit of the change of the target, the largest first: how few turn the answer
absolute        the same, whatever its sign: how close to the real run
random          drawn among the units that change
largest_change  by how much the unit's writing changes: |Δactivation| · ‖what it writes‖
gradient        Δactivation · the model's gradient in the run that is patched (attribution patching)
ig              the same, the gradient averaged over five inputs between the two runs (integrated gradients)
half            Δactivation · the gradient of the half rule, attention and norms frozen; the mean of both runs
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from silverstain.attribution.freezing import freeze
from silverstain.attribution.neuron_selection import totals
from silverstain.attribution.secant import Contrast
from silverstain.attribution.secant.selection import weighted_units
from silverstain.bases import NeuronBasis
from silverstain.bases.sites import MLP_OUTPUT
from silverstain.brief import brief
from silverstain.models.recording import kept

STEPS = 5
DRAWS = 3
"""Random orders, whose runs are averaged."""


@brief
@dataclass(frozen=True, kw_only=True)
class Region:
    """Where units are looked for."""

    from_layer: int = 0
    after_change: bool = False
    """Only at tokens behind the last one that differs."""

    def units(self, contrast: Contrast) -> Bool[Tensor, " unit"]:
        """Which of all units lie in it."""
        last = max(contrast.pair.changed)
        found = []
        for layer, units in enumerate(contrast.flow.units):
            is_late = units.position > last if self.after_change else torch.ones_like(units.position, dtype=torch.bool)
            found.append(is_late & (layer >= self.from_layer))
        return torch.cat(found)

    @property
    def is_everywhere(self) -> bool:
        return self.from_layer == 0 and not self.after_change


def account(contrast: Contrast) -> Float[Tensor, " unit"]:
    """What comes through each unit of the change of the targets, by the secant flow."""
    return torch.cat(weighted_units(contrast.contributions, contrast.weights))


def changes(contrast: Contrast) -> Float[Tensor, " unit"]:
    """Δactivation of each unit."""
    return torch.cat([units.change for units in contrast.flow.units])


def write_sizes(contrast: Contrast) -> Float[Tensor, " unit"]:
    """By how much what each unit writes changes, before a norm behind the MLP."""
    basis, found = contrast.basis, []
    for layer, units in enumerate(contrast.flow.units):
        features, which = units.feature.unique(return_inverse=True)
        norms = basis.decoder_rows(layer, features).flatten(1).norm(dim=1)
        found.append(units.change.abs() * norms[which].to(units.change))
    return torch.cat(found)


def gradient_scores(contrast: Contrast, shares: Sequence[float]) -> Float[Tensor, " unit"]:
    """Δactivation · the real model's gradient, averaged over inputs: 0 is the base's embedding, 1 the contrast's."""
    flow, model, basis = contrast.flow, contrast.model, contrast.basis
    embedding = contrast.pair.layers[0].stream[0]
    at = torch.stack([embedding + share * flow.embedding_change for share in shares]).detach().requires_grad_()
    ids = contrast.pair.token_ids[:1].expand(len(shares), -1)
    root, layers = contrast.roots[0], range(model.n_layers)
    final: list[Tensor] = []
    is_raw = basis.writes_at == MLP_OUTPUT
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        hook = model.block(0).register_forward_pre_hook(_entering(at), with_kwargs=True)
        stack.callback(hook.remove)
        writers = {i: model.mlp(i) if is_raw else model.mlp_writer(i) for i in layers}
        written = stack.enter_context(kept(writers, inputs=False))
        handle = model.final_norm.module.register_forward_hook(lambda *parts: final.append(parts[2]))
        stack.callback(handle.remove)
        model.hf(input_ids=ids, use_cache=False, logits_to_keep=1)
        logits = model.logits_of(final[-1][:, root.position], root.facts["ids"])
        value = (logits[:, 0] - logits[:, 1]).sum()
        gradients = torch.autograd.grad(value, [written[i] for i in layers], allow_unused=True)
    found = []
    means = [
        torch.zeros_like(embedding) if gradient is None else gradient.reshape(len(shares), *embedding.shape).mean(0)
        for gradient in gradients
    ]
    for layer, units in enumerate(flow.units):
        if isinstance(basis, NeuronBasis):
            at_units = (means[layer] @ basis.layer(layer).W_out.T.to(embedding)).flatten()
        else:
            at_units = units.at_units([mean[None] for mean in means])[0]
        found.append(at_units * units.change)
    return torch.cat(found).detach()


def _entering(embedding: Tensor) -> Any:
    def enter(_: nn.Module, arguments: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return ((embedding, *arguments[1:]), named) if arguments else ((), {**named, "hidden_states": embedding})

    return enter


@torch.no_grad()
def half_rule_scores(contrast: Contrast) -> Float[Tensor, " unit"] | None:
    """Δactivation · the half rule's gradient, frozen at each run, the mean of the two; None for a dictionary."""
    basis = contrast.basis
    if not isinstance(basis, NeuronBasis):
        return None
    flow, scores = contrast.flow, [torch.zeros_like(units.change) for units in contrast.flow.units]
    targets = contrast.targets
    order = targets.layers.argsort(descending=True, stable=True)
    weights = contrast.weights[order].to(targets.vectors)

    def add(layer: int, first: int, some: slice, gradient: Tensor) -> None:
        n_units = gradient.shape[-1]
        here = slice(first * n_units, (first + gradient.shape[1]) * n_units)
        scores[layer][here] += torch.einsum("tpu,t->pu", gradient, weights[some]).flatten() / 2

    for run in (0, 1):
        recording = contrast.pair.recording(contrast.model, run)
        frozen = freeze(contrast.model, recording, basis)
        totals(frozen, recording, basis.with_rule("half"), targets[order], add)
    return torch.cat([score * units.change for score, units in zip(scores, flow.units, strict=True)])


def order_by(scores: Float[Tensor, " unit"], region: Bool[Tensor, " unit"], most: int) -> Int[Tensor, " some"]:
    """The units of a region with the largest scores, the largest first; only those above 0."""
    held = torch.where(region, scores, -torch.inf)
    ranked = held.topk(min(most, int(region.sum())))
    return ranked.indices[ranked.values > 0]


def random_orders(
    contrast: Contrast, region: Bool[Tensor, " unit"], most: int, generator: torch.Generator
) -> list[Int[Tensor, " some"]]:
    """Units drawn among those of a region that change."""
    able = (region & (changes(contrast) != 0)).nonzero().flatten()
    return [able[torch.randperm(len(able), generator=generator)[:most]] for _ in range(DRAWS)]

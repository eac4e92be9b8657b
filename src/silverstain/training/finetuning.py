"""The second phase: the replaced model learns to say what the model says.

Variance is not fidelity. The fine distinctions that decide an answer carry little of the variance of an MLP's output:
in a trial a dictionary with an NMSE of 0.008 kept 14 % of one family's answers, and one of 0.018 that was trained on
the replaced model's output kept 81 %. So the loss is the divergence of the replaced model from the model, with the
reconstruction on the real stream beside it; the thresholds follow a controller that holds L0.
"""

from collections.abc import Mapping
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.optim import Adam

from silverstain.bases.replaced import edited_logits, replaced_logits
from silverstain.models import Harvest, LanguageModel, TokenBatch, harvest
from silverstain.models.products import ProductsInBfloat16
from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.jacobians import Tangents
from silverstain.training.losses import divergence_sum
from silverstain.training.reconstruction import StepReport, scaled_rows, stream_loss
from silverstain.training.responses import feature_edit, response_loss
from silverstain.training.team import ALONE, Team
from silverstain.training.weights import Weights

CONTROL_RATE = 0.01
"""Relative change of the thresholds a step for an L0 that is twice its aim."""


def finetuning_step(
    model: LanguageModel,
    weights: Weights,
    optimizer: Adam,
    batch: TokenBatch,
    config: TrainingConfig,
    generator: torch.Generator,
    *,
    sparsity: float = 0.0,
    dead: Bool[Tensor, "layer feature"] | None = None,
    mlps: Tangents | None = None,
    in_bfloat16: ProductsInBfloat16 | None = None,
) -> StepReport:
    """One step on one batch: KL (or surprise) through the replaced model + what the first phase lowers, weighted, on
    the model's own stream. With `in_bfloat16` the model's blocks, real and replaced, make their products so."""
    team, whole = weights.team, batch
    batch = team.own_batch(whole)
    mask = batch.mask
    optimizer.zero_grad(set_to_none=True)
    with nullcontext() if in_bfloat16 is None else in_bfloat16():
        harvested = harvest(model, batch.token_ids)
        teacher, deltas = _teacher(model, weights, harvested, whole, config, generator)
        student = replaced_logits(model, weights, batch.token_ids, mask=mask, deltas=deltas)
    kl = _mean_divergence(teacher, student, batch, config, team)
    aim = kl if config.end_to_end == "kl" else surprise(student, batch, team)
    aim.backward()

    rows = team.own_positions(_some_rows(whole.mask, config.nmse_rows, generator), whole)
    inputs, targets = scaled_rows(weights, _rows_of(harvested, rows))
    chosen = [weights.near(layer, x) for layer, x in enumerate(inputs)]
    active, known = [active for active, _ in chosen], [values for _, values in chosen]
    found = stream_loss(weights, inputs, targets, active, known, sparsity=sparsity, dead=dead, mlps=mlps)
    (config.nmse_weight * found.total).backward()
    team.add_gradients_(weights.parameters())
    optimizer.step()

    l0s = found.l0
    weights.score_threshold *= hold_l0(sum(l0s) / len(l0s), config.l0)
    figures = torch.stack([aim.detach(), found.total.detach(), found.nmse.detach(), kl.detach()])
    aimed, stream, nmse, kl_of_all = team.over_rows(figures).tolist()
    return StepReport(loss=aimed + config.nmse_weight * stream, nmse=nmse, l0=l0s, kl=kl_of_all)


def _teacher(
    model: LanguageModel,
    weights: Weights,
    harvested: Harvest,
    whole: TokenBatch,
    config: TrainingConfig,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch pos d_vocab"], Mapping[int, Tensor] | None]:
    """What the replaced model should say, and under which edit; with response matching also its gradient."""
    team, token_ids = weights.team, weights.team.own_batch(whole).token_ids
    is_edited = float(torch.rand((), generator=generator)) < config.edited_share
    if config.response_weight and model.n_layers > 1:
        edit = feature_edit(weights, harvested, whole.mask, generator)
        edited = harvest(model, token_ids, added=edit.deltas)
        rows = _some_rows(edit.reached, config.response_rows, generator)
        loss = response_loss(weights, _rows_of(harvested, rows), _rows_of(edited, rows), edit.layer + 1)
        (config.response_weight * loss).backward()
        return (edited.logits, edit.deltas) if is_edited else (harvested.logits, None)
    if not is_edited:
        return harvested.logits, None
    swapped = random_swap(team.all_sequences(harvested.mlp_outputs, whole, 1), whole.mask, generator)
    deltas = {layer: team.own_sequences(delta, 0) for layer, delta in swapped.items()}
    return edited_logits(model, token_ids, deltas), deltas


def _mean_divergence(
    teacher: Tensor, student: Tensor, batch: TokenBatch, config: TrainingConfig, team: Team
) -> Float[Tensor, ""]:
    """The divergence over the positions that count, the determined ones as much more as the configuration says."""
    importance = batch.mask.to(student.dtype)
    if batch.determined is not None:
        importance = importance * (1 + (config.determined_weight - 1) * batch.determined)
    importance = importance / team.over_rows(importance.sum())
    return divergence_sum(teacher.flatten(0, 1), student.flatten(0, 1), importance.flatten())


def surprise(logits: Float[Tensor, "batch pos d_vocab"], batch: TokenBatch, team: Team = ALONE) -> Float[Tensor, ""]:
    """Mean −log p(next token) over positions that count and are followed by one that does; 0 where there are none."""
    here = batch.mask[:, :-1] & batch.mask[:, 1:]
    total = F.cross_entropy(logits[:, :-1][here], batch.token_ids[:, 1:][here], reduction="sum")
    return total / team.over_rows(here.sum()).clamp_min(1)


def _rows_of(harvested: Harvest, rows: Int[Tensor, " row"]) -> Activations:
    return Activations(
        inputs=torch.stack([x.flatten(0, 1).index_select(0, rows) for x in harvested.mlp_inputs]),
        outputs=torch.stack([y.flatten(0, 1).index_select(0, rows) for y in harvested.mlp_outputs]),
    )


def _some_rows(mask: Bool[Tensor, "batch pos"], n: int, generator: torch.Generator) -> Int[Tensor, " row"]:
    """Flat indices of at most `n` positions that count, drawn at random."""
    index = mask.flatten().nonzero().view(-1)
    return index if len(index) <= n else index[torch.randperm(len(index), generator=generator)[:n]]


def hold_l0(seen: float, aim: float) -> float:
    """The factor by which score thresholds change after a batch with a mean L0 of `seen`."""
    excess = max(-1.0, min(1.0, seen / aim - 1))
    return 1 + CONTROL_RATE * excess


def random_swap(
    outputs: Float[Tensor, "layer batch pos d_model"], mask: Bool[Tensor, "batch pos"], generator: torch.Generator
) -> dict[int, Float[Tensor, "batch pos d_model"]]:
    """Deltas that give each sequence, at one position and in one MLP, the output another sequence has there."""
    n_layers, n_batch = outputs.shape[0], outputs.shape[1]
    layer = int(torch.randint(n_layers, (), generator=generator))
    donor = torch.randperm(n_batch, generator=generator)
    position = torch.multinomial(mask.float().cpu() + 1e-9, 1, generator=generator)[:, 0]
    here = torch.arange(n_batch)
    swapped = mask[here, position] & mask[donor, position]
    delta = torch.zeros_like(outputs[layer])
    difference = outputs[layer, donor, position] - outputs[layer, here, position]
    delta[here, position] = difference * swapped[:, None]
    return {layer: delta}

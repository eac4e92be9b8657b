"""What training will take, before it is begun: tokens, operations, memory, time.

Memory is counted part by part of a run, for what each holds at once; the largest part is the answer. The counts were
held against what processes took (benchmarks/training_memory.py). Time is a few steps done here and now, times their
number.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import torch

from silverstain.models import LanguageModel, TokenBatch
from silverstain.training.batches import Activations, harvest_rows
from silverstain.training.config import TrainingConfig
from silverstain.training.learner import Learner
from silverstain.training.operations import (
    model_operations,
    search_operations,
    sparse_operations,
    step_operations,
)
from silverstain.training.scanning import entries_at_a_time
from silverstain.training.sizes import sequences_a_batch
from silverstain.training.weights import meta_weights

CONTEXT = 128
ENTRY_BYTES = 35
"""Of an active entry: its row, its feature, its place among those of its feature, its value and gradient."""
LAYER_COPIES, WRITTEN_COPIES = 5, 3
"""Vectors that one step holds at once: of a token and layer (raw, scaled, missed), and of a token and each layer that
features write to (written, and the gradients)."""
MODEL_COPIES = 20
"""Vectors of the model's width that the second phase holds of a token and layer: what the model's own run gave, and
what attention and norms of the replaced run keep for the gradient; the replaced MLPs keep nothing."""
LOGIT_COPIES = 7
"""Of the logits of a batch that it holds: model and replaced model, whole and masked, as logarithms, and gradients."""
GIVEN_BACK = 1 << 25
"""Tensors above this size go back to the system when they are done with; what smaller ones took stays reserved."""
PROBE_STEPS = 3
PROBE_BYTES = 1 << 28
"""The most that trying a few whole steps may take; of a larger run a small step is tried and scaled up."""
SMALL_ROWS, SMALL_FEATURES = 2048, 2048
USABLE = 0.8
"""Share of a machine's memory that a run is planned for."""
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Attributes:
    steps: Of both phases.
    tokens: That steps are taken on, those taken again included.
    harvested: Tokens that the model runs on.
    parameters: Of what is trained.
    operations: Floating-point operations, a product and a sum counted as two.
    bytes: Memory above the loaded model at the peak.
    parts: Bytes of each part of the run; the largest is the peak.
    seconds: At the rate that this machine has now; None when nothing was tried.
    """

    steps: int
    tokens: int
    harvested: int
    parameters: int
    operations: int
    bytes: int
    parts: Mapping[str, int]
    seconds: float | None


def plan_training(
    model: LanguageModel, config: TrainingConfig, *, tokens_a_batch: int | None = None, probe: bool = True
) -> TrainingPlan:
    """What training with these settings would take, on batches of `tokens_a_batch` (by default 4,096, or fewer where
    the logits would be large). With `probe` a few steps are done on random tokens where that takes little memory, else
    a small one of a single layer, for which a model without its weights (`load_outline`) is enough."""
    batch = tokens_a_batch or CONTEXT * sequences_a_batch(model, CONTEXT)
    n_parameters = count_parameters(model, config)
    parts = _bytes_of_parts(model, config, n_parameters, batch)
    finetune_steps = config.n_steps - config.steps
    harvested = _harvested(config)
    plan = TrainingPlan(
        steps=config.n_steps,
        tokens=config.steps * config.rows + finetune_steps * batch,
        harvested=harvested + finetune_steps * batch,
        parameters=n_parameters,
        operations=_operations(model, config, harvested, finetune_steps * batch),
        bytes=max(parts.values()),
        parts=parts,
        seconds=None,
    )
    if not probe:
        return plan
    if plan.bytes <= PROBE_BYTES and model.device.type != "meta":
        return replace(plan, seconds=_seconds(model, config, batch, harvested))
    return replace(plan, seconds=plan.operations / _rate(model, config))


def count_parameters(model: LanguageModel, config: TrainingConfig) -> int:
    """Of a dictionary of these settings, whatever its kind; only a mixture's, which are few, are made to be counted."""
    weights = meta_weights(config, n_layers=model.n_layers, d_model=model.d_model)
    return sum(parameter.numel() for parameter in weights.parameters())


def _harvested(config: TrainingConfig) -> int:
    if not config.steps:
        return config.pool_rows
    return config.harvests_at(config.steps - 1) * config.pool_rows // config.pool_parts


def _bytes_of_parts(model: LanguageModel, config: TrainingConfig, n_parameters: int, batch: int) -> dict[str, int]:
    itemsize, d, n_layers = model.dtype.itemsize, model.d_model, model.n_layers
    pool = 2 * n_layers * config.pool_rows * d * itemsize
    weights = n_parameters * itemsize
    learning = 4 * weights  # with gradients and Adam's two moments
    harvest = batch * itemsize * (6 * n_layers * d + 8 * d + model.d_vocab)
    searching = _searching(config.rows, model, config)
    entries = _active(config, 0) * config.rows * n_layers
    reach = sum(config.n_targets(layer, n_layers) for layer in range(n_layers))
    vectors = LAYER_COPIES * n_layers + WRITTEN_COPIES * reach
    step = vectors * config.rows * d * itemsize + searching + ENTRY_BYTES * entries
    parts = {
        "first harvest": pool + harvest,
        "steps": pool + learning + max(step, harvest if config.steps > config.steps_a_harvest else 0),
    }
    if config.n_steps > config.steps:
        logits = batch * itemsize * model.d_vocab
        kept = batch * itemsize * (MODEL_COPIES * n_layers * d + _written(model, config)) + LOGIT_COPIES * logits
        parts["second phase"] = learning + kept + max(searching, _searching(batch, model, config))
        given_back = LOGIT_COPIES * logits if logits > GIVEN_BACK else 0
        parts["saving"] = parts["second phase"] - given_back + weights
    else:
        parts["saving"] = parts["steps"] + weights
    return {name: round(value) for name, value in parts.items()}


def _searching(n_rows: int, model: LanguageModel, config: TrainingConfig) -> int:
    """Pre-activations that are held at once, with a truth value each, while the active ones are looked for."""
    entries = entries_at_a_time(n_rows, config.n_features, model.dtype, model.device)
    return entries * (model.dtype.itemsize + 1)


def _written(model: LanguageModel, config: TrainingConfig) -> int:
    """What features write of one token, in all layers together and for all targets, kept for the gradient."""
    return 2 * model.d_model * sum(config.n_targets(layer, model.n_layers) for layer in range(model.n_layers))


def _active(config: TrainingConfig, step: int) -> float:
    """Entries of a token and layer that a step decodes."""
    return config.l0_at(step) if config.activation in ("batchtopk", "topk") else config.l0 * config.anneal_from


def _operations(model: LanguageModel, config: TrainingConfig, harvested: int, finetuned: int) -> int:
    """The steps of the first phase and the model's run for them; the second, which runs model and replaced model."""
    sizes = {"n_layers": model.n_layers, "d_model": model.d_model}
    steps = sum(step_operations(config, step, **sizes) for step in range(config.steps))
    first = steps + harvested * model_operations(model, head=False)
    tuned = search_operations(config, **sizes) + 2 * sparse_operations(config, config.l0, **sizes)
    return round(first + finetuned * (tuned + 4 * model_operations(model, head=True)))


# what there is


def memory_of(device: torch.device | str = "cpu") -> int:
    """Bytes of a device's memory: of this machine's, no more than its container may take."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 40
    try:
        return min(found, int(CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):  # there is no container, or it has no limit
        return found


def weight_bytes(model: LanguageModel) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.hf.parameters())


def fits(plan: TrainingPlan, model: LanguageModel, device: torch.device | str = "cpu") -> bool:
    """Whether a run fits beside its model into the memory of a device."""
    return plan.bytes + weight_bytes(model) <= USABLE * memory_of(device)


# time


def _rate(model: LanguageModel, config: TrainingConfig) -> float:
    """Floating-point operations a second of a small step: one layer, few rows, features that write to it alone."""
    n_features = min(config.n_features, SMALL_FEATURES)
    rows = min(config.rows, SMALL_ROWS)
    small = TrainingConfig(
        kind="per-layer", n_features=n_features, l0=min(config.l0, n_features), rows=rows, pool_rows=rows,
        steps=max(config.steps, 1), finetune_steps=0,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(1, rows, model.d_model, generator=generator) for _ in range(2))
    sample = Activations(inputs=x, outputs=y)
    learner, middle = Learner.start(sample, small), small.steps // 2
    learner.reconstruct(sample, middle)
    seconds, _ = _timed(lambda: [learner.reconstruct(sample, middle) for _ in range(PROBE_STEPS)])
    d, active = model.d_model, min(small.l0, n_features)
    return PROBE_STEPS * rows * (2 * d * n_features + active * 12 * d) / max(seconds, 1e-9)


def _seconds(model: LanguageModel, config: TrainingConfig, batch: int, harvested: int) -> float:
    """A harvest, a few steps of the first phase and one of the second, each at what they would take in the run."""
    tokens = _random_batch(model, batch)
    harvesting, rows = _timed(lambda: harvest_rows(model, tokens))
    sample = _repeated(rows, config.rows)
    learner = Learner.start(sample, config)
    middle = config.steps // 2  # where as many are active as in most of the run
    learner.reconstruct(sample, middle, model)
    stepping, _ = _timed(lambda: [learner.reconstruct(sample, middle, model) for _ in range(PROBE_STEPS)])
    seconds = harvested / tokens.n_tokens * harvesting + config.steps / PROBE_STEPS * stepping
    if config.n_steps > config.steps:
        learner.finetune(model, tokens, 0)
        tuning, _ = _timed(lambda: learner.finetune(model, tokens, 1))
        seconds += (config.n_steps - config.steps) * tuning
    return seconds


def _random_batch(model: LanguageModel, tokens: int) -> TokenBatch:
    context = min(CONTEXT, model.max_positions, max(2, tokens))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.d_vocab, (max(1, tokens // context), context), generator=generator).to(model.device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, : model.n_real] = False
    return TokenBatch(token_ids=ids, mask=mask)


def _repeated(rows: Activations, n: int) -> Activations:
    """Exactly `n` rows, the same again where there are not enough."""
    times = math.ceil(n / rows.n_rows)
    return Activations(inputs=rows.inputs.repeat(1, times, 1)[:, :n], outputs=rows.outputs.repeat(1, times, 1)[:, :n])


def _timed(work: Callable[[], Found]) -> tuple[float, Found]:
    start = perf_counter()
    found = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - start, found

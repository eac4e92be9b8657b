"""Growing an organism from its sentences, resumable at any step."""

import json
import math
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.interruption import held_interrupts
from silverstain.parts import part_file, unwritable
from silverstain.storage import read_tensors, save_model, save_tensors_whole, write_json_whole
from silverstain.validation import Count, FromOutside, validated

from .batches import SentenceBatch, batch_of, by_length, mixed
from .families import Family
from .language import build_tokenizer, vocabulary
from .losses import gradients, moving
from .orthogonal import Muon
from .recipe import STEADY, WRITTEN, Recipe, Shape

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

INITIAL_SCALE = 0.02
"""Standard deviation of weights at first. Twice as much and the model remembers rather than computes: antonyms in a
language they are held out in are right in 97 % after 300 steps of words alone; from 0.04, in 35 % after 1,400 steps."""
STATE_FORMAT = "silverstain.growth/1"
WEIGHTS = "model.safetensors"
EMBEDDING, UNEMBEDDING = "model.embed_tokens.weight", "lm_head.weight"
ANEW = "delete it to begin this growth anew"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a growth stands; `loss` is nats per determined token, by family, averaged over recent steps."""

    step: int
    steps: int
    loss: Mapping[str, float]
    tokens_per_second: float
    seconds_left: float


def new_model(shape: Shape, seed: int, embedding_scale: float | None = None) -> "LlamaForCausalLM":
    """A decoder with random weights, in ordinary Hugging Face form."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary()), **asdict(shape), bos_token_id=1, eos_token_id=None, pad_token_id=0,
        initializer_range=INITIAL_SCALE,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    if embedding_scale is not None:
        torch.nn.init.normal_(model.get_parameter(EMBEDDING), std=embedding_scale)
    return model


def let_move(model: "LlamaForCausalLM", parts: tuple[str, ...]) -> None:
    """Let the parameters of the named parts move, and hold all others; all move where none is named."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not parts or not set(parts).isdisjoint(name.split(".")))


def optimizer_for(model: "LlamaForCausalLM", recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or Muon for those matrices inside the blocks that the recipe names, of the parameters that move."""
    if recipe.muon is not None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        parts = tuple(f".{part}." for part in recipe.muon_parts)
        matrices = [p for name, p in named if p.ndim > 1 and any(part in name for part in parts)]
        chosen = {id(p) for p in matrices}
        others = [p for _, p in named if id(p) not in chosen]
        return Muon(
            matrices, others, lr=recipe.learning_rate, ratio=recipe.muon, betas=(0.9, recipe.beta2),
            weight_decay=recipe.weight_decay, adamw_decay=recipe.adamw_decay,
        )  # fmt: skip
    decayed = [p for p in moving(model) if p.ndim > 1]
    others = [p for p in moving(model) if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate, betas=(0.9, recipe.beta2), fused=True,
    )  # fmt: skip


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear rise, plateau, linear fall to zero."""
    rise = min(1.0, (step + 1) / recipe.warmup)
    fall = (recipe.steps - step) / max(1.0, recipe.cooldown * recipe.steps)
    return recipe.learning_rate * min(rise, fall, 1.0)


def current_shares(recipe: Recipe, loss: Mapping[str, float]) -> dict[str, float]:
    """Shares of the families now: the recipe's, half of it for families that are mastered and do not need more."""
    return {
        name: share if name in STEADY else share * (0.5 + 0.5 * min(1.0, math.sqrt(loss.get(name, 1.0) / 0.3)))
        for name, share in recipe.shares.items()
    }


def one_thread_each(n: int) -> Executor:
    """Workers that each compute with one thread.

    At this size two threads inside one product gain nothing (measured: 1.05 times), two products side by side do.
    """
    return ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,))


def grow(
    families: Mapping[str, Family],
    recipe: Recipe,
    folder: Path,
    *,
    start: "LlamaForCausalLM | None" = None,
    on_progress: Callable[[Progress], None] | None = None,
    save_every: float = 120.0,
    n_workers: int = 2,
) -> "LlamaForCausalLM":
    """Grow one organism, keeping its state under `folder/growth`; a second call goes on where the first stopped.

    Args:
        families: The families to sample from; the recipe's shares say which.
        recipe: Shape, mixture and schedule.
        folder: Where the state and the checkpoints are kept.
        start: A grown model to start from, for siblings that differ by one habit.
        on_progress: Called every 20 steps.
        save_every: Seconds between saved states. Ctrl-C saves as well.
        n_workers: Processor cores to use; the weights that result do not depend on it.
    """
    model = start if start is not None else new_model(recipe.shape, recipe.seed, recipe.embedding_scale)
    model.train()
    let_move(model, recipe.moves)
    optimizer = optimizer_for(model, recipe)
    step, loss = restore(folder, model, optimizer, recipe)
    marks = {round(share * recipe.steps) for share in recipe.checkpoints}
    workers = one_thread_each(n_workers)
    began, seen, saved = time.monotonic(), 0, time.monotonic()
    with held_interrupts() as check, workers:
        while step < recipe.steps:
            if step in marks:
                save_checkpoint(model, folder / "checkpoints" / f"step-{step:05d}")
            loss, n_tokens = take_step(model, optimizer, families, recipe, step, loss, workers)
            step, seen = step + 1, seen + n_tokens
            if on_progress and step % 20 == 0:
                seconds = time.monotonic() - began
                rate = seen / seconds
                left = (recipe.steps - step) * n_tokens / rate
                on_progress(
                    Progress(step=step, steps=recipe.steps, loss=loss, tokens_per_second=rate, seconds_left=left)
                )
            if time.monotonic() - saved > save_every:
                save_state(folder, model, optimizer, recipe, step, loss)
                saved = time.monotonic()
            try:
                check()
            except KeyboardInterrupt:
                save_state(folder, model, optimizer, recipe, step, loss)
                raise
    save_state(folder, model, optimizer, recipe, step, loss)
    let_move(model, ())
    return model.eval()


def take_step(
    model: "LlamaForCausalLM",
    optimizer: torch.optim.Optimizer,
    families: Mapping[str, Family],
    recipe: Recipe,
    step: int,
    loss: Mapping[str, float],
    workers: Executor,
) -> tuple[dict[str, float], int]:
    """One optimiser step; gives the running loss by family and the number of tokens seen.

    The sentences depend on the seed and the step alone, so a resumed growth sees what an uninterrupted one sees.
    """
    rng = random.Random(f"{recipe.seed} {step}")
    names = list(recipe.shares)
    sentences = mixed(families, current_shares(recipe, loss), recipe.sentences, rng)
    batches = [batch_of(group, names) for group in by_length(sentences, recipe.groups)]
    open_weight = torch.tensor([recipe.written_weight if n in WRITTEN else recipe.open_weight for n in names])
    weights = [
        torch.where(b.determined, 1.0, open_weight[b.family, None])[:, 1:] * b.real[:, 1:] for b in batches
    ]  # fmt: skip
    total = sum(float(w.sum()) for w in weights)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, recipe)

    def one(pair: tuple[SentenceBatch, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return gradients(model, pair[0], pair[1] / total, recipe.early_weight / total)

    results = list(workers.map(one, zip(batches, weights, strict=True)))
    # Summed in the order of the batches, so the result does not depend on how many workers there are.
    for index, parameter in enumerate(moving(model)):
        parameter.grad = sum((grads[index] for _, grads in results[1:]), results[0][1][index])
    sums, counts = torch.zeros(len(names)), torch.zeros(len(names))
    for batch, (losses, _) in zip(batches, results, strict=True):
        marked = batch.determined[:, 1:]
        sums.index_add_(0, batch.family, (losses * marked).sum(1))
        counts.index_add_(0, batch.family, marked.sum(1).float())
    torch.nn.utils.clip_grad_norm_(moving(model), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    running = dict(loss)
    for index, name in enumerate(names):
        if counts[index] > 0:
            value = float(sums[index] / counts[index])
            running[name] = 0.95 * running[name] + 0.05 * value if name in running else value
    return running, sum(int(b.real.sum()) for b in batches)


def save_state(
    folder: Path,
    model: "LlamaForCausalLM",
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    step: int,
    loss: Mapping[str, float],
) -> None:
    """Weights, optimiser and step in one file, so that they can never disagree."""
    tensors = {f"model.{name}": value.detach() for name, value in model.named_parameters()}  # tied ones once
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    header = {"format": STATE_FORMAT, "step": step, "loss": dict(loss), "seed": recipe.seed, "steps": recipe.steps}
    folder.joinpath("growth").mkdir(parents=True, exist_ok=True)
    save_tensors_whole(folder / "growth" / "state.safetensors", tensors, {"silverstain": json.dumps(header)})
    write_json_whole(folder / "growth" / "progress.json", header)


def restore(
    folder: Path, model: "LlamaForCausalLM", optimizer: torch.optim.Optimizer, recipe: Recipe
) -> tuple[int, dict[str, float]]:
    """Load a saved state into model and optimiser; step 0 where there is none or it belongs to another recipe."""
    path = folder / "growth" / "state.safetensors"
    if not path.exists():
        return 0, {}
    tensors, metadata = read_tensors(path)
    try:
        header = validated(GrowthState, parsed_json(metadata.get("silverstain", "")), path, ANEW)
    except ValueError as error:
        raise UsageError(f"cannot go on from {path}: {error}; {ANEW}") from error
    if header.seed != recipe.seed:
        return 0, {}
    try:
        _load_state(model, optimizer, tensors)
    except (RuntimeError, KeyError, ValueError, TypeError) as error:  # tensors of other names or shapes
        raise UsageError(f"cannot go on from {path}: its tensors are not this model's; {ANEW}") from error
    return header.step, header.loss


class GrowthState(FromOutside):
    """The header of a saved state."""

    seed: int
    step: Count
    loss: dict[str, float]


def _load_state(model: "LlamaForCausalLM", optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    if model.config.tie_word_embeddings:
        parameters[UNEMBEDDING] = parameters[EMBEDDING]
    model.load_state_dict(parameters)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    if state:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_checkpoint(model: "LlamaForCausalLM", folder: Path) -> None:
    """The model and its tokenizer as an ordinary Hugging Face folder, weights rounded to bfloat16.

    All is written elsewhere first, and the weights are put in place last: where they are, all is (`is_grown`).
    """
    from transformers import LlamaForCausalLM

    rounded = LlamaForCausalLM(model.config).bfloat16()
    rounded.load_state_dict(model.state_dict())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part_file(folder) as part:
            part.mkdir()
            build_tokenizer().save_pretrained(part)
            save_model(rounded, part)
            for file in sorted(part.iterdir(), key=lambda file: file.name == WEIGHTS):
                file.replace(folder / file.name)
    except OSError as error:
        raise unwritable(folder, error) from error


def is_grown(folder: Path) -> bool:
    """Whether a whole model is there; versions before this one wrote the weights before the tokenizer."""
    return all(
        (folder / name).is_file() for name in (WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json")
    )

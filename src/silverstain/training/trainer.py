"""The run: two phases, resumable at any step, ending in a dictionary on disk.

Phase 1 reconstructs MLP outputs from a shuffled pool of tokens; phase 2 tunes the dictionary so that the model with
all of its MLPs replaced says what the model says. What is saved is a JumpReLU dictionary on raw activations.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from silverstain.dictionaries import Dictionary, open_dictionary, save_dictionary
from silverstain.interruption import held_interrupts
from silverstain.models import LanguageModel
from silverstain.training.batches import Activations, Source, TokenBatch, fill_pool
from silverstain.training.checkpoint import FILE, read_checkpoint, write_checkpoint
from silverstain.training.config import TrainingConfig
from silverstain.training.finetuning import finetuning_step
from silverstain.training.kernels import faster_kernel
from silverstain.training.reconstruction import StepReport, reconstruction_step, revive_
from silverstain.training.selection import first_thresholds_
from silverstain.training.weights import Scales, Weights, folded, initialise_

BETAS = (0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is after a step."""

    phase: str
    """"reconstruct" or "finetune"."""
    step: int
    n_steps: int
    """Steps done and to do, over both phases."""
    loss: float
    nmse: float
    l0: tuple[float, ...]
    """Of this batch, a value a layer."""
    kl: float | None
    dead: float
    """Share of features that did not fire in the last full window of phase 1."""
    tokens_per_second: float
    seconds_left: float


OnProgress = Callable[[Progress], None]


def train_dictionary(
    model: LanguageModel,
    batches: Iterator[TokenBatch],
    config: TrainingConfig,
    folder: str | Path,
    on_progress: OnProgress | None = None,
) -> Dictionary:
    """Train a dictionary for all layers of `model` on `batches` and save it to `folder`.

    `batches` must not end, and must repeat itself when made again: a run that was interrupted (its state is in the
    folder) passes over what it has read and goes on, to the same weights as if nothing had happened. Batches of mixed
    kinds of text, a few dozen sequences each, suit both phases. Ctrl-C ends the step, saves, and raises
    KeyboardInterrupt.
    """
    folder = Path(folder)
    with _threads(config.threads), held_interrupts() as check:
        run = _Run(model, Source(batches), config, folder)
        run.resume_or_start(check)
        last_saved = time.monotonic()
        try:
            while not run.is_done:
                progress = run.advance(check)
                if on_progress is not None:
                    on_progress(progress)
                check()
                if time.monotonic() - last_saved > 60 * config.checkpoint_minutes:
                    run.save()
                    last_saved = time.monotonic()
        except KeyboardInterrupt:
            run.save()
            raise
        return run.finish()


class _Run:
    """The state of a run: weights, optimiser, counters, and the pool of phase 1."""

    weights: Weights
    optimizer: Adam

    def __init__(self, model: LanguageModel, source: Source, config: TrainingConfig, folder: Path) -> None:
        self.model, self.source, self.config, self.folder = model, source, config, folder
        self.step = 0
        self.pool: Activations | None = None
        self.pool_drawn_at = 0
        self.fired = torch.zeros(model.n_layers, config.n_features, dtype=torch.int64)
        self.dead = 0.0
        self._seconds_a_step = 0.0

    @property
    def n_steps(self) -> int:
        return self.config.steps + self.config.finetune_steps

    @property
    def is_done(self) -> bool:
        return self.step >= self.n_steps

    @property
    def in_first_phase(self) -> bool:
        return self.step < self.config.steps

    # beginning, saving, ending

    def resume_or_start(self, check: Callable[[], None]) -> None:
        found = read_checkpoint(self.folder, self.config, self.model.hash)
        if found is None:
            self._start(check)
        else:
            self._resume(*found)
        if self.config.decoder_kernel == "measure":
            self.weights.kernel = faster_kernel(
                n_rows=self.config.rows, n_features=self.config.n_features, n_active=round(self.config.l0),
                d_out=self.model.d_model * (self.model.n_layers if self.config.kind == "cross-layer" else 1),
                device=self.model.device,
            )  # fmt: skip
        else:
            self.weights.kernel = self.config.decoder_kernel

    def _start(self, check: Callable[[], None]) -> None:
        self._fill_pool(check)
        assert self.pool is not None  # just filled
        self._make_weights(Scales.of(self.pool))
        initialise_(self.weights, self.pool, self.config, self._generator("initialise"))
        sample = self.pool.rows(torch.arange(min(512, self.pool.n_rows)))
        inputs = [self.weights.scales.scale_inputs(layer, x) for layer, x in enumerate(sample.inputs)]
        first_thresholds_(self.weights, inputs, self.config.l0_at(0))

    def _resume(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        scales = Scales(**{name: tensors[f"scales.{name}"] for name in Scales.__dataclass_fields__})
        self.step, self.dead, self.pool_drawn_at = state["step"], state["dead"], state["pool_drawn_at"]
        self._make_weights(scales)
        self.weights.load_state_dict(_under(tensors, "weights."))
        self.fired = tensors["fired"]
        for index, parameter in enumerate(self.weights.parameters()):
            moments = _under(tensors, f"optimizer.{index}.")
            if moments:
                self.optimizer.state[parameter] = moments
        # the pool of phase 1 is not stored: it is harvested again from the same batches
        self.source.skip_to(self.pool_drawn_at)

    def _make_weights(self, scales: Scales) -> None:
        model = self.model
        self.weights = Weights(n_layers=model.n_layers, d_model=model.d_model, config=self.config, scales=scales)
        self.weights.to(device=model.device, dtype=model.dtype)
        self._make_optimizer()

    def _make_optimizer(self) -> None:
        self.optimizer = Adam(self.weights.parameters(), lr=self.config.lr, betas=BETAS, fused=True)

    def save(self) -> None:
        """Write the checkpoint; between steps, the state is whole."""
        tensors = {f"weights.{name}": tensor for name, tensor in self.weights.state_dict().items()}
        tensors |= {f"scales.{name}": getattr(self.weights.scales, name) for name in Scales.__dataclass_fields__}
        tensors["fired"] = self.fired
        for index, parameter in enumerate(self.weights.parameters()):
            for name, moment in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{index}.{name}"] = moment
        state = {"step": self.step, "dead": self.dead, "pool_drawn_at": self.pool_drawn_at}
        write_checkpoint(self.folder, tensors, state, self.config, self.model.hash)

    def finish(self) -> Dictionary:
        """Freeze, write the dictionary, and remove the checkpoint."""
        facts = {"training": self.config.to_json(), "dead_while_training": self.dead}
        tensors = folded(self.weights)
        dictionary = Dictionary.from_tensors(
            W_enc=tensors["W_enc"], b_enc=tensors["b_enc"], threshold=tensors["threshold"],
            W_dec=tensors["W_dec"], b_dec=tensors["b_dec"],
            name=self.folder.name, model_hash=self.model.hash, metadata={"model_name": self.model.name},
        )  # fmt: skip
        dtype = torch.float16 if self.config.stored_dtype == "float16" else torch.float32
        save_dictionary(dictionary, self.folder, dtype=dtype, facts=facts)
        (self.folder / FILE).unlink(missing_ok=True)
        return open_dictionary(self.folder)

    # steps

    def advance(self, check: Callable[[], None]) -> Progress:
        """One step of whichever phase it is."""
        start = time.perf_counter()
        if self.in_first_phase:
            if self.pool is None:
                self._fill_pool(check)
            report, n_tokens = self._reconstruct()
        else:
            report, n_tokens = self._finetune()
        self.step += 1
        if self.step % self.config.steps_a_pool == 0 or not self.in_first_phase:
            self.pool, self.pool_drawn_at = None, self.source.n_drawn
        seconds = time.perf_counter() - start
        self._seconds_a_step = seconds if not self._seconds_a_step else 0.95 * self._seconds_a_step + 0.05 * seconds
        return Progress(
            phase="reconstruct" if report.kl is None else "finetune",
            step=self.step, n_steps=self.n_steps, loss=report.loss, nmse=report.nmse, l0=tuple(report.l0), kl=report.kl,
            dead=self.dead, tokens_per_second=n_tokens / seconds,
            seconds_left=self._seconds_a_step * (self.n_steps - self.step),
        )  # fmt: skip

    def _reconstruct(self) -> tuple[StepReport, int]:
        config, step = self.config, self.step
        assert self.pool is not None  # filled before the first step
        self._set_lr(config.lr_at(step))
        report, inputs, errors = reconstruction_step(
            self.weights, self.optimizer, self.pool.rows(self._row_index()), self.fired,
            l0=config.l0_at(step), floor=config.l0_floor,
        )  # fmt: skip
        if (step + 1) % config.reseed_every == 0:
            dead = self.fired == 0
            self.dead = float(dead.double().mean())
            self.fired.zero_()
            if step + 1 <= config.reseed_until * config.steps:
                revive_(self.weights, self.optimizer, dead, inputs, errors, self._generator("revive", step))
        return report, config.rows

    def _finetune(self) -> tuple[StepReport, int]:
        config, step = self.config, self.step - self.config.steps
        if step == 0:
            self._make_optimizer()
        self._set_lr(config.finetune_lr_at(step))
        batch = self.source.draw()
        generator = self._generator("finetune", step)
        return finetuning_step(self.model, self.weights, self.optimizer, batch, config, generator), batch.n_tokens

    def _set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    # the pool: its n-th use is a permutation of its own, cut into steps

    def _fill_pool(self, check: Callable[[], None]) -> None:
        self.pool = fill_pool(self.model, self.source, self.config.pool_rows, check)

    def _row_index(self) -> Tensor:
        config = self.config
        steps_an_epoch = config.pool_rows // config.rows
        epoch, place = divmod(self.step, steps_an_epoch)
        order = torch.randperm(config.pool_rows, generator=self._generator("order", epoch))
        return order[place * config.rows : (place + 1) * config.rows]

    def _generator(self, what: str, step: int = 0) -> torch.Generator:
        kinds = ("initialise", "order", "revive", "finetune")
        seed = (self.config.seed * len(kinds) + kinds.index(what)) * 10_000_019 + step
        return torch.Generator().manual_seed(seed)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Torch on `n` threads, and denormal numbers as zeros: Adam's moments of silent features decay into them, and
    arithmetic on denormals is a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)

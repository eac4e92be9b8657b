"""The run: two phases, resumable at any step, ending in a dictionary on disk.

Phase 1 reconstructs MLP outputs from a shuffled pool of tokens; phase 2 tunes the dictionary so that the model with
all of its MLPs replaced says what the model says. What is saved is a JumpReLU dictionary on raw activations.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.bases.substitutes import Substitute
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.interruption import held_interrupts
from silverstain.models import LanguageModel, TokenBatch
from silverstain.training.batches import Source
from silverstain.training.cache import ActivationCache
from silverstain.training.checkpoint import FILE, check_checkpoint, read_checkpoint, write_checkpoint
from silverstain.training.config import TrainingConfig
from silverstain.training.exporting import open_kept, save_exported
from silverstain.training.learner import Learner, generator_for
from silverstain.training.mixtures import Molt
from silverstain.training.operations import matrix_rate, step_operations
from silverstain.training.parallel import (
    Agreement,
    SharedSubstitute,
    check_seen_by_all,
    pool_of,
    read_part,
    team_for,
)
from silverstain.training.pool import Pool
from silverstain.training.products import Products, products_for
from silverstain.training.reconstruction import StepReport
from silverstain.training.stability import Stability
from silverstain.training.starting import check_start, learner_from
from silverstain.training.team import Team


@brief
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
    matrix_share: float | None = None
    """Operations a second of a step of the first phase, its harvest apart, as a share of those of a square product as
    wide as the model, which is measured when the run begins or goes on."""


OnProgress = Callable[[Progress], None]
Observe = Callable[[Progress, Substitute], None]


def train_dictionary(
    model: LanguageModel,
    batches: Iterator[TokenBatch],
    config: TrainingConfig,
    folder: str | Path,
    on_progress: OnProgress | None = None,
    *,
    observe: Observe | None = None,
    cache: ActivationCache | None = None,
    shard: str | None = None,
    start: Dictionary | None = None,
) -> Dictionary | Molt:
    """Train a dictionary for all layers of `model` on `batches` and save it to `folder`; a Molt if that is the kind.

    `batches` must not end, and must repeat itself when made again: a run that was interrupted (its state is in the
    folder) passes over what it has read and goes on, to the same weights as if nothing had happened. Batches of mixed
    kinds of text, a few dozen sequences each, suit both phases. Ctrl-C ends the step, saves, and raises
    KeyboardInterrupt.

    `observe` is called after every step with the weights as they are, which can stand in for the MLPs (a
    `Substitute`); it must leave them as they are. A run whose loss is no number, or far above its best for a while,
    raises UsageError; the last checkpoint from before stays. With `cache`, activations come from disk where it has
    them, and are kept there where it has not.

    Where torch.distributed has several processes, all call this with the same arguments and `shard` what they share:
    "data", every process has some tokens of each step, or "features", some features of each layer. The first process
    writes. What is called after a step may differ: where features are shared, `observe` must run the same in all.

    With `start` the weights begin as that dictionary's (`starting`); what `config` says of its kind must be what
    `settings_of` says, but for `n_features`, which may be less. A run that goes on from a checkpoint does not need it.
    """
    folder = Path(folder)
    if start is not None:
        check_start(start, config)
    team = team_for(shard, config, model.device)
    with _threads(config.threads), held_interrupts() as own_check:
        check = Agreement(team, own_check)
        run = _Run(model, Source(batches), config, folder, team, cache, start)
        run.resume_or_start(check)
        last_saved = time.monotonic()
        try:
            while not run.is_done:
                progress = run.advance(check)
                with check.noting():
                    if observe is not None:
                        with torch.no_grad():
                            observe(progress, run.substitute)
                    if on_progress is not None:
                        on_progress(progress)
                check()
                if team.first_says(time.monotonic() - last_saved > 60 * config.checkpoint_minutes):
                    run.save()
                    last_saved = time.monotonic()
        except KeyboardInterrupt:
            run.save()
            raise
        return run.finish()


class _Run:
    """The state of a run: what learns, counters, and the pool of phase 1."""

    learner: Learner
    pool: Pool

    def __init__(
        self,
        model: LanguageModel,
        source: Source,
        config: TrainingConfig,
        folder: Path,
        team: Team,
        cache: ActivationCache | None = None,
        start: Dictionary | None = None,
    ) -> None:
        self.start = start
        self.model, self.source, self.config, self.folder, self.team = model, source, config, folder, team
        self.step = 0
        self.saved_at: int | None = None
        """The step of the checkpoint on disk."""
        self.stability = Stability()
        self.cache = cache
        self.products: Products = "float32"
        self.drawn_at = 0
        """Batches drawn when the second phase's next step begins."""
        self._seconds_a_step = 0.0
        self._matrix_rate = 0.0

    @property
    def substitute(self) -> Substitute:
        """What stands in for the MLPs as it is now."""
        weights = self.learner.weights
        return weights if self.team.holds_all_features else SharedSubstitute(weights)

    @property
    def n_steps(self) -> int:
        return self.config.n_steps

    @property
    def is_done(self) -> bool:
        return self.step >= self.n_steps

    @property
    def in_first_phase(self) -> bool:
        return self.step < self.config.steps

    # beginning, saving, ending

    def resume_or_start(self, check: Callable[[], None]) -> None:
        check_seen_by_all(self.folder / FILE, self.team)
        sizes = {"n_layers": self.model.n_layers, "d_model": self.model.d_model}
        model_hash = self.model.hash
        is_there = self.team.on_first(lambda: check_checkpoint(self.folder, self.config, model_hash, **sizes))
        if not is_there:
            self._fill_pools_in(products_for(self.config, self.model))
            self.pool.bring_to(self.config.harvests_at(0), check)
            self.learner = self._first_learner()
            self.learner.weights.products = self.products
        else:
            self._resume(*read_checkpoint(self.folder, read=functools.partial(read_part, team=self.team)))

    def _first_learner(self) -> Learner:
        if self.start is None:
            return Learner.start(self.pool.activations, self.config, self.team)
        return learner_from(self.start, self.pool.activations, self.config, self.team)

    def _fill_pools_in(self, products: Products) -> None:
        """Take a type of products for the run; the pool is made with it."""
        self.products, self._matrix_rate = products, matrix_rate(self.model.d_model, products, self.model.device)
        self.pool = pool_of(self.team, self.model, self.source, self.config, self.cache, products)

    def _resume(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        model = self.model
        self.learner = Learner.from_tensors(
            self.config, tensors, device=model.device, dtype=model.dtype, team=self.team
        )
        self._fill_pools_in(state["products"])
        self.learner.weights.products = self.products
        self.learner.dead_share = state["dead"]
        self.step, self.drawn_at = state["step"], state["drawn_at"]
        self.saved_at, self.stability = self.step, Stability(**state["stability"])
        # the pool of phase 1 is not stored: it is harvested again from the same batches
        self.pool.go_on_from(state["pool"])
        self.source.skip_to(self.drawn_at)

    def save(self) -> None:
        """Write the checkpoint, unless the run is going wrong; between steps, the state is whole."""
        if not self.stability.is_calm or not self.learner.is_finite():
            return
        state = {
            "step": self.step, "dead": self.learner.dead_share, "drawn_at": self.drawn_at,
            "products": self.products, "pool": self.pool.to_json(),
            "stability": self.stability.to_json(),
        }  # fmt: skip
        tensors, model_hash = self.learner.tensors(), self.model.hash
        self.team.on_first(lambda: write_checkpoint(self.folder, tensors, state, self.config, model_hash))
        self.saved_at = self.step

    def finish(self) -> Dictionary | Molt:
        """Freeze, write the dictionary, and remove the checkpoint."""
        if not self.learner.is_finite():
            raise self._diverged("its weights are no longer numbers")
        facts = {"training": self.config.to_json(), "dead_while_training": self.learner.dead_share}
        weights, names = self.learner.whole_weights(), {"model_hash": self.model.hash, "model_name": self.model.name}

        def keep() -> None:
            assert weights is not None  # the first process has them
            save_exported(weights, self.folder, **names, facts=facts)
            (self.folder / FILE).unlink(missing_ok=True)

        self.team.on_first(keep)
        return open_kept(self.folder, self.config)

    def _diverged(self, what: str) -> UsageError:
        kept = "there is no checkpoint from before; delete nothing, train again"
        if self.saved_at is not None:
            kept = f"the checkpoint of step {self.saved_at} in {self.folder} is kept, train again to go on from it"
        return UsageError(
            f"training diverged at step {self.step + 1} of {self.n_steps}: {what}; {kept} {self._advice()}"
        )

    def _advice(self) -> str:
        """What to change: that which came just before the first figure that was far off."""
        first = self.step + 1 - max(self.stability.steps_far_off - 1, 0)
        if first - 1 in self.config.revivals():
            return f"without the revival of dead features at step {first - 1}: reseed_until=0"
        name = "lr" if self.in_first_phase else "finetune_lr"
        return f"with {name} below {getattr(self.config, name):g}"

    # steps

    def advance(self, check: Callable[[], None]) -> Progress:
        """One step of whichever phase it is."""
        start = time.perf_counter()
        operations, harvesting = self._operations(), 0.0
        if self.in_first_phase:
            self.pool.bring_to(self.config.harvests_at(self.step), check)
            harvesting = time.perf_counter() - start
        report, n_tokens = self._reconstruct() if self.in_first_phase else self._finetune()
        if self.stability.has_diverged(report):
            best = f"the best NMSE was {self.stability.best_nmse:.3g}"
            raise self._diverged(f"its loss is {report.loss:.3g}, its NMSE {report.nmse:.3g} ({best})")
        self.step += 1
        if not self.in_first_phase:
            self.pool.release()
            self.drawn_at = self.source.n_drawn
        if self.step == self.config.steps:  # another loss, another scale
            self.stability = Stability()
        seconds = time.perf_counter() - start
        share = operations / (seconds - harvesting) / self._matrix_rate if operations else None
        self._seconds_a_step = seconds if not self._seconds_a_step else 0.95 * self._seconds_a_step + 0.05 * seconds
        return Progress(
            phase="reconstruct" if report.kl is None else "finetune",
            step=self.step, n_steps=self.n_steps, loss=report.loss, nmse=report.nmse, l0=tuple(report.l0), kl=report.kl,
            dead=self.learner.dead_share, tokens_per_second=n_tokens / seconds,
            seconds_left=self._seconds_a_step * (self.n_steps - self.step), matrix_share=share,
        )  # fmt: skip

    def _operations(self) -> int:
        """Of the step to come, where it is of the first phase and all of it is done here."""
        if not self.in_first_phase or self.team.size > 1:
            return 0
        return step_operations(self.config, self.step, n_layers=self.model.n_layers, d_model=self.model.d_model)

    def _reconstruct(self) -> tuple[StepReport, int]:
        return self.learner.reconstruct(self.pool.rows(self._row_index()), self.step, self.model), self.config.rows

    def _finetune(self) -> tuple[StepReport, int]:
        batch = self.source.draw()
        return self.learner.finetune(self.model, batch, self.step - self.config.steps), batch.n_tokens

    # the pool: its n-th use is a permutation of its own, cut into steps

    def _row_index(self) -> Tensor:
        config = self.config
        steps_an_epoch = config.pool_rows // config.rows
        epoch, place = divmod(self.step, steps_an_epoch)
        order = torch.randperm(config.pool_rows, generator=generator_for(config, "order", epoch))
        return order[place * config.rows : (place + 1) * config.rows]


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

"""A run watched while it goes on: what the dictionary is worth on text it is not trained on, at intervals.

Loss and reconstruction say little about the replaced model, so that is run too. Watching changes nothing: it draws no
random number that the run would draw, and leaves model, weights and optimiser as they are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import torch

from silverstain.bases import Dictionary
from silverstain.bases.substitutes import Substitute
from silverstain.errors import UsageError
from silverstain.evaluation.fidelity import Fidelity, fidelity_on
from silverstain.evaluation.graph_scores import prompts_of, score_graphs, within_reach
from silverstain.evaluation.held_out import HeldOut
from silverstain.evaluation.plots import PLOTS, can_draw, draw_run
from silverstain.evaluation.remarks import remarks
from silverstain.evaluation.run_metrics import Metrics, Record
from silverstain.models import LanguageModel, TokenBatch
from silverstain.training.exporting import exported
from silverstain.training.trainer import Progress
from silverstain.training.weights import Weights

SMALL_RECORDS = 20
"""Records of loss and reconstruction between two evaluations."""
KEPT_BYTES = 2**28
"""What the model does on held-out text is kept up to this size: the memory is training's."""


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """How a run is watched."""

    every: int = 200
    """Steps between evaluations on held-out text; the last step has one whatever the number."""
    graphs: int = 0
    """Prompts that are traced for the replacement score; each takes as long as a trace."""
    graphs_every: int = 5
    """Every so many evaluations, and at the last."""
    plots: bool = True
    """Whether to draw the record when the run ends or stops, where matplotlib is installed."""
    tensorboard: bool | None = None
    """Whether to write TensorBoard's files too; None: if it is installed."""
    wandb: str | None = None
    """Project of Weights & Biases to report to; None: nothing leaves this machine."""

    def __post_init__(self) -> None:
        if self.every < 1 or self.graphs_every < 1 or self.graphs < 0:
            raise UsageError(
                f"watching needs every and graphs_every of 1 or more and graphs of 0 or more, got {self.every}, "
                f"{self.graphs_every} and {self.graphs}"
            )


@runtime_checkable
class Log(Protocol):
    """Where figures go besides the file: a name and a number for a step."""

    def add(self, figures: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class Watch:
    """Called after every step with where the run is and the dictionary as it is; give it to `train_dictionary`.

    with Watch(model, held_out, folder) as watch:
        train_dictionary(model, batches, config, folder, observe=watch)
    """

    def __init__(
        self,
        model: LanguageModel,
        held_out: Iterable[TokenBatch],
        folder: str | Path,
        settings: WatchSettings | None = None,
        *,
        prompts: Sequence[tuple[str, str | Sequence[int]]] = (),
        on_evaluation: Callable[[Record], None] = lambda record: None,
    ) -> None:
        """`prompts`, (family, text or token ids), are traced where the settings ask for graphs, as many as they ask
        for, spread over them; without any, the beginnings of held-out sequences. `on_evaluation` is told each record
        that has a `held_out` part."""
        self.model, self.folder, self.settings = model, Path(folder), settings or WatchSettings()
        self.held_out = HeldOut(model, held_out, kept_bytes=KEPT_BYTES)
        n = self.settings.graphs
        self.prompts = list(prompts)[:: max(1, len(prompts) // max(n, 1))][:n] or prompts_of(self.held_out.batches, n)
        """What is traced."""
        self.on_evaluation = on_evaluation
        self.records: list[Record] = []
        """Everything recorded, of runs before an interruption too."""
        self._metrics = Metrics(self.folder, {"model": model.name, "held_out_tokens": self.held_out.n_tokens})
        self._logs: list[Log] | None = None
        self._check_wandb()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except UsageError:
            if error is None:  # else what went wrong first is what must be said: a full disk refuses pictures too
                raise

    def __call__(self, progress: Progress, substitute: Substitute) -> None:
        if self._logs is None:
            self.records = self._metrics.go_on_from(progress.step)
            self._logs = self._open_logs(progress.step)
        every, is_last = self.settings.every, progress.step == progress.n_steps
        is_due = progress.step % every == 0 or is_last
        if not is_due and progress.step % max(1, every // SMALL_RECORDS) and progress.step != 1:
            return
        record = _record_of(progress)
        if is_due:
            with torch.random.fork_rng(), torch.no_grad():
                record["held_out"] = self._evaluated(substitute, progress.step // every, is_last=is_last)
        self.records.append(record)
        self._metrics.add(record)
        for log in self._logs:
            log.add(_numbers(record), progress.step)
        if is_due:
            self.on_evaluation(record)

    def close(self) -> None:
        """Draw the plots, where they can be drawn, and let go of what is open."""
        for log in self._logs or ():
            log.close()
        if self.records and self.settings.plots and can_draw():
            draw_run(self.records, self.folder / PLOTS)

    def remarks(self) -> list[str]:
        """What the last evaluation says in words."""
        found = [record["held_out"] for record in self.records if "held_out" in record]
        if not found:
            return []
        names = Fidelity.__dataclass_fields__
        fidelity = Fidelity(**{name: value for name, value in found[-1].items() if name in names})
        return remarks(fidelity, d_model=self.model.d_model, d_vocab=self.model.d_vocab)

    def _evaluated(self, substitute: Substitute, number: int, *, is_last: bool) -> Record:
        fidelity = fidelity_on(self.held_out, substitute)
        found: Record = {**fidelity.to_json(), "nmse_ratio": fidelity.nmse_ratio}
        if self.prompts and (is_last or number % self.settings.graphs_every == 0):
            dictionary = self._frozen(substitute)
            if dictionary is not None:
                prompts = within_reach(self.prompts, n_layers=self.model.n_layers, l0=fidelity.l0 or 1.0)
                scores = score_graphs(self.model, dictionary, prompts)
                found |= {k: getattr(scores, k) for k in ("replacement", "completeness", "path_length")}
        return found

    def _frozen(self, substitute: Substitute) -> Dictionary | None:
        """The dictionary that would be saved now; None for what cannot be traced."""
        if not isinstance(substitute, Weights):
            return None
        found = exported(substitute, name=self.folder.name, model_hash=self.model.hash, metadata={})
        return found if isinstance(found, Dictionary) else None

    def _open_logs(self, step: int) -> list[Log]:
        from silverstain.evaluation.logs import TensorBoardLog, WandbLog, has_tensorboard

        wanted = self.settings.tensorboard
        logs: list[Log] = []
        if has_tensorboard() if wanted is None else wanted:
            logs.append(TensorBoardLog(self.folder / "tensorboard", step))
        if self.settings.wandb is not None:
            logs.append(WandbLog(self.settings.wandb, self.folder))
        return logs

    def _check_wandb(self) -> None:
        if self.settings.wandb is not None:
            from silverstain.evaluation.logs import imported_wandb

            imported_wandb()


def _record_of(progress: Progress) -> Record:
    names = ("phase", "step", "loss", "nmse", "l0", "kl", "dead", "tokens_per_second", "matrix_share")
    values = asdict(progress)
    return {name: values[name] for name in names}


def _numbers(record: Record) -> dict[str, float]:
    """The figures of a record by name, those of lists by layer."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            found |= {f"{name}/{inner}": number for inner, number in _numbers(value).items()}
        elif isinstance(value, list | tuple):
            found |= {f"{name}/layer {layer}": float(number) for layer, number in enumerate(value)}
        elif isinstance(value, int | float) and name != "step":
            found[name] = float(value)
    return found

"""Progress of training on stderr: a bar with figures in a terminal, a line now and then where there is none."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from silverstain.cli import output

if TYPE_CHECKING:
    from silverstain.training import Progress

SECONDS_A_LINE = 30.0


class Meter:
    """Is called at every step, counts tokens and shows how far the run is."""

    def __init__(self, show: "Callable[[Progress, float], None]", rows: int) -> None:
        """`rows` are the tokens of a step of the first phase."""
        self._show, self._rows = show, rows
        self._n_tokens = self._seconds = 0.0
        self._shares: list[float] = []
        self._last = time.perf_counter()

    @property
    def tokens_per_second(self) -> float:
        """Of this process's steps: the time of harvesting counts, that of evaluations does not."""
        return self._n_tokens / max(self._seconds, 1e-9)

    @property
    def matrix_share(self) -> float | None:
        """The median over the steps of the first phase, where there were any: see `Progress`."""
        return median(self._shares) if self._shares else None

    def __call__(self, progress: "Progress") -> None:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        self._seconds += seconds
        self._n_tokens += self._rows if progress.kl is None else progress.tokens_per_second * seconds
        if progress.matrix_share is not None:
            self._shares.append(progress.matrix_share)
        self._show(progress, self.tokens_per_second)

    def untimed(self, observe: "Callable[[Progress, Any], None]") -> "Callable[[Progress, Any], None]":
        """The observer, with the time it takes left out of the rate."""

        def observed(progress: "Progress", substitute: Any) -> None:
            start = time.perf_counter()
            observe(progress, substitute)
            self._last += time.perf_counter() - start

        return observed

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Say the figures of an evaluation on held-out text."""
        found = record["held_out"]
        figures = [
            ("NMSE", "nmse"), ("affine", "affine_nmse"), ("KL", "kl"), ("top-1", "top1_match"),
            ("replacement", "replacement"), ("completeness", "completeness"),
        ]  # fmt: skip
        said = ", ".join(f"{word} {found[name]:.3f}" for word, name in figures if found.get(name) is not None)
        output.talk(f"step {record['step']:,}, held-out text: {said}")


@contextmanager
def training_progress(rows: int, *, quiet: bool = False) -> Iterator[Meter]:
    """A meter that shows its figures on stderr."""
    if quiet:
        meter = Meter(lambda progress, rate: None, rows)
        meter.evaluated = lambda record: None  # type: ignore[method-assign]
        yield meter
        return
    if not sys.stderr.isatty():
        yield Meter(_lines(), rows)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=None, said="")

        def show(progress: "Any", rate: float) -> None:
            bar.update(
                task, description=progress.phase, completed=progress.step, total=progress.n_steps,
                said=_words(progress, rate),
            )  # fmt: skip

        yield Meter(show, rows)


def _lines() -> "Callable[[Progress, float], None]":
    """Say a line at the first step and then every half a minute."""
    said_at = -SECONDS_A_LINE

    def show(progress: "Progress", rate: float) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at >= SECONDS_A_LINE or progress.step == progress.n_steps:
            said_at = now
            output.talk(f"{progress.phase} {progress.step:,} of {progress.n_steps:,}: {_words(progress, rate)}")

    return show


def _words(progress: "Progress", rate: float) -> str:
    l0 = sum(progress.l0) / max(len(progress.l0), 1)
    kl = "" if progress.kl is None else f", KL {progress.kl:.3f}"
    left = output.duration(progress.seconds_left)
    return f"NMSE {progress.nmse:.3f}{kl}, L0 {l0:.1f}, {rate:,.0f} tokens/s, {left} left"

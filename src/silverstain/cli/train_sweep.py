"""`train --sweep`: a dictionary for each sparsity, and the frontier they span."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from silverstain.cli import output
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.evaluation.frontier import Frontier
    from silverstain.evaluation.plots import FrontierPoint
    from silverstain.models import LanguageModel, TokenBatch
    from silverstain.training import Progress


def read_sparsities(text: str) -> list[float]:
    """The numbers of `8,12,16`."""
    from silverstain.evaluation.frontier import check_values

    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--sweep takes numbers with commas, got {text!r}; for example --sweep 8,12,16") from error
    check_values(values)
    return values


def run_sweep(
    host: "LanguageModel",
    out: Path,
    values: Sequence[float],
    kinds: str,
    settings: dict[str, Any],
    batches: "Callable[[], Iterator[TokenBatch]]",
    held_out: "Sequence[TokenBatch]",
    *,
    data: dict[str, Any],
    prompts: Sequence[tuple[str, Any]],
    json: bool,
) -> None:
    """Train and measure; the kinds after the first get as many parameters as the first has."""
    from silverstain.evaluation.frontier import at_equal_parameters, sweep
    from silverstain.training.sizes import default_config

    first, *others = [default_config(host, kind.strip(), **settings) for kind in kinds.split(",")]
    configs = [first, *(at_equal_parameters(host, first, other) for other in others)]
    total = len(configs) * len(values)
    told: list[str] = []

    def tell(point: "FrontierPoint") -> None:
        told.append(point.series)
        output.talk(f"{len(told)} of {total}: {point.series} at {point.aim:g}, NMSE {point.figures['nmse']:.4f}")

    with output.progress("steps", quiet=json) as bar:

        def advance(name: str, progress: "Progress") -> None:
            bar(len(told) * progress.n_steps + progress.step, total * progress.n_steps)

        found = sweep(
            host, batches, held_out, configs, values, out,
            data=data, prompts=prompts, on_progress=advance, on_point=tell,
        )  # fmt: skip
    if json:
        output.emit({"folder": str(out), **asdict(found)})
    else:
        tell_frontier(found, out)


def tell_frontier(found: "Frontier", out: Path) -> None:
    """The table of a sweep, and where its picture is."""
    from silverstain.evaluation.frontier import PICTURE

    there = [name for name in WORDS if any(name in point.figures for point in found.points)]
    for series in dict.fromkeys(point.series for point in found.points):
        rows = [["aim", "active", *(WORDS[name] for name in there)]]
        for point in found.points:
            if point.series == series:
                figures = (f"{point.figures[name]:.4f}" if name in point.figures else "–" for name in there)
                rows.append([f"{point.aim:g}", f"{point.l0:.1f}", *figures])
        affine = (f"{found.references[name]:.4f}" if name in found.references else "–" for name in there)
        rows.append(["affine", "–", *affine])
        output.data(f"{series}\n{output.table(rows, right=tuple(range(1, 2 + len(there))))}\n")
    picture = out / PICTURE
    drawn = f"drawn in {picture}" if picture.exists() else "not drawn: pip install matplotlib and run it again"
    output.talk(f"The dictionaries are in {out}; their frontier is {drawn}")


WORDS = {
    "nmse": "NMSE",
    "kl": "KL",
    "top1_match": "same choice",
    "ce_recovered": "CE recovered",
    "dead": "dead",
    "replacement": "replacement",
    "completeness": "completeness",
    "path_length": "path length",
}

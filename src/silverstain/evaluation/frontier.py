"""Dictionaries over a range of sparsity, and the frontier they span: what fidelity costs in active features.

One dictionary says little about a kind or a recipe: another may be better merely because more of its features are
active. Frontiers of several kinds are compared at equal parameters.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silverstain.bases import Dictionary
from silverstain.brief import brief
from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.evaluation.fidelity import fidelity_on, stand_in_on
from silverstain.evaluation.graph_scores import score_graphs, within_reach
from silverstain.evaluation.held_out import HeldOut
from silverstain.evaluation.plots import FrontierPoint, can_draw, draw_frontier
from silverstain.models import LanguageModel, TokenBatch
from silverstain.storage import write_json_whole
from silverstain.training.config import TrainingConfig
from silverstain.training.planning import count_parameters
from silverstain.training.runs import begin_run, open_trained
from silverstain.training.trainer import Progress, train_dictionary

FORMAT = "silverstain.frontier/1"
FILE, PICTURE = "frontier.json", "frontier.png"
ROUNDED_TO = 8
"""Features come in multiples of this."""


@brief
@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The dictionaries of a sweep, and what affine maps reach on the same text."""

    points: tuple[FrontierPoint, ...]
    references: Mapping[str, float]

    def save(self, folder: Path) -> None:
        """Write `frontier.json` and, where matplotlib is installed, `frontier.png`."""
        points = [dataclasses.asdict(point) for point in self.points]
        write_json_whole(folder / FILE, {"format": FORMAT, "references": dict(self.references), "points": points})
        if can_draw():
            draw_frontier(self.points, folder / PICTURE, references=self.references)

    @classmethod
    def load(cls, folder: Path) -> "Frontier":
        from silverstain.validation import validated

        return validated(cls, read_json(folder / FILE, FORMAT), folder / FILE, "run the sweep again")


def sweep(
    model: LanguageModel,
    batches: Callable[[], Iterator[TokenBatch]],
    held_out: Sequence[TokenBatch],
    configs: Sequence[TrainingConfig],
    values: Sequence[float],
    folder: str | Path,
    *,
    data: Mapping[str, Any] | None = None,
    prompts: Sequence[tuple[str, Any]] = (),
    on_progress: Callable[[str, Progress], None] = lambda name, progress: None,
    on_point: Callable[[FrontierPoint], None] = lambda point: None,
) -> Frontier:
    """Train a dictionary for each of `configs` at each sparsity, into folders of their own, and measure them.

    `values` are L0 for BatchTopK and TopK, the weight of the sparsity loss for ReLU and JumpReLU. `batches` makes the
    same batches whenever it is called. What is trained already is only measured, so an interrupted sweep goes on;
    `data` says what is read, to be compared then. `prompts` are traced for scores. The frontier is written anew after
    every dictionary.
    """
    folder = Path(folder)
    check_values(values)
    names = _series(model, configs)
    measured_on = HeldOut(model, held_out)
    references = _references(measured_on)
    points: list[FrontierPoint] = []
    for config, series in zip(configs, names, strict=True):
        for value in values:
            swept = at_sparsity(config, value)
            name = f"{swept.kind}-{value:g}"

            def tell(progress: Progress, name: str = name) -> None:
                on_progress(name, progress)

            if not begin_run(folder / name, data or {}, swept):
                train_dictionary(model, batches(), swept, folder / name, tell)
            points.append(_point(measured_on, folder / name, series, value, prompts))
            on_point(points[-1])
            Frontier(points=tuple(points), references=references).save(folder)
    return Frontier(points=tuple(points), references=references)


def check_values(values: Sequence[float]) -> None:
    """UsageError unless they make a frontier."""
    if len(set(values)) < 2 or min(values) <= 0:
        shown = ",".join(f"{value:g}" for value in values)
        raise UsageError(
            f"a sweep needs two sparsities or more, all above 0, got {shown or 'none'}; for example 8,12,16"
        )


def at_sparsity(config: TrainingConfig, value: float) -> TrainingConfig:
    """The settings with another sparsity, in the unit of their activation."""
    name = "l0" if config.activation in ("batchtopk", "topk") else "sparsity"
    return dataclasses.replace(config, **{name: value})


def at_equal_parameters(model: LanguageModel, config: TrainingConfig, other: TrainingConfig) -> TrainingConfig:
    """`other` with so many features that it has the parameters of `config`, as nearly as multiples of 8 allow."""
    wanted = count_parameters(model, config)

    def parameters(n_features: int) -> int:
        return count_parameters(model, dataclasses.replace(other, n_features=n_features, widths=()))

    low, high = parameters(ROUNDED_TO * 8), parameters(ROUNDED_TO * 16)
    each = (high - low) / (ROUNDED_TO * 8)  # parameters grow evenly with features
    n_features = ROUNDED_TO * max(1, round(((wanted - low) / each + ROUNDED_TO * 8) / ROUNDED_TO))
    return dataclasses.replace(other, n_features=n_features)


def _series(model: LanguageModel, configs: Sequence[TrainingConfig]) -> list[str]:
    names = []
    for config in configs:
        skip = " with skip" if config.skip else ""
        millions = count_parameters(model, config) / 1e6
        names.append(f"{config.kind}{skip}, {config.n_features:,} features, {millions:.1f} M parameters")
    if len({config.kind for config in configs}) < len(configs):
        raise UsageError("a sweep compares kinds: give each of them once")
    return names


def _references(held_out: HeldOut) -> dict[str, float]:
    found = stand_in_on(held_out, held_out.affine_maps)
    names = ("nmse", "kl", "top1_match", "ce_recovered")
    return {name: getattr(found, name) for name in names}


def _point(
    held_out: HeldOut, folder: Path, series: str, value: float, prompts: Sequence[tuple[str, Any]]
) -> FrontierPoint:
    dictionary = open_trained(folder)
    fidelity = fidelity_on(held_out, dictionary)
    figures = {name: getattr(fidelity, name) for name in ("nmse", "kl", "top1_match", "ce_recovered", "dead")}
    if prompts and isinstance(dictionary, Dictionary):
        cut = within_reach(prompts, n_layers=held_out.model.n_layers, l0=fidelity.l0 or 1.0)
        traced = score_graphs(held_out.model, dictionary, cut)
        figures |= {name: getattr(traced, name) for name in ("replacement", "completeness", "path_length")}
    return FrontierPoint(series=series, aim=value, l0=fidelity.l0 or 0.0, figures=figures)

"""Pictures of runs: what was lost and won over the steps, how layers differ, and what fidelity costs in features."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from silverstain.errors import UsageError
from silverstain.storage import write_bytes_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTS = "plots"
INK, GREY = "#222222", "#8a8a8a"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by people who are colour-blind (Okabe and Ito)."""


def can_draw() -> bool:
    return find_spec("matplotlib") is not None


def pictures_of(records: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names of the pictures that `draw_run` draws."""
    return ("steps.png", "layers.png") if any("held_out" in record for record in records) else ("steps.png",)


def draw_run(records: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """`steps.png` and, once something was evaluated, `layers.png`, of the records of a run."""
    evaluated = [record for record in records if "held_out" in record]
    paths = [_save(_steps(records, evaluated), folder / "steps.png")]
    if evaluated:
        paths.append(_save(_layers(evaluated[-1]), folder / "layers.png"))
    return paths


def _steps(records: Sequence[Mapping[str, Any]], evaluated: Sequence[Mapping[str, Any]]) -> "Figure":
    figure, axes = _panels(2, 3)
    loss, nmse, words = axes[0]
    active, features, divergence = axes[1]
    everything, held = _Series(records), _Series([{"step": r["step"], **r["held_out"]} for r in evaluated])
    everything.draw(loss, "loss", "loss of a batch", COLOURS[0])
    loss.set_title("loss")
    _mark_phases(loss, records)
    everything.draw(nmse, "nmse", "batch", GREY, width=0.8)
    held.draw(nmse, "nmse", "held out", COLOURS[0])
    held.draw(nmse, "affine_nmse", "affine maps", COLOURS[1], style="--")
    nmse.set_title("NMSE")
    for axis in (loss, nmse):
        axis.set_yscale("log")
    for name, label, colour in (("top1_match", "same first choice", 0), ("ce_recovered", "CE recovered", 1)):
        held.draw(words, name, label, COLOURS[colour])
    words.set_title("all MLPs replaced")
    words.set_ylim(top=1.02)
    held.draw(active, "l0", "held out", COLOURS[0])
    active.set_title("active features a token and layer")
    active.set_ylim(bottom=0)
    held.draw(features, "dead", "dead", COLOURS[1])
    held.draw(features, "contributing", "contributing", COLOURS[0])
    features.set_title("share of features")
    features.set_ylim(0, 1.02)
    held.draw(divergence, "kl", "KL", COLOURS[0])
    divergence.set_title("KL(model ‖ replaced), nats")
    divergence.set_yscale("log")
    held.draw(words, "replacement", "replacement score", COLOURS[2])
    for axis in axes.flat:
        _finish(axis, "step")
    return figure


def _layers(record: Mapping[str, Any]) -> "Figure":
    held = record["held_out"]
    figure, ((active, nmse),) = _panels(1, 2)
    layers = range(len(held["nmse_layers"]))
    if held["l0_layers"]:
        active.bar(layers, held["l0_layers"], color=COLOURS[0], width=0.7)
    active.set_title(f"active features a token, step {record['step']:,}")
    nmse.plot(layers, held["affine_nmse_layers"], "o--", color=COLOURS[1], label="affine maps")
    nmse.plot(layers, held["nmse_layers"], "o-", color=COLOURS[0], label="dictionary")
    nmse.set_title("NMSE")
    nmse.set_yscale("log")
    for axis in (active, nmse):
        axis.set_xticks(list(layers))
        _finish(axis, "layer")
    return figure


@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """One dictionary of a sweep."""

    series: str
    """What its points are joined under, e.g. `cross-layer, 1,024 features`."""
    aim: float
    """The setting that was swept."""
    l0: float
    figures: Mapping[str, float]
    """nmse, kl, top1_match, ce_recovered and, where graphs were traced, replacement and completeness."""


PANELS = (
    ("nmse", "NMSE", True),
    ("kl", "KL(model ‖ replaced), nats", True),
    ("top1_match", "same first choice", False),
    ("ce_recovered", "CE recovered", False),
    ("replacement", "replacement score", False),
    ("completeness", "completeness", False),
)


def draw_frontier(
    points: Sequence[FrontierPoint], path: Path, *, references: Mapping[str, float] | None = None
) -> Path:
    """Fidelity over active features, a line a series; `references` are the levels that affine maps reach."""
    shown = [panel for panel in PANELS if any(panel[0] in point.figures for point in points)]
    columns = min(3, len(shown))
    figure, axes = _panels(-(-len(shown) // columns), columns)
    series = list(dict.fromkeys(point.series for point in points))
    for axis, (name, title, is_log) in zip(axes.flat, shown, strict=False):
        for colour, label in zip(COLOURS, series, strict=False):
            line = sorted((p.l0, p.figures[name]) for p in points if p.series == label and name in p.figures)
            axis.plot(*zip(*line, strict=True), "o-", color=colour, label=label, markersize=5)
        level = (references or {}).get(name)
        if level is not None and _is_near(level, [p.figures[name] for p in points if name in p.figures], is_log):
            axis.axhline(level, color=GREY, linestyle="--", linewidth=1, label="affine maps")
        axis.set_title(title)
        if is_log:
            axis.set_yscale("log")
        _finish(axis, "active features a token and layer")
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    return _save(figure, path)


def _is_near(level: float, values: Sequence[float], is_log: bool) -> bool:
    """Whether a level can be shown without pressing the points together."""
    low, high = min(values), max(values)
    return low / 30 < level < high * 30 if is_log else low - 4 * (high - low) < level < high + 4 * (high - low)


class _Series:
    """Figures over steps."""

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self.records = records

    def draw(self, axis: "Axes", name: str, label: str, colour: str, *, width: float = 1.6, style: str = "-") -> None:
        points = [(r["step"], r[name]) for r in self.records if r.get(name) is not None]
        if points:
            marker = "o" if len(points) < 3 else None
            axis.plot(
                *zip(*points, strict=True), linestyle=style, color=colour, linewidth=width, label=label, marker=marker
            )


def _mark_phases(axis: "Axes", records: Sequence[Mapping[str, Any]]) -> None:
    """A line where one phase ends and the next begins: their losses are not of one kind."""
    for before, after in pairwise(records):
        if before["phase"] != after["phase"]:
            axis.axvline(after["step"], color=GREY, linestyle=":", linewidth=1, label=f"{after['phase']} begins")


def _panels(rows: int, columns: int) -> "tuple[Figure, Any]":
    if not can_draw():
        raise UsageError("drawing needs matplotlib, which is not installed; pip install matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * columns, 3.2 * rows), layout="constrained", dpi=120)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _finish(axis: "Axes", x: str) -> None:
    axis.set_xlabel(x, color=INK, fontsize=9.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.title.set_fontsize(11)
    if axis.get_yscale() == "log":
        _label_plainly(axis)
    axis.tick_params(labelsize=8.5)
    if len(axis.get_legend_handles_labels()[0]) > 1:
        axis.legend(frameon=False, fontsize=8.5)


def _label_plainly(axis: "Axes") -> None:
    """0.02 rather than 2 × 10⁻², at the ticks that matplotlib would label."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axis.yaxis.set_major_formatter(Plain())
    axis.yaxis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(2, 0.4)))
    axis.tick_params(axis="y", which="minor", labelsize=8.5)


def _save(figure: "Figure", path: Path) -> Path:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_bytes_whole(path, picture.getvalue())
    return path

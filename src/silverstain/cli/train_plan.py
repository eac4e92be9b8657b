"""`train --dry-run`: what training would take."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from silverstain.cli import output

if TYPE_CHECKING:
    from silverstain.training.planning import TrainingPlan


def tell_training_plan(plan: "TrainingPlan", *, json: bool) -> None:
    """Print a plan: a table, or one JSON object with its fields."""
    if json:
        output.emit(asdict(plan))
        return
    parts = ", ".join(f"{name} {_size(size)}" for name, size in plan.parts.items())
    rows = [
        ["dictionary", f"{plan.parameters:,} parameters"],
        ["text", f"{plan.harvested:,} tokens run through the model, {plan.tokens:,} tokens in {plan.steps:,} steps"],
        ["work", f"{plan.operations / 1e12:,.2f} trillion operations{_time(plan.seconds)}"],
        ["memory", f"{_size(plan.bytes)} above the loaded model at the peak ({parts})"],
    ]
    output.data(output.table(rows))
    output.talk("\nNothing was trained. --features and --steps make it smaller; --set pool_rows=N takes less memory.")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.0f} MB"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes = seconds / 60
    words = f"{seconds:.0f} s" if seconds < 90 else f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
    return f", about {words} on this machine as it is now"

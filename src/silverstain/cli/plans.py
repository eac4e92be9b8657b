"""What a trace or a training would take, as `--dry-run` says it: a table, or one JSON object with the plan's fields."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from silverstain.cli import output

if TYPE_CHECKING:
    from silverstain.attribution.plan import Plan
    from silverstain.training.planning import TrainingPlan


def tell_plan(plan: "Plan", *, json: bool) -> None:
    """Print what a trace would take."""
    work = f"{plan.operations / 1e9:,.1f} billion operations, about {output.duration(plan.seconds)} on this machine"
    rows = [
        ["prompt", f"{plan.tokens:,} tokens, {plan.active:,} active features"],
        ["graph", f"{plan.nodes:,} nodes, {plan.rows:,} of them with a row; {plan.expanded:,} features"],
        ["work", work],
        ["memory", f"at most {output.size(plan.bytes)} above the loaded model"],
    ]
    _tell(plan, rows, "Nothing was traced. --max-features N makes the graph smaller.", json=json)


def tell_training_plan(plan: "TrainingPlan", *, kind: str) -> None:
    """Print what training would take, but for its time."""
    parts = ", ".join(f"{name} {output.size(size)}" for name, size in plan.parts.items())
    rows = [
        ["dictionary", f"{kind}, {plan.parameters:,} parameters"],
        ["text", f"{plan.harvested:,} tokens run through the model, {plan.tokens:,} tokens in {plan.steps:,} steps"],
        ["work", f"{plan.operations / 1e12:,.2f} trillion operations"],
        ["memory", f"{output.size(plan.bytes)} above the loaded model at the peak ({parts})"],
    ]
    output.data(output.table(rows))
    sys.stdout.flush()


def tell_training_time(plan: "TrainingPlan", *, kind: str, json: bool) -> None:
    """Print how long it would take; the whole plan where JSON is asked for."""
    time = "unknown" if plan.seconds is None else f"about {output.duration(plan.seconds)} on this machine as it is now"
    advice = "Nothing was trained. --features and --steps make it smaller; --set pool_rows=N takes less memory."
    if json:
        output.emit({"kind": kind, **asdict(plan)})
        return
    output.data(output.table([["time      ", time]]))
    output.talk(f"\n{advice}")


def _tell(plan: "Plan", rows: Sequence[Sequence[str]], advice: str, *, json: bool) -> None:
    if json:
        output.emit(asdict(plan))
        return
    output.data(output.table(rows))
    output.talk(f"\n{advice}")

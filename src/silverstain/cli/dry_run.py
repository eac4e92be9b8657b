"""`trace --dry-run`: what a trace would take."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from silverstain.cli import output

if TYPE_CHECKING:
    from silverstain.attribution.plan import Plan


def tell_plan(plan: "Plan", *, json: bool) -> None:
    """Print a plan: a table, or one JSON object with its fields."""
    if json:
        output.emit(asdict(plan))
        return
    rows = [
        ["prompt", f"{plan.tokens:,} tokens, {plan.active:,} active features"],
        ["graph", f"{plan.nodes:,} nodes, {plan.rows:,} of them with a row; {plan.expanded:,} features"],
        ["work", f"{plan.operations / 1e9:,.1f} billion operations, about {_duration(plan.seconds)} on this machine"],
        ["memory", f"at most {plan.bytes / 1e9:.2f} GB above the loaded model"],
    ]
    output.data(output.table(rows))
    output.talk("\nNothing was traced. --max-features N makes the graph smaller.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds >= 0.1 else "0.1 s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"

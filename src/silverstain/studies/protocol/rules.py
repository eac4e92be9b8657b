"""The bars that every study is held to, and the verdict that follows from its figures. All of it is fixed in advance.

    not applicable  the model cannot do the task (its gate), or lacks what the study is about
    undecided       no control could be run, or nothing was measured that has to be shown
    fail            a figure is not as it must be; which, is said
    pass            everything that counts is as it must be

A control counts only where its own gate passes: a model that cannot do what the control needs shows nothing by failing.
"""

from collections.abc import Sequence
from typing import Literal

from .values import Measure

Verdict = Literal["pass", "fail", "not applicable", "undecided"]

GATE = 0.9
"""Accuracy on the prompts of a family, below which a study does not apply."""
TARGET_LOW = 0.70
"""The lower end of a target's interval."""
CONTROL = 0.10
"""The most that a control may show."""
SPECIFICITY = 0.8
RECALL = 0.9
SEPARATION = 0.9
"""AUROC with which the members of a supernode tell a value from the others on held-out prompts."""
FEWEST = 20
"""Prompts of the test prompts, below which an interval says too little."""
LEAST_REPLACEMENT = 0.3
"""Replacement score of the graphs, below which a basis is too poor to judge by."""


def verdict_of(measures: Sequence[Measure]) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict, and every reason for it that is not a success."""
    failed_gates = [one for one in measures if one.role == "gate" and one.holds is False]
    if failed_gates:
        return "not applicable", tuple(f"{one.name}: {_said(one)}" for one in failed_gates)
    failed = [one for one in measures if one.role not in ("gate", "reported") and one.holds is False]
    if failed:
        return "fail", tuple(f"{one.name}: {_said(one)}" for one in failed)
    missing = [what for what in ("target", "control") if not any(one.role == what and one.counts for one in measures)]
    if missing:
        return "undecided", tuple(f"no {what} could be measured" for what in missing)
    return "pass", ()


def _said(one: Measure) -> str:
    """A figure beside its bar."""
    value = "nothing" if one.value is None else f"{one.value:.2f}"
    interval = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
    side = "at most" if one.role == "control" else "at least"
    low = "" if one.low_bar is None else f", its lower end {one.low_bar:.2f}"
    return f"{value}{interval} where it must be {side} {one.bar:.2f}{low}"

"""The rule that tells a feature's contexts from others best, found from examples.

Conditions are added one by one, as long as each makes the rule clearly better: its worth is mostly the balanced
accuracy, in which rare features and common ones count alike, and for a part F1 at the feature's own density, without
which a rare feature would have a rule that mostly holds elsewhere. What a set of tokens
is worth is what it says of each context when that context is left out: a token that is in the set because of this very
context counts as missed.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from silverstain.features.rows import BEFORE
from silverstain.features.rules import TokenClasses, _holds

MOST_CONDITIONS = 2
OF_F1 = 0.25
"""Weight of F1 in what a rule is worth; balanced accuracy has the rest."""
GAIN = 0.02
"""Worth that a further condition has to add."""
FARTHER = {0: 0.0, -1: 0.005, 1: 0.01, -2: 0.01, -3: 0.015}
"""What a condition must be better by than one on the token itself."""
MOST_BEFORE = 12
CANDIDATES = 40


class Learned(NamedTuple):
    """A rule, and the balanced accuracy it is expected to have on other contexts, from those it was learnt on."""

    rule: dict[str, Any]
    accuracy: float


class _Option(NamedTuple):
    condition: dict[str, Any]
    hits: float
    """Feature's contexts in which it would hold were they not known."""
    false: int


def learn_rule(
    active: Int[np.ndarray, "n width"], others: Int[np.ndarray, "m width"], classes: TokenClasses, density: float
) -> Learned | None:
    """From windows around places where a feature is active and around others; None where no condition helps.

    `density` is the share of all places at which it is active.
    """
    n, m = len(active), len(others)
    if not n or not m:
        return None
    conditions: list[dict[str, Any]] = []
    best, share, accuracy = worth_of(1.0, 1.0, density), 1.0, 0.5
    # share: of the hits so far that would be hits on other contexts
    for _ in range(MOST_CONDITIONS):
        found: tuple[float, float, float, dict[str, Any]] | None = None
        taken = {one.get("at", "before") for one in conditions}
        for option in _options(active, others, classes):
            if option.condition.get("at", "before") in taken:
                continue
            kept = share * option.hits / max(len(active), 1)
            hits, false = kept * len(active) / n, option.false / m
            worth = worth_of(hits, max(false, 0.3 / m), density) - FARTHER.get(option.condition.get("at", -3), 0.015)
            if found is None or worth > found[0]:
                found = (worth, kept, (hits + 1 - false) / 2, option.condition)
        if found is None or found[0] < best + GAIN:
            break
        best, share, accuracy, condition = found
        conditions.append(condition)
        holds = _holds(condition, active, classes)
        share = min(1.0, share * len(active) / max(int(holds.sum()), 1))
        active, others = active[holds], others[_holds(condition, others, classes)]
        if not len(others) or len(active) < 4:
            break
    return Learned({"all": conditions}, accuracy) if conditions else None


def worth_of(hits: float, false: float, density: float) -> float:
    """What a rule is worth that holds in these shares of a feature's contexts and of others."""
    true = hits * density
    f1 = 2 * true / (true + false * (1 - density) + density)
    return (1 - OF_F1) * (hits + 1 - false) / 2 + OF_F1 * f1


def _options(
    active: Int[np.ndarray, "n width"], others: Int[np.ndarray, "m width"], classes: TokenClasses
) -> Iterator[_Option]:
    for at in FARTHER:
        here, there = active[:, BEFORE + at], others[:, BEFORE + at]
        tokens, counts = np.unique(here, return_counts=True)
        ranked = np.sort(there)
        elsewhere = np.searchsorted(ranked, tokens, side="right") - np.searchsorted(ranked, tokens, side="left")
        n, m = len(active), len(others)
        telling = (counts / n > (elsewhere + 0.5) / (m + 1)) & (tokens >= 0)
        if telling.any():
            order = np.argsort(-counts[telling], kind="stable")
            hits = counts[((counts - 1) / n > (elsewhere + 0.5) / (m + 1)) & (tokens >= 0)].sum()
            false = elsewhere[(counts / n > (elsewhere - 0.5) / m) & (tokens >= 0)].sum()
            yield _Option({"at": at, "tokens": tokens[telling][order].tolist()}, float(hits), int(false))
        if abs(at) <= 1:
            for name, members in classes.members.items():
                hits = members[here].sum()
                if hits > len(active) / 4:
                    yield _Option({"at": at, "class": name}, float(hits), int(members[there].sum()))
    before = _before(active, others)
    if before is not None:
        yield before


def _before(active: Int[np.ndarray, "n width"], others: Int[np.ndarray, "m width"]) -> _Option | None:
    """Tokens of which one stands before, added one by one while that helps."""
    contained, tokens = _contained(active[:, :BEFORE])
    counts = contained.sum(0)
    kept = counts > 1
    if not kept.any():
        return None
    there = _contained_of(others[:, :BEFORE], tokens[kept])
    contained, tokens = contained[:, kept], tokens[kept]
    telling = contained.mean(0) - there.mean(0)
    order = np.argsort(-telling, kind="stable")[:CANDIDATES]
    contained, there, tokens = contained[:, order], there[:, order], tokens[order]
    hit, false = np.zeros(len(active), dtype=bool), np.zeros(len(others), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < MOST_BEFORE:
        gains = ((contained[~hit].sum(0) - 1) / len(active)) - ((there[~false].sum(0) + 1) / len(others))
        one = int(np.argmax(gains))
        if gains[one] < 0.01:
            break
        chosen.append(one)
        hit |= contained[:, one]
        false |= there[:, one]
    if not chosen:
        return None
    return _Option({"before": tokens[chosen].tolist()}, float(hit.sum() - len(chosen)), int(false.sum()) + len(chosen))


def _contained(windows: Int[np.ndarray, "n before"]) -> tuple[Bool[np.ndarray, "n token"], Int[np.ndarray, " token"]]:
    tokens = np.unique(windows)
    tokens = tokens[tokens >= 0]
    return _contained_of(windows, tokens), tokens


def _contained_of(
    windows: Int[np.ndarray, "n before"], tokens: Int[np.ndarray, " token"]
) -> Bool[np.ndarray, "n token"]:
    """Which of some tokens, ascending, each window holds."""
    out = np.zeros((len(windows), len(tokens) + 1), dtype=bool)
    at = np.clip(np.searchsorted(tokens, windows), 0, max(len(tokens) - 1, 0))
    found = np.where(tokens[at] == windows, at, len(tokens)) if len(tokens) else np.zeros_like(windows)
    np.put_along_axis(out, found, True, axis=1)
    return out[:, :-1]

"""Labels for all cards, made by rule from examples and from written tokens, and tested on contexts held out.

A label is data: a text, a kind (any word), the sign of the activation it is about, scores, and the evidence: what can
be tested (`rules`) and what it was made from. Which of several stands first is decided by the contexts that they were
made from, never by those that test them.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer

from silverstain.bases import Basis
from silverstain.features.card_table import CardTable
from silverstain.features.chance import SHUFFLES, ChanceAccuracy
from silverstain.features.explainer import Explainer
from silverstain.features.histogram import quantiles
from silverstain.features.label_tests import FEWEST, Contexts, LabelScores, score_rule
from silverstain.features.output import written_ids
from silverstain.features.rows import BEFORE, mix
from silverstain.features.rule_learning import learn_rule
from silverstain.features.rules import Rule, TokenClasses, matches, rule_text
from silverstain.features.streaming import Seen
from silverstain.models import LanguageModel

STRONG = 0.99
"""A neuron counts as active where it is as strong, on one side, as at this share of places and more."""
BETTER_THAN_A_GUESS = 0.55
N_CONTROLS = 500
SHOWN_TO_MODEL = 12
"""Examples that a language model is shown."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One side of one feature, as labels are made and tested."""

    layer: int
    feature: int
    sign: int
    shown: Int[np.ndarray, "n width"]
    shown_others: Int[np.ndarray, "m width"]
    held: Contexts
    strength: float
    """Σ activation² over the sampled places where it is active."""


def label_cards(
    cards: CardTable,
    seen: Seen,
    model: LanguageModel,
    basis: Basis,
    *,
    explainer: Explainer | None = None,
    shuffles: int = SHUFFLES,
    on_progress: Callable[[int, int], None] | None = None,
) -> CardTable:
    """The cards with labels, strongest side and best rule first, behind them what is hardly more than a guess.

    What shuffled labels would score stands in the meta, under `random_label_detection`. A rule names a feature if it is
    better than the rules of so many `shuffles` of which places are its own. An `explainer` is asked about the features
    of most energy, as many as it may be.
    """
    classes = TokenClasses(model.token_strings(range(model.d_vocab)))
    chance = ChanceAccuracy.of(seen, classes, shuffles=shuffles)
    labels: dict[tuple[int, int], list[dict[str, Any]]] = {}
    tested: list[tuple[Rule, Contexts]] = []
    n_layers = seen.tally.sizes.n_layers
    asked_about = _asked_about(cards, explainer)
    alive = {int(key) for key in cards.key}
    for layer in range(n_layers):
        features = [key % cards.n_features for key in alive if key // cards.n_features == layer]
        writes = _written(model, basis, layer, features, seen.tally.sizes.sides)
        for unit in units_of(seen, layer, sorted(features)):
            found = labels_of(unit, classes, writes.get((unit.feature, unit.sign)), chance)
            if explainer is not None and (layer, unit.feature) in asked_about:
                found = [*explained(unit, explainer, classes), *found]
            if found:
                labels.setdefault((layer, unit.feature), []).extend(found)
                first = json.loads(found[0]["evidence"]).get("rule")
                if first is not None and found[0]["score"] is not None:
                    tested.append((first, unit.held))
        if on_progress is not None:
            on_progress(layer + 1, n_layers)
    for some in labels.values():
        some.sort(key=lambda label: (is_a_guess(label), -label.pop("_order")))
    control = random_label_control(tested, classes)
    return cards.with_labels(labels, random_label_detection=control, labels_tested=len(tested))


def is_a_guess(label: Mapping[str, Any]) -> bool:
    """Whether a label is hardly better than a guess on the contexts that it was made from, as what a neuron writes
    often says nothing of where it is active. It stands behind all others."""
    return json.loads(label["evidence"]).get("shown", 1.0) < BETTER_THAN_A_GUESS


def labels_of(
    unit: Unit, classes: TokenClasses, writes: tuple[int, ...] | None, chance: ChanceAccuracy
) -> list[dict[str, Any]]:
    """All labels of one side, the one that fits the contexts shown best in front; none by rules that are no better than
    those of places at random (`chance`)."""
    proposals: list[tuple[float, str, str, Rule]] = []
    learned = learn_rule(unit.shown, unit.shown_others, classes, unit.held.density)
    bar = chance.bar(len(unit.shown), len(unit.shown_others))
    if learned is not None and learned.accuracy > bar:
        proposals.append((learned.accuracy, "context", rule_text(learned.rule, classes), learned.rule))
    if writes:
        rule = {"all": [{"at": 1, "tokens": list(writes)}]}
        hits, false = matches(rule, unit.shown, classes).mean(), matches(rule, unit.shown_others, classes).mean()
        named = ", ".join(classes.strings[token].strip() or classes.strings[token] for token in writes[:3])
        proposals.append((float(hits + 1 - false) / 2, "writes", f"writes {named}", rule))
    if not proposals:
        return []
    proposals.sort(key=lambda one: -one[0])
    return [
        label_entry(
            text, kind, sign=unit.sign, source="examples" if kind == "context" else "weights",
            scores=score_rule(rule, unit.held, classes), order=unit.strength - rank * 1e-6 * unit.strength,
            evidence={"rule": rule, "shown": round(accuracy, 4), "by_chance": round(bar, 4),
                      "contexts": len(unit.shown)},
        )
        for rank, (accuracy, kind, text, rule) in enumerate(proposals)
    ]  # fmt: skip


def explained(unit: Unit, explainer: Explainer, classes: TokenClasses) -> list[dict[str, Any]]:
    """The label that a language model gives, tested by the tokens that it names."""
    examples = []
    for window in unit.shown[:SHOWN_TO_MODEL]:
        inside = window >= 0
        examples.append(([classes.strings[token] for token in window[inside]], int(inside[:BEFORE].sum())))
    answer = explainer.explain(examples)
    if answer is None:
        return []
    wanted = {token.strip() for token in answer.tokens}
    ids = [token for token, text in enumerate(classes.strings) if text.strip("Ġ▁ ") in wanted]
    rule = {"all": [{"at": 0, "tokens": ids}]} if ids else None
    scores = None if rule is None else score_rule(rule, unit.held, classes)
    evidence = {"rule": rule, "model": explainer.model, "tokens": list(answer.tokens)}
    order = unit.strength * 1.000001
    return [
        label_entry(
            answer.text, "model", sign=unit.sign, source=explainer.url, scores=scores, order=order, evidence=evidence
        )
    ]


def _asked_about(cards: CardTable, explainer: Explainer | None) -> set[tuple[int, int]]:
    if explainer is None:
        return set()
    return set(cards.most_active(explainer.most))


def label_entry(
    text: str,
    kind: str,
    *,
    sign: int = 1,
    source: str,
    evidence: dict[str, Any],
    scores: LabelScores | None = None,
    score: float | None = None,
    order: float = 0.0,
) -> dict[str, Any]:
    """A label as the table has it."""
    return {
        "text": text, "kind": kind, "sign": sign, "source": source,
        "score": score if scores is None else scores.detection,
        "precision": None if scores is None else scores.precision, "recall": None if scores is None else scores.recall,
        "f1": None if scores is None else scores.f1, "auroc": None if scores is None else scores.detection,
        "support": 0 if scores is None else scores.n_active,
        "scores": json.dumps({} if scores is None else scores.to_json()), "evidence": json.dumps(evidence),
        "_order": order,
    }  # fmt: skip


def random_label_control(tested: list[tuple[Rule, Contexts]], classes: TokenClasses) -> float | None:
    """What labels score on other features than their own, on average: about one half."""
    if len(tested) < 2:
        return None
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(tested))[:N_CONTROLS]
    other = (rows + 1 + rng.integers(0, len(tested) - 1, len(rows))) % len(tested)
    found = [score_rule(tested[j][0], tested[i][1], classes).detection for i, j in zip(rows, other, strict=True)]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def units_of(seen: Seen, layer: int, features: list[int]) -> Iterator[Unit]:
    """The sides of some features of a layer that were active often enough to be named and tested."""
    arrays, sizes, text = seen.tally.arrays, seen.tally.sizes, seen.text
    pool_place = arrays["pool_place"]
    there = pool_place >= 0
    pool_windows, pool_held = text.windows(pool_place[there]), _held_at(seen, pool_place[there])
    for feature in features:
        pool = arrays["pool"][layer, there, feature].astype(np.float32)
        for side in range(sizes.sides):
            sign, unit = (-1, feature * 2 + 1) if side else (1, feature * sizes.sides)
            least = threshold(arrays["histogram"][layer, feature], sign, sizes.is_signed)
            if least is None:
                continue
            is_other = pool * sign < least if sizes.is_signed else pool <= 0
            shown = text.one_a_row(_active_places(arrays, "shown", layer, unit, sign, least))
            held = _active_places(arrays, "held", layer, unit, sign, least)
            if len(shown) < FEWEST:
                continue
            values = arrays["shown.value"][layer, unit]
            density = 1 - STRONG if sizes.is_signed else float(arrays["count"][layer, feature]) / text.n_places
            yield Unit(
                layer=layer,
                feature=feature,
                sign=sign,
                shown=text.windows(shown),
                shown_others=pool_windows[is_other & ~pool_held],
                held=Contexts(
                    active=text.windows(held),
                    others=pool_windows[is_other & pool_held],
                    moved=_moved(seen, layer, unit, sign, least),
                    density=density,
                ),
                strength=float(np.square(values[arrays["shown.place"][layer, unit] >= 0]).sum()),
            )


def threshold(counts: Integer[np.ndarray, " bin"], sign: int, is_signed: bool) -> float | None:
    """The activation from which a side counts as active; None where it never does."""
    if not is_signed:
        return 0.0
    share = STRONG if sign > 0 else 1 - STRONG
    least = float(quantiles(counts, np.array([share]), True)[0]) * sign
    return least if least > 0 else None


def _active_places(
    arrays: dict[str, np.ndarray], name: str, layer: int, unit: int, sign: int, least: float
) -> Int[np.ndarray, " n"]:
    place, value = arrays[f"{name}.place"][layer, unit], arrays[f"{name}.value"][layer, unit]
    return place[(place >= 0) & (value * sign > 0) & (value * sign >= least)]


def _moved(seen: Seen, layer: int, unit: int, sign: int, least: float) -> Int[np.ndarray, "k width"]:
    """Windows of the held contexts, each moved to a token near at which the feature is not active."""
    arrays, text = seen.tally.arrays, seen.text
    place, value = arrays["held.place"][layer, unit], arrays["held.value"][layer, unit]
    kept = (place >= 0) & (value * sign >= least) & (value * sign > 0)
    place, around = place[kept], arrays["held.around"][layer, unit][kept].astype(np.float32) * sign
    windows = text.windows(place)
    at = place[:, None] + np.arange(windows.shape[1]) - BEFORE
    counts = text.counts[np.clip(at, 0, len(text.counts) - 1)]
    quiet: Bool[np.ndarray, "n width"] = (windows >= 0) & counts & (around < max(least, np.finfo(np.float16).tiny))
    quiet[:, BEFORE] = False
    place, quiet = place[quiet.any(1)], quiet[quiet.any(1)]
    if not len(place):
        return np.zeros((0, windows.shape[1]), dtype=np.int64)
    order: Float[np.ndarray, "n width"] = np.where(
        quiet, mix((place[:, None] * 64 + np.arange(quiet.shape[1])).astype(np.uint64)) / 2.0**64, 2.0
    )
    return text.windows(place + order.argmin(1) - BEFORE)


def _held_at(seen: Seen, place: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    return seen.text.is_held_out()[place]


def _written(
    model: LanguageModel, basis: Basis, layer: int, features: list[int], sides: int
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Ids of the tokens that features write so strongly that these name them, by feature and sign."""
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    places = [(layer, feature) for feature in features]
    for sign in (1, -1)[:sides]:
        negative = set(places) if sign < 0 else set()
        with torch.no_grad():
            ids = written_ids(model, basis, places, negative=negative)
        found |= {(feature, sign): tokens for (_, feature), tokens in ids.items()}
    return found

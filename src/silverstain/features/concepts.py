"""Features named by concepts: a table of prompts whose columns say what holds of each.

    prompt,state,town
    the capital of the state containing dallas is,texas,dallas

A concept is a value of a column: state = texas. A feature stands for it when it is active in prompts where it holds and
not in others. Some columns are finer than others, as a town is than its state: then the towns, not the prompts, are
divided into those that concepts are found on and those that test them, and a concept must hold for most towns that test
it: a feature that is active for one town of Texas is called by the town.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.features.card_table import CardTable
from silverstain.features.matching import auroc
from silverstain.features.naming import label_entry
from silverstain.features.rows import chunks_of, rows_of
from silverstain.features.visiting import visit_layers
from silverstain.models import LanguageModel
from silverstain.parts import shown_path
from silverstain.printable import printable
from silverstain.storage import broken_file, check_is_file

PROMPT = "prompt"
FEWEST = 3
"""Prompts of a concept, on either side, that it needs."""
HELD_OUT = 0.4
MIN_F1 = 0.5
MIN_COVERED = 0.5
"""Share of a concept's held-out finer values for which the feature must be active."""
CANDIDATES = 4


@brief
@dataclass(frozen=True, kw_only=True)
class Concepts:
    """Prompts, and what holds of each."""

    prompts: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    """By name, a value a prompt; "" where nothing is said."""


@brief
@dataclass(frozen=True, kw_only=True)
class ConceptMatch:
    """The concept that fits a feature best, by prompts that it was found on, and its figures on others."""

    column: str
    value: str
    sign: int
    precision: float
    recall: float
    f1: float
    auroc: float
    covered: float
    """Share of the held-out finer values for which the feature is active; of prompts where no column is finer."""
    support: int
    threshold: float

    @property
    def text(self) -> str:
        return f"{self.column} = {self.value}"


def read_concepts(path: str | Path) -> Concepts:
    """A table of prompts, CSV or JSONL by its content; UsageError for what is no such table."""
    path = Path(path)
    check_is_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise broken_file(path, error) from error
    if text.lstrip().startswith("{"):
        rows = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    row = parsed_json(line)
                except ValueError as error:
                    raise UsageError(
                        f"{shown_path(path)}, line {number} is no JSON; write one object a line"
                    ) from error
                rows.append(row if isinstance(row, dict) else {})
    else:
        rows = list(csv.DictReader(io.StringIO(text)))
    return concepts_of(rows, shown_path(path))


def concepts_of(rows: Sequence[Mapping[str, Any]], name: str = "the table") -> Concepts:
    """The same from rows; a prompt that stands there twice with other values is refused."""
    seen: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, 1):
        prompt = row.get(PROMPT)
        if not isinstance(prompt, str) or not prompt.strip():
            raise UsageError(f"{name}, row {number} has no {PROMPT}; give a table of prompts with columns")
        values = {str(k): "" if v is None else str(v) for k, v in row.items() if k != PROMPT and k is not None}
        if seen.setdefault(prompt, values) != values:
            raise UsageError(f"{name} has {printable(prompt, 80)!r} twice with different values; keep one")
    names = list(dict.fromkeys(column for values in seen.values() for column in values))
    if not names:
        raise UsageError(f"{name} has no column beside {PROMPT}; say what holds of each prompt")
    columns = {column: tuple(values.get(column, "") for values in seen.values()) for column in names}
    return Concepts(prompts=tuple(seen), columns=columns)


def label_by_concepts(cards: CardTable, model: LanguageModel, basis: Basis, concepts: Concepts) -> CardTable:
    """The cards with a label "column = value" in front where a concept fits a feature, held-out figures beside it."""
    found = concept_matches(model, basis, concepts)
    labels: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for (layer, feature), match in found.items():
        if cards.row(layer, feature) is not None:
            label = label_entry(
                match.text, "concept", sign=match.sign, source="concepts", score=match.auroc,
                evidence={
                    "concept": [match.column, match.value], "threshold": match.threshold, "covered": match.covered,
                },
            )  # fmt: skip
            del label["_order"]
            figures = ("precision", "recall", "f1", "auroc", "support")
            labels[layer, feature] = [label | {name: getattr(match, name) for name in figures}]
    return cards.with_labels(labels, concept_columns=sorted(concepts.columns), concept_prompts=len(concepts.prompts))


def concept_matches(model: LanguageModel, basis: Basis, concepts: Concepts) -> dict[tuple[int, int], ConceptMatch]:
    """The best concept of every feature (layer, feature) that has one."""
    classes, held, parts = _classes(concepts)
    if not classes:
        raise UsageError(
            f"no value of any column has {FEWEST} prompts to find it on and {FEWEST} to test it; give more prompts"
        )
    found: dict[tuple[int, int], ConceptMatch] = {}
    for layer, strongest in enumerate(_strongest(model, basis, concepts.prompts)):
        for sign in (1, -1) if basis.is_dense else (1,):
            for feature, match in _layer_matches(strongest * sign, classes, held, parts, sign, basis.is_dense):
                old = found.get((layer, feature))
                if old is None or match.f1 > old.f1:
                    found[layer, feature] = match
    return found


def _strongest(model: LanguageModel, basis: Basis, prompts: Sequence[str]) -> list[Float[np.ndarray, "prompt feature"]]:
    """The activation of largest size of every feature in each prompt, layer by layer."""
    ids = [model.tokenize(prompt) for prompt in prompts]
    starts = np.cumsum([0, *map(len, ids)])
    found = [np.zeros((len(ids), basis.n_features), dtype=np.float32) for _ in range(basis.n_layers)]
    for chunk in chunks_of(rows_of([(row, None, None) for row in ids], n_real=model.n_real), model):
        for batch in chunk.batches:
            number = np.searchsorted(starts, batch.place.max(1), side="right") - 1
            counts = torch.from_numpy(batch.counts)[..., None]

            def see(layer: int, a: torch.Tensor, number: Any = number, counts: torch.Tensor = counts) -> None:
                a = a.float().cpu() * counts
                high, low = a.amax(1), a.amin(1)
                found[layer][number] = torch.where(high >= -low, high, low).numpy()

            visit_layers(model, basis, torch.from_numpy(batch.token_ids), see)
    return found


@dataclass(frozen=True, kw_only=True)
class _Class:
    column: str
    value: str
    members: Bool[np.ndarray, " prompt"]
    among: Bool[np.ndarray, " prompt"]
    """Prompts of which the column says anything."""
    finer: str | None


def _classes(concepts: Concepts) -> tuple[list[_Class], dict[str, Bool[np.ndarray, " prompt"]], Mapping[str, Any]]:
    """Concepts with enough prompts on both sides; which prompts are held out, for each column that divides them; and
    the values of all columns."""
    columns = {name: np.array(values) for name, values in concepts.columns.items()}
    finer = {name: _finer(name, columns) for name in columns}
    held = {
        name: _held_out(columns[finer[name] or name] if finer[name] else np.array(concepts.prompts)) for name in columns
    }
    classes = []
    for name, values in columns.items():
        for value in sorted(set(values.tolist()) - {""}):
            members = values == value
            sides = [int((members & side).sum()) for side in (held[name], ~held[name])]
            if min(sides) >= FEWEST and not members[values != ""].all():
                classes.append(_Class(column=name, value=value, members=members, among=values != "", finer=finer[name]))
    return classes, held, columns


def _finer(name: str, columns: Mapping[str, np.ndarray]) -> str | None:
    """The column with the fewest values of which each decides this column's, and which has more of them."""
    own, best = columns[name], None
    for other, values in columns.items():
        both = (values != "") & (own != "")
        pairs, singles = set(zip(values[both], own[both], strict=True)), set(values[both])
        is_finer = other != name and len(pairs) == len(singles) and len(singles) > len(set(own[both]))
        if is_finer and both.sum() >= 0.5 * (own != "").sum() and (best is None or len(singles) < best[0]):
            best = (len(singles), other)
    return None if best is None else best[1]


def _held_out(values: np.ndarray) -> Bool[np.ndarray, " prompt"]:
    """Which prompts test concepts: by a number of their value's own text."""
    import hashlib

    numbers = [
        int.from_bytes(hashlib.blake2b(str(value).encode("utf-8", "replace"), digest_size=8).digest()) / 2**64
        for value in values
    ]
    return np.array(numbers) < HELD_OUT


def _layer_matches(
    values: Float[np.ndarray, "prompt feature"],
    classes: Sequence[_Class],
    held: Mapping[str, Bool[np.ndarray, " prompt"]],
    columns: Mapping[str, np.ndarray],
    sign: int,
    is_dense: bool,
) -> list[tuple[int, ConceptMatch]]:
    found = []
    areas = np.stack([_areas(values, one, ~held[one.column] & one.among) for one in classes])  # [class, feature]
    for feature in np.flatnonzero((areas.max(0) > 0.75) & (values.max(0) > 0)).tolist():
        best: tuple[float, float, _Class] | None = None
        for index in np.argsort(-areas[:, feature], kind="stable")[:CANDIDATES]:
            one = classes[index]
            fit = ~held[one.column] & one.among
            f1, least = _best_threshold(values[fit, feature], one.members[fit], is_dense)
            if best is None or f1 > best[0] + 1e-9:
                best = (f1, least, one)
        if best is None or best[0] < MIN_F1:
            continue
        match = _tested(values[:, feature], best[1], best[2], held[best[2].column] & best[2].among, columns, sign)
        if match is not None and match.f1 >= MIN_F1 and match.covered >= MIN_COVERED:
            found.append((feature, match))
    return found


def _areas(
    values: Float[np.ndarray, "prompt feature"], one: _Class, some: Bool[np.ndarray, " prompt"]
) -> Float[np.ndarray, " feature"]:
    """AUROC of every feature for a class, over some prompts: by ranks, ties in the middle."""
    from scipy.stats import rankdata

    inside = one.members[some]
    n, m = int(inside.sum()), int((~inside).sum())
    if not n or not m:
        return np.full(values.shape[1], 0.5)
    ranks = rankdata(values[some], axis=0)
    return (ranks[inside].sum(0) - n * (n + 1) / 2) / (n * m)


def _best_threshold(
    values: Float[np.ndarray, " prompt"], inside: Bool[np.ndarray, " prompt"], is_dense: bool
) -> tuple[float, float]:
    """F1 and the activation from which a prompt counts: the best one, above 0."""
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(inside[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + inside.sum())
    ends = np.append(values[order][1:] != values[order][:-1], True) & (values[order] > 0)
    if not ends.any():
        return 0.0, np.inf
    at = int(np.argmax(np.where(ends, f1, -1.0)))
    return float(f1[at]), float(values[order][at])


def _tested(
    values: Float[np.ndarray, " prompt"],
    least: float,
    one: _Class,
    some: Bool[np.ndarray, " prompt"],
    columns: Mapping[str, np.ndarray],
    sign: int,
) -> ConceptMatch | None:
    active, inside = values[some] >= least, one.members[some]
    n, hits = int(inside.sum()), int((active & inside).sum())
    if not n or not active.any():
        return None
    precision, recall = hits / int(active.sum()), hits / n
    by_value: dict[str, list[bool]] = defaultdict(list)
    for value, is_active in zip(
        (columns[one.finer] if one.finer else np.arange(len(values)))[some][inside].tolist(),
        active[inside],
        strict=True,
    ):
        by_value[str(value)].append(bool(is_active))
    positive = np.where(values[some] > 0, values[some], 0.0)
    return ConceptMatch(
        column=one.column, value=one.value, sign=sign, precision=precision, recall=recall,
        f1=2 * precision * recall / max(precision + recall, 1e-12),
        auroc=auroc(
            positive[inside][positive[inside] > 0], positive[~inside][positive[~inside] > 0], n, int((~inside).sum())
        ),
        covered=float(np.mean([np.mean(each) >= 0.5 for each in by_value.values()])),
        support=n, threshold=float(least) * sign,
    )  # fmt: skip

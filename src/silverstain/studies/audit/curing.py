"""From an audit to a treatment: later tokens no longer read the shortcut, wherever something like it stands.

A treatment is for prompts that nobody has seen, so it must know a shortcut by its features. Of the features of layer 0
that fire at a certain distance from the shortcut in the cheated prompts, the one that fires there most reliably and
elsewhere least marks it. Attention from later tokens is then cut in every layer above: to the shortcut's tokens, and to
those behind it whose units carry it on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.interventions.edits import PatternEdit
from silverstain.loading import ReplacementModel
from silverstain.models import harvest_mlps
from silverstain.studies.audit.auditing import FORMAT, Audit
from silverstain.studies.audit.mechanism import Carrier
from silverstain.studies.audit.spans import placed
from silverstain.studies.audit.spec import AuditPrompt, OutsideSpan, Span
from silverstain.treatment import Condition, Rule, Treatment, treatment_for
from silverstain.validation import FromOutside, ShortText, validated

BEFORE = 3
"""How many tokens before the shortcut its mark may stand."""
LEAST_MARKED = 0.9
"""Share of the cheated prompts in which the mark must fire."""
ELSEWHERE = 20.0
"""What firing on a token elsewhere counts, against firing at the shortcut."""
FEWEST = 2
"""Cheated prompts from which a mark is found."""


CARRIES = 0.05
"""Share of what the shortcut's units carry that a token behind it must have in its own, for it to be cut off too."""


class Marked(NamedTuple):
    """Where a shortcut stands in one prompt."""

    ids: list[int]
    first: int
    reached: int
    """The last of the tokens, one behind the other, whose units carry it."""


@dataclass(frozen=True, kw_only=True)
class Cheated:
    """A prompt whose answer comes from its shortcut, and the units that carry it."""

    prompt: AuditPrompt
    units: tuple[Carrier, ...]


class OutsideMechanism(FromOutside):
    verdict: ShortText


class OutsideAudited(FromOutside):
    id: ShortText
    prompt: str
    shortcut: list[OutsideSpan]
    mechanism: OutsideMechanism | None
    shortcut_units: list[dict[str, Any]]


class OutsideAudit(FromOutside):
    """An audit as `silverstain audit --out` writes it; of it, what a treatment is made of."""

    model_hash: ShortText
    basis_hash: ShortText
    prompts: list[OutsideAudited]


def cheated_of(audit: Audit) -> list[Cheated]:
    """The prompts of an audit that were cheated."""
    return [
        Cheated(prompt=one.prompt, units=one.shortcut_units)
        for one in audit.prompts
        if one.mechanism is not None and one.mechanism.verdict == "cheated"
    ]


def read_cheated(path: str | Path, loaded: ReplacementModel) -> list[Cheated]:
    """The same of a file; UsageError where it is damaged, or is of another model or another basis."""
    said = validated(OutsideAudit, read_json(path, FORMAT), path, "make the audit again")
    for what, theirs, ours in (
        ("model", said.model_hash, loaded.model.hash), ("dictionary", said.basis_hash, loaded.dictionary.hash),
    ):  # fmt: skip
        if theirs != ours:
            raise UsageError(f"the audit {path} is of another {what} (hash {theirs}) than the one loaded (hash {ours})")
    return [
        Cheated(
            prompt=AuditPrompt(
                id=one.id, prompt=one.prompt, shortcut=tuple(Span(text=s.text, nth=s.nth) for s in one.shortcut)
            ),
            units=tuple(validated(Carrier, unit, path, "make the audit again") for unit in one.shortcut_units),
        )
        for one in said.prompts
        if one.mechanism is not None and one.mechanism.verdict == "cheated"
    ]


def cure(loaded: ReplacementModel, cheated: Sequence[Cheated], *, name: str = "the shortcut is not read") -> Treatment:
    """The treatment for the shortcut that cheated prompts share. UsageError where there are too few, or no feature of
    layer 0 marks the shortcut."""
    model, dictionary = loaded.model, loaded.dictionary
    if len(cheated) < FEWEST:
        raise UsageError(
            f"the audit has {len(cheated)} cheated prompts; to find what they share, audit {FEWEST} or more"
        )
    places = [_marked(loaded, one) for one in cheated]
    feature, back = _mark(loaded, places)
    length = max(place.reached - place.first for place in places)
    inside = Condition(features=((0, feature),), first=back, last=back + length)
    heads = tuple((layer, head) for layer in range(1, model.n_layers) for head in range(model.n_heads))
    return treatment_for(model, dictionary, [Rule(edit=PatternEdit(op="ablate", heads=heads), when=inside)], name=name)


def _marked(loaded: ReplacementModel, one: Cheated) -> Marked:
    ids = loaded.model.tokenize(one.prompt.prompt)
    spans = placed(loaded.model, one.prompt, one.prompt.shortcut)
    at = sorted({position for span in spans for position in span.positions})
    total = sum(unit.share for unit in one.units)
    reached = at[-1]
    while reached + 1 < len(ids) - 1 and CARRIES * total < sum(
        unit.share for unit in one.units if unit.position == reached + 1
    ):
        reached += 1
    return Marked(ids, at[0], reached)


@torch.no_grad()
def _mark(loaded: ReplacementModel, places: Sequence[Marked]) -> tuple[int, int]:
    """The feature of layer 0 that marks the shortcut, and how many tokens before it."""
    model, dictionary = loaded.model, loaded.dictionary
    fired = []
    for place in places:
        inputs = harvest_mlps(model, torch.tensor([place.ids]), reads_at=dictionary.reads_at).mlp_inputs[0]
        fired.append(dictionary.encode_layer(0, inputs[0]) > 0)
    best: tuple[float, int, int] | None = None
    for back in range(BEFORE + 1):
        if any(place.first - back < model.n_real for place in places):
            continue
        there = torch.stack([on[place.first - back] for on, place in zip(fired, places, strict=True)]).double().mean(0)
        elsewhere = torch.cat(
            [
                on[[at for at in range(model.n_real, len(on)) if at != place.first - back]]
                for on, place in zip(fired, places, strict=True)
            ]
        ).double().mean(0)  # fmt: skip
        score = torch.where(there >= LEAST_MARKED, there - ELSEWHERE * elsewhere, -torch.inf)
        feature = int(score.argmax())
        if float(score[feature]) > (best[0] if best else -torch.inf):
            best = float(score[feature]), feature, back
    if best is None:
        raise UsageError(
            f"no feature of layer 0 fires at the shortcut, or up to {BEFORE} tokens before it, in "
            f"{100 * LEAST_MARKED:.0f} % of the cheated prompts; make the treatment by hand: silverstain treat make "
            "--edit"
        )
    return best[1], best[2]

"""An audit: every prompt traced and judged by its mechanism, then the real model asked again."""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from silverstain.attribution import TokenTarget, TraceSettings
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs import Graph, Origins, Story, origins
from silverstain.loading import ReplacementModel
from silverstain.models.last_logits import first_choices
from silverstain.printable import printable
from silverstain.statistics import Share, share_of
from silverstain.studies.audit.checks import Checks, Outcome, probability_without
from silverstain.studies.audit.mechanism import VERDICTS, Carrier, Mechanism, carriers, judged
from silverstain.studies.audit.proposing import Proposal, proposals
from silverstain.studies.audit.spans import Placed, check_apart, placed, with_other
from silverstain.studies.audit.spec import AuditPrompt, Span

FORMAT = "silverstain.audit/1"
MOST_PROPOSED = 5
MOST_CARRIERS = 20
"""Units of each side that are kept, and silenced together in the checks."""
MOST_GROUPS = 3
"""Groups of each side that are told."""


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """How an audit is made."""

    trace: TraceSettings = field(default_factory=TraceSettings)
    others: int = 4
    """Texts of other prompts that are put in a span's place, one after the other."""
    seed: int = 0
    checks: bool = True
    """Whether the real model is asked again; the verdict is the same."""

    def __post_init__(self) -> None:
        if self.others < 1:
            raise UsageError(f"others is {self.others}; ask with 1 other text or more")


@brief
@dataclass(frozen=True, kw_only=True)
class Audited:
    """What was found of one prompt."""

    prompt: AuditPrompt
    answer: str
    is_first: bool
    """The answer is the model's first choice."""
    mechanism: Mechanism | None
    """None where evidence or shortcut is not named."""
    proposals: tuple[Proposal, ...]
    """The words that the answer comes from, most first."""
    shortcut_units: tuple[Carrier, ...] = ()
    evidence_units: tuple[Carrier, ...] = ()
    shortcut_groups: tuple[tuple[str, float], ...] = ()
    """Label, and the share of the answer's input that comes from the shortcut and passes through the group."""
    evidence_groups: tuple[tuple[str, float], ...] = ()
    checks: Checks = field(default_factory=Checks)

    @property
    def outcome(self) -> Outcome:
        return "untested" if self.mechanism is None else self.checks.outcome(self.mechanism.verdict)

    def to_json(self) -> dict[str, Any]:
        said = {name: value for name, value in asdict(self).items() if name != "prompt"}
        spans = {side: [span.to_json() for span in getattr(self.prompt, side)] for side in ("evidence", "shortcut")}
        return {"id": self.prompt.id, "prompt": self.prompt.prompt, **spans, **said, "outcome": self.outcome}


@brief
@dataclass(frozen=True, kw_only=True)
class Audit:
    """All prompts of a file, and how often each verdict was given."""

    model: str
    model_hash: str
    basis: str
    basis_hash: str
    prompts: tuple[Audited, ...]

    def rates(self) -> dict[str, Share]:
        """Of the prompts with evidence and shortcut named, the share of each verdict, with Wilson's intervals."""
        given = [one.mechanism.verdict for one in self.prompts if one.mechanism is not None]
        return {verdict: share_of(given.count(verdict), len(given)) for verdict in VERDICTS} if given else {}

    def confirmed(self) -> Share | None:
        """Of the verdicts that the model's behaviour decides on, the share that it confirms."""
        decided = [one.outcome for one in self.prompts if one.outcome in ("confirmed", "contradicted")]
        return share_of(decided.count("confirmed"), len(decided)) if decided else None

    def to_json(self) -> dict[str, Any]:
        confirmed = self.confirmed()
        about = {name: getattr(self, name) for name in ("model", "model_hash", "basis", "basis_hash")}
        return {
            "format": FORMAT, **about, "rates": {name: asdict(share) for name, share in self.rates().items()},
            "confirmed": None if confirmed is None else asdict(confirmed),
            "prompts": [one.to_json() for one in self.prompts],
        }  # fmt: skip


def audit(
    loaded: ReplacementModel,
    prompts: Sequence[AuditPrompt],
    settings: AuditSettings | None = None,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Audit:
    """Audit every prompt. UsageError for a span that a prompt does not have, or an answer that is no single token."""
    settings = settings or AuditSettings()
    spans = [_spans(loaded, prompt) for prompt in prompts]  # a fault in the last prompt is said before the first trace
    answers = _answers(loaded, prompts)
    found = []
    for number in range(len(prompts)):
        found.append(_audited(loaded, prompts, number, spans[number], answers[number], settings))
        on_progress(number + 1, len(prompts))
    model, basis = loaded.model, loaded.dictionary
    return Audit(
        model=model.name, model_hash=model.hash, basis=basis.name, basis_hash=basis.hash, prompts=tuple(found)
    )  # fmt: skip


Sides = tuple[tuple[Placed, ...], tuple[Placed, ...]]
"""Evidence, shortcut."""


def _spans(loaded: ReplacementModel, prompt: AuditPrompt) -> Sides:
    evidence, shortcut = (placed(loaded.model, prompt, spans) for spans in (prompt.evidence, prompt.shortcut))
    check_apart(prompt, evidence, shortcut)
    return evidence, shortcut


def _answers(loaded: ReplacementModel, prompts: Sequence[AuditPrompt]) -> list[tuple[int, bool]]:
    """The token id of each prompt's answer, and whether the model says it."""
    firsts = first_choices(loaded.model, [loaded.model.tokenize(prompt.prompt) for prompt in prompts])
    found = []
    for prompt, first in zip(prompts, firsts, strict=True):
        try:
            asked = first if prompt.answer is None else loaded.model.token_id(prompt.answer)
        except UsageError as error:
            raise UsageError(f"prompt {printable(prompt.id)}, answer: {error}") from error
        found.append((asked, asked == first))
    return found


def _audited(
    loaded: ReplacementModel,
    prompts: Sequence[AuditPrompt],
    number: int,
    spans: Sides,
    answer: tuple[int, bool],
    settings: AuditSettings,
) -> Audited:
    prompt, (evidence, shortcut), (token, is_first) = prompts[number], spans, answer
    ids = loaded.model.tokenize(prompt.prompt)
    graph = loaded.trace(ids, settings.trace, targets=[TokenTarget(token=token)])
    found = Audited(
        prompt=prompt, answer=loaded.model.token_strings([token])[0].strip(), is_first=is_first, mechanism=None,
        proposals=tuple(proposals(graph, loaded.model.n_real)[:MOST_PROPOSED]),
    )  # fmt: skip
    if not prompt.has_spans:
        return found
    parts = [one.positions for one in (*evidence, *shortcut)]
    origin = origins(graph, [*parts, _positions(evidence), _positions(shortcut)])
    behind, beside = len(parts), len(parts) + 1  # all of the evidence, all of the shortcut
    story = loaded.read(graph)
    found = replace(
        found, mechanism=judged(graph, origin, len(evidence), len(shortcut)),
        evidence_units=carriers(graph, origin, behind, MOST_CARRIERS),
        evidence_groups=_groups(graph, story, origin, behind),
        shortcut_units=carriers(graph, origin, beside, MOST_CARRIERS),
        shortcut_groups=_groups(graph, story, origin, beside),
    )  # fmt: skip
    if not settings.checks:
        return found
    units = {"evidence": found.evidence_units, "shortcut": found.shortcut_units}
    return replace(found, checks=_checked(loaded, prompts, number, spans, token, units, settings))


def _positions(spans: Sequence[Placed]) -> tuple[int, ...]:
    return tuple(sorted({position for span in spans for position in span.positions}))


def _groups(graph: Graph, story: Story, origin: Origins, column: int) -> tuple[tuple[str, float], ...]:
    """The groups of units that carry most of a span's influence."""
    through, is_unit = origin.through[:, column], graph.nodes.is_unit
    shares = [
        (group.label, float(sum(through[member] for member in group.members if is_unit[member])))
        for group in story.groups_in(graph)
    ]
    return tuple(sorted((one for one in shares if one[1] > 0), key=lambda one: -one[1])[:MOST_GROUPS])


def _checked(
    loaded: ReplacementModel,
    prompts: Sequence[AuditPrompt],
    number: int,
    spans: Sides,
    token: int,
    units: dict[str, tuple[Carrier, ...]],
    settings: AuditSettings,
) -> Checks:
    """The model asked with other texts in place of the shortcut, then of the evidence, then with units silenced."""
    prompt, (evidence, shortcut), model = prompts[number], spans, loaded.model
    other_shortcuts = _others(prompts, number, "shortcut", prompt.other_shortcut, settings)
    other_evidence = _others(prompts, number, "evidence", prompt.other_evidence, settings)
    asked = [with_other(prompt.prompt, shortcut, texts) for texts in other_shortcuts]
    # beside another shortcut, so that evidence is not drowned by it
    beside = other_shortcuts[0] if other_shortcuts else tuple(span.span.text for span in shortcut)
    moved = [with_other(prompt.prompt, (*shortcut, *evidence), (*beside, *texts)) for texts in other_evidence]
    firsts = first_choices(loaded.model, [model.tokenize(text) for text in (*asked, *moved)])
    there = firsts[0] if asked else token
    ids = model.tokenize(prompt.prompt)
    without = {
        side: probability_without(loaded, ids, token, carrying) if carrying else None
        for side, carrying in units.items()
    }
    return Checks(
        shortcut_asked=len(asked), shortcut_changed=sum(first != token for first in firsts[: len(asked)]),
        evidence_asked=len(moved), evidence_changed=sum(first != there for first in firsts[len(asked) :]),
        probability=probability_without(loaded, ids, token, ()),
        without_shortcut_units=without["shortcut"], without_evidence_units=without["evidence"],
    )  # fmt: skip


def _others(
    prompts: Sequence[AuditPrompt], number: int, side: str, given: str | None, settings: AuditSettings
) -> list[tuple[str, ...]]:
    """What is put in place of a prompt's spans: the text that it names, or the spans of other prompts, drawn; of those
    that ask in the same words, if there are any."""
    own: tuple[Span, ...] = getattr(prompts[number], side)
    if given is not None:
        return [(given, *(span.text for span in own[1:]))]
    found: dict[bool, set[tuple[str, ...]]] = {True: set(), False: set()}
    for other in prompts:
        texts = tuple(span.text for span in getattr(other, side))
        if len(texts) == len(own) and texts[0] != own[0].text:
            found[_frame(other) == _frame(prompts[number])].add(texts)
    drawn_from = sorted(found[True] or found[False])
    draw = random.Random(f"{settings.seed} {number} {side}")
    return draw.sample(drawn_from, min(settings.others, len(drawn_from)))


def _frame(prompt: AuditPrompt) -> str:
    """The prompt without its spans."""
    text = prompt.prompt
    for span in (*prompt.evidence, *prompt.shortcut):
        text = text.replace(span.text, "…")
    return text

"""A study as a value, and its run: gate, development prompts, test prompts, controls, verdict, report."""

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from silverstain.brief import brief
from silverstain.organism.prompts import graph_prompts
from silverstain.version import __version__

from .carriers import Carrier, Stream, Units
from .division import TrialSettings
from .other_task import Find, other_task
from .rules import Verdict, verdict_of
from .steps import OnStep, Steps
from .subject import Subject
from .values import Findings, Measure

FORMAT = "silverstain.study/1"
BasisKind = Literal["units", "contrasts"]


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """How a study is run.

    Attributes:
        basis: `units` of what the model is read in (a dictionary, or its neurons), or `contrasts` of the stream.
        n_graphs: Test prompts that are traced.
    """

    trial: TrialSettings = field(default_factory=TrialSettings)
    basis: BasisKind = "units"
    n_graphs: int = 100

    @property
    def seed(self) -> int:
        return self.trial.seed

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "StudySettings":
        return cls(trial=TrialSettings(**data["trial"]), basis=data["basis"], n_graphs=data["n_graphs"])


@dataclass(frozen=True, kw_only=True)
class Lab:
    """What a study works with: the subject, what variables are moved by, the settings, and its steps."""

    subject: Subject
    carrier: Carrier
    settings: StudySettings
    steps: Steps
    other_prompts: Callable[[str, int], list[str]]
    """Prompts of other families than the one named: so many, or none where none are known."""
    other_task: Find
    """A variable of another family than the one named, with what moves it."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One discovery as a protocol.

    Attributes:
        claim: What the papers found, in one sentence.
        source: Where.
        motif: The path that is expected, from words to the answer.
        rule: What must be shown, in words; the bars are those of `rules`.
        lacks: Why the study has nothing to ask of a subject; None where it has.
        steps: How many steps it has.
        run: Asks it.
    """

    name: str
    title: str
    claim: str
    source: str
    motif: tuple[str, ...]
    rule: tuple[str, ...]
    lacks: Callable[[Subject], str | None]
    n_steps: int
    run: Callable[[Lab], Findings]


@brief
@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """What a study found of a model."""

    study: Study
    verdict: Verdict
    reasons: tuple[str, ...]
    findings: Findings
    manifest: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Test prompts: of the target that has the fewest."""
        counts = [one.n for one in self.findings.measures if one.role == "target" and one.n]
        return min(counts, default=0)

    def of(self, *roles: str) -> list[Measure]:
        return [one for one in self.findings.measures if one.role in roles]

    def to_json(self) -> dict[str, Any]:
        study, found = self.study, self.findings
        return {
            "format": FORMAT, "study": study.name, "title": study.title, "claim": study.claim, "source": study.source,
            "motif": list(study.motif), "rule": list(study.rule), "verdict": self.verdict,
            "reasons": list(self.reasons), "n": self.n,
            "measures": [one.to_json() for one in found.measures if one.role != "control"],
            "controls": [one.to_json() for one in self.of("control")],
            "chosen": dict(found.chosen), "notes": list(found.notes), "manifest": dict(self.manifest),
            "figures": [one.to_json() for one in found.figures], "prompts": list(found.prompts),
        }  # fmt: skip


def run_study(
    study: Study,
    subject: Subject,
    settings: StudySettings | None = None,
    *,
    folder: Path | None = None,
    on_step: OnStep = lambda done, n, name: None,
) -> StudyReport:
    """Ask a study of a model. With a folder, what each step found is kept there, and an interrupted study goes on."""
    settings = settings or StudySettings()
    manifest = manifest_of(study, subject, settings)
    reason = study.lacks(subject)
    if reason is not None:
        return StudyReport(
            study=study, verdict="not applicable", reasons=(reason,), findings=Findings(), manifest=manifest
        )
    carrier = carrier_of(subject, settings.basis)
    lab = Lab(
        subject=subject, carrier=carrier, settings=settings, steps=Steps(folder, manifest, study.n_steps, on_step),
        other_prompts=lambda name, n: others(subject, name, n),
        other_task=cache(lambda family: other_task(subject, carrier, family, settings.seed)),
    )  # fmt: skip
    found = study.run(lab)
    verdict, reasons = verdict_of(found.measures)
    return StudyReport(study=study, verdict=verdict, reasons=reasons, findings=found, manifest=manifest)


def manifest_of(study: Study, subject: Subject, settings: StudySettings) -> dict[str, Any]:
    """All that decides what a study finds: with it the study can be run again."""
    model, basis = subject.model, subject.loaded.dictionary
    return {
        "study": study.name, "version": __version__, "model": model.name, "model_hash": model.hash,
        "dictionary": basis.name, "dictionary_hash": basis.hash, "settings": settings.to_json(),
        "sibling": None if subject.sibling is None else subject.sibling.name,
    }  # fmt: skip


def carrier_of(subject: Subject, kind: BasisKind) -> Carrier:
    return Stream(subject.model.n_layers) if kind == "contrasts" else Units(subject.loaded.dictionary)


def others(subject: Subject, family: str, n: int) -> list[str]:
    """Prompts of the organism's other families, in random order."""
    if subject.sibling is None:
        return []
    families = {name: one for name, one in subject.sibling.families().items() if name != family}
    if not families:
        return []
    drawn = [text for _, text in graph_prompts(families, n=-(-n // len(families)), seed=17)]
    random.Random("others").shuffle(drawn)
    return drawn[:n]

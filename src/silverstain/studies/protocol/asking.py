"""The questions that most studies ask of a variable: can it be swapped, is anything else left alone, do graphs show it,
and does what is known of the model from elsewhere agree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from silverstain.interventions import Regime
from silverstain.organism.causal_map import VariableMap
from silverstain.statistics import share_of

from .carriers import Units, times
from .choosing import Setting
from .controls import CONTROLS, another_tasks, controlled, elsewhere
from .diagnosis import diagnosed, told
from .graph_paths import developed, graphs_of, own_labels, recalled, shown_of_nonsense, where_shown
from .rules import FEWEST, GATE, SEPARATION, SPECIFICITY, TARGET_LOW
from .stability import stable
from .study import Lab
from .trial import DOSES, Outcome, Trial, share_kept, share_of_hits
from .values import Figure, Findings, Measure, Pair, Variable, measured

HALVED = 0.5
"""An answer's probability falls to this share of what it was, where a variable that is taken away has mattered."""
N_ELSEWHERE = 60


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a variable.

    Attributes:
        bar: The share of test pairs that must give the counterfactual; its interval's lower end must reach 0.70.
        must_be_computed: Whether the causal map must say that the variable is computed, so that moving it is no mere
            fetching of another word.
        sources: Places whose shortcut share is reported: what goes from there to the answer past the variable.
        name: In front of the names of measures, where a study asks of several variables.
    """

    variable: Variable
    bar: float = 0.8
    must_be_computed: bool = False
    sources: Sequence[str] = ()
    in_graphs: bool = True
    is_controlled: bool = True
    is_required: bool = True
    """Whether the verdict depends on it; else its figures are only reported."""
    name: str = ""

    @property
    def of(self) -> str:
        return f"{self.name}: " if self.name else ""

    @property
    def n_steps(self) -> int:
        return 3 + self.is_controlled + self.in_graphs


def asked(lab: Lab, question: Question) -> Findings:
    """All of it, in steps that are kept."""
    trial = Trial(lab.subject, lab.carrier, question.variable, lab.settings.trial)
    key, of = question.name or question.variable.name, question.of
    if not trial.chosen_by or len(trial.tested) < FEWEST:
        return too_few(trial, of)
    found = lab.steps.run(f"{key} development", lambda: Findings(chosen={key: trial.setting.to_json()}))
    trial.fix(Setting.from_json(found.chosen[key]))
    found += lab.steps.run(f"{key} swaps", lambda: swapped(lab, trial, question))
    found += lab.steps.run(f"{key} stability", lambda: stable(trial, trial.setting, of=of))
    if question.is_controlled:
        controls = (*CONTROLS, another_tasks(lab.other_task))
        found += lab.steps.run(f"{key} controls", lambda: controlled(trial, trial.setting, controls, of=of))
    if question.in_graphs and isinstance(lab.carrier, Units):
        found += lab.steps.run(f"{key} graphs", lambda: shown_in_graphs(lab, trial, question))
    return found if question.is_required else only_reported(found)


def only_reported(found: Findings) -> Findings:
    """The same figures, without a part in the verdict."""
    return replace(found, measures=tuple(replace(one, role="reported", bar=None) for one in found.measures))


def too_few(trial: Trial, of: str) -> Findings:
    """A gate that fails: there are too few prompts for an interval."""
    return Findings(
        measures=(
            Measure(
                name=f"{of}test prompts", about="of combinations not developed on", role="gate",
                value=float(len(trial.tested)), n=len(trial.tested), bar=float(FEWEST),
            ),
        )
    )  # fmt: skip


def swapped(lab: Lab, trial: Trial, question: Question) -> Findings:
    """The swap on the test prompts, with its dose curve, what it leaves alone, and what taking the value away does."""
    setting, of, name = trial.setting, question.of, question.variable.name
    live = trial.swapped(trial.tested, setting)
    held = Regime(attention="frozen", held_layers=range(setting.window[0], setting.window[1] + 1))
    frozen = share_of_hits(trial.swapped(trial.tested, setting, regime=held))
    fell = [after < HALVED * before for before, after in taken_away(trial, setting)]
    curve = dose_curve(trial, setting)
    measures = [
        measured(f"{of}accuracy", "the model answers the test prompts as it should", "gate", trial.right(), bar=GATE),
        measured(f"{of}{name} swapped", "the answer becomes the one that follows from the other value", "target",
                 share_of_hits(live), bar=question.bar, low_bar=TARGET_LOW),
        measured(f"{of}{name} swapped, attention frozen", "and the MLPs of these layers held: the paper's way",
                 "reported", frozen),
        measured(f"{of}{name} taken away", "the answer's probability falls by half or more", "reported",
                 share_of(sum(fell), len(fell))),
        measured(f"{of}the rest is left alone", "the answer agrees with everything but the variable", "specificity",
                 share_kept(live), bar=SPECIFICITY),
        elsewhere(trial, setting, lab.other_prompts(question.variable.family, N_ELSEWHERE), of=of),
        known_truth(lab, question),
    ]  # fmt: skip
    dose = next((x for x, y in zip(curve["x"], curve["y"], strict=True) if y >= 0.5), None)
    notes = (
        f"{of}{name} is moved {setting}.",
        f"{of}half of the answers are moved by {dose:g} times the mean difference."
        if dose is not None else f"{of}no dose tried moves half of the answers.",
        *_place_beside_the_map(lab, question, setting),
    )  # fmt: skip
    figure = Figure(
        name=f"dose-{(question.name or name).replace(' ', '-')}", kind="curves",
        title=f"Share of answers that become the other value's, {name}",
        data={"x": "times the mean difference", "y": "share of test prompts", "series": [curve]},
    )  # fmt: skip
    rows = tuple(row_of(trial, question, one) for one in live)
    return Findings(
        measures=tuple(one for one in measures if one is not None), figures=(figure,), notes=notes, prompts=rows
    )


def taken_away(trial: Trial, setting: Setting) -> list[tuple[float, float]]:
    """The probability of the own answers before and after the value is replaced by the mean over values."""
    edits = []
    for pair in trial.tested:
        value, without = pair.base.value, pair.without | {pair.base.combination}
        less = {place: trial.means(place).less(value, setting.window, without=without) for place in setting.places}
        edits.append(trial.put({place: times(setting.strength, one) for place, one in less.items()}, pair.base))
    after = trial.under(edits, trial.tested)
    return [
        (trial.answer_probability(pair, before), trial.answer_probability(pair, one.said))
        for pair, before, one in zip(trial.tested, trial.clean, after, strict=True)
    ]


def dose_curve(trial: Trial, setting: Setting) -> dict[str, Any]:
    """The share of counterfactual answers by how far the variable is moved, with intervals."""
    shares = []
    for dose in DOSES:
        at = replace(setting, strength=dose)
        shares.append(share_of_hits(trial.swapped(trial.tested, at)))
    known = [(dose, share) for dose, share in zip(DOSES, shares, strict=True) if share is not None]
    return {
        "label": "counterfactual", "x": [dose for dose, _ in known], "y": [share.value for _, share in known],
        "low": [share.low for _, share in known], "high": [share.high for _, share in known],
    }  # fmt: skip


def shown_in_graphs(lab: Lab, trial: Trial, question: Question) -> Findings:
    """Recall, path share and shortcut share, how often graphs skip what the model does not, and why they fail."""
    name = question.variable.name
    traced = developed(trial)
    shown = where_shown(trial, trial.setting, traced, own_labels(trial))
    found = graphs_of(trial, shown, traced, lab.settings.n_graphs, sources=question.sources)
    nonsense = shown_of_nonsense(trial, trial.setting, traced, found)
    swaps = trial.swapped([one.pair for one in found], trial.setting)
    skipped = [not one.members for one, swap in zip(found, swaps, strict=True) if swap.hit]
    reported = recalled(found, nonsense, name, of=question.of)
    hop = measured(
        f"{question.of}{name} skipped by graphs",
        "of prompts in which swapping it moves the answer, those whose graph has no unit of it", "reported",
        share_of(sum(skipped), len(skipped)) if skipped else None,
    )  # fmt: skip
    hidden = [one for one in found if one.separation is not None and one.separation < SEPARATION]
    why = told([(one, diagnosed(trial, shown, one)) for one in hidden], of=question.of, name=name)
    first, last = shown.window
    note = f"{question.of}{name} is looked for in graphs at {shown.place!r}, layers {first} to {last}."
    return reported + Findings(measures=(hop,), notes=(note,)) + why


# what is known from elsewhere


def map_of(lab: Lab, variable: Variable) -> VariableMap | None:
    """The causal map's account of a variable; None where there is none."""
    truth = lab.subject.truth
    if truth is None:
        return None
    named = [one for one in truth.variables if (one.family, one.variable) == (variable.family, variable.name)]
    return next((one for one in named if one.form == variable.form), None)


def known_truth(lab: Lab, question: Question) -> Measure:
    """Whether the causal map, which knows no dictionary, says that the variable is computed."""
    found, name = map_of(lab, question.variable), question.variable.name
    asks = question.must_be_computed
    if found is None:
        return Measure(
            name=f"{question.of}{name} in the causal map", about="whether it is computed", role="truth", value=None,
            bar=1.0 if asks else None, untested="this model has no causal map of it",
        )  # fmt: skip
    said = found.verdict
    return Measure(
        name=f"{question.of}{name} in the causal map",
        about=f"{said.kind} at {said.stage}, {' and '.join(said.roles)}: {said.reason}",
        role="truth" if asks else "reported", value=float(said.kind == "computed"), bar=1.0 if asks else None,
        n=found.n_pairs,
    )  # fmt: skip


def _place_beside_the_map(lab: Lab, question: Question, setting: Setting) -> tuple[str, ...]:
    found = map_of(lab, question.variable)
    if found is None:
        return ()
    said = found.verdict
    return (
        f"{question.of}the causal map has {question.variable.name} {said.kind} at {said.stage} "
        f"({' and '.join(said.roles)}); the study moved it at {setting.where}.",
    )


def row_of(trial: Trial, question: Question, one: Outcome) -> dict[str, Any]:
    """One test prompt as the report lists it."""
    pair: Pair = one.pair
    (word,) = trial.subject.model.token_strings([one.said.first])
    return {
        "question": question.name or question.variable.name, "prompt": pair.base.text, "value": pair.base.value,
        "to": pair.donor.value, "expected": " | ".join(sorted(pair.counterfactual)), "said": word.strip(),
        "hit": one.hit,
    }  # fmt: skip

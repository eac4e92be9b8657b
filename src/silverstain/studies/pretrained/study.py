"""The studies of pretrained models, one a family of prompts: gate, development pairs, test pairs, controls.

What the controls need is asked before they count. Those that change other units, or the same ones elsewhere, count
where the circuit itself turns the answer; another task's circuit counts where it turns the answers of its own task; the
nonsense task counts where the same search finds a circuit for the true labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from silverstain.statistics import Share, share_of
from silverstain.studies.pretrained.circuits import Circuit, circuit_of
from silverstain.studies.pretrained.gates import Answered, answered, gate_of
from silverstain.studies.pretrained.pairs import PromptFamily
from silverstain.studies.pretrained.recorded import Recorded, recorded, token_pairs
from silverstain.studies.pretrained.trial import (
    ACTIVE,
    ACTIVE_BACK,
    BY_PAIR,
    CIRCUIT,
    ELSEWHERE,
    LARGEST,
    NONSENSE,
    OTHER,
    RANDOM,
    RANDOM_BACK,
    SHARED,
    SHUFFLED,
    WAYS,
    Turned,
    tried,
)
from silverstain.studies.protocol import Findings, Lab, Measure, Study, Subject
from silverstain.studies.protocol.rules import CONTROL, FEWEST, GATE, SPECIFICITY, TARGET_LOW
from silverstain.studies.protocol.values import measured

N_DEVELOPMENT = 16
"""Development pairs of a circuit: of one half of them the units are taken, by the other it is said how many."""
N_BY_PAIR = 20
"""Test pairs whose units are also chosen by their own account."""
N_OTHERS = 2
"""Other tasks whose circuits are controls."""
OTHER_TASKS = ("agreement", "capital", "later-year")
"""Their prompts are short and their topics differ; the first that are of another topic are taken."""
CONTROLS: Mapping[str, str] = {
    RANDOM: "as many units at the same places, drawn, moved as much",
    RANDOM_BACK: "the same, with the other sign",
    ACTIVE: "as many of the units that write most there, moved as much",
    ACTIVE_BACK: "the same, with the other sign",
    LARGEST: "as many other units, those that change most, moved as the circuit is",
    ELSEWHERE: "the same change before what differs",
    SHUFFLED: "each unit of the circuit writes what another one writes",
    NONSENSE: "the same search for the same answers permuted; the share that follows the permuted answer",
}  # fmt: skip
PAIRS_A_STEP = 20
FIRST = "first choice"
_asked: dict[tuple[Any, ...], list[Answered]] = {}
_circuits: dict[tuple[Any, ...], Circuit | None] = {}
"""Circuits of this process, by model, basis, family and seed: studies share those of other tasks."""


@dataclass(frozen=True, kw_only=True)
class FamilyStudy:
    """The study of one family, among all of them."""

    family: PromptFamily
    families: Mapping[str, PromptFamily]

    def run(self, lab: Lab) -> Findings:
        """Gate; what development pairs fix; test pairs; the verdict's figures."""
        found = lab.steps.run("gate", lambda: gate_findings(lab, self.family))
        if any(one.holds is False for one in found.measures):
            return found
        if circuit_for(lab, self.family) is None:
            return found + Findings(notes=("The model answers too few development pairs rightly on both sides.",))
        for start in range(0, lab.settings.trial.n, PAIRS_A_STEP):
            found += lab.steps.run(f"pairs from {start}", lambda start=start: self.tested(lab, start))
        return found + lab.steps.run("figures", lambda: self.judged(lab, found.prompts))

    def tested(self, lab: Lab, start: int) -> Findings:
        """Some test pairs: a row for each, with what each edit did."""
        trial, circuit = lab.settings.trial, circuit_for(lab, self.family)
        assert circuit is not None  # as `run` has seen
        others = self.circuits_of_others(lab)
        asked = [one for one in asked_of(lab, self.family) if one.is_right][start : start + PAIRS_A_STEP]
        rows = []
        for i, pair in enumerate(recorded(lab.subject.model, lab.subject.loaded.dictionary, self.family, asked)):
            ways = WAYS if start + i < N_BY_PAIR else (SHARED,)
            rows.append(row_of(pair, tried(pair, circuit, others, trial.seed + start + i, ways)))
        return Findings(prompts=tuple(rows))

    def judged(self, lab: Lab, rows: Sequence[Mapping[str, Any]]) -> Findings:
        """The figures of all test pairs."""
        circuit = circuit_for(lab, self.family)
        assert circuit is not None
        others = self.circuits_of_others(lab)
        primary = BY_PAIR if lab.settings.basis == "contrasts" else SHARED
        measures = [one for way in WAYS for one in measures_of(rows, others, way, is_primary=way == primary)]
        return Findings(
            measures=(*measures, specificity(circuit, others)), notes=notes_of(circuit),
            chosen={"shared": circuit.shared.to_json(), "by pair": circuit.by_pair.to_json(),
                    "keys": circuit.keys().tolist()},
        )  # fmt: skip

    def circuits_of_others(self, lab: Lab) -> list[Circuit]:
        return [one for family in self.others() if (one := circuit_for(lab, family)) is not None]

    def others(self) -> list[PromptFamily]:
        named = [self.families[name] for name in OTHER_TASKS]
        return [family for family in named if family.topic != self.family.topic][:N_OTHERS]


def circuit_for(lab: Lab, family: PromptFamily) -> Circuit | None:
    """The circuit of a family, found once in a process."""
    model, basis, trial = lab.subject.model, lab.subject.loaded.dictionary, lab.settings.trial
    key = (model.hash, basis.hash, family.name, trial.seed)
    if key not in _circuits:
        _circuits[key] = circuit_of(model, basis, family, N_DEVELOPMENT, trial.seed)
    return _circuits[key]


def asked_of(lab: Lab, family: PromptFamily) -> list[Answered]:
    """The test pairs and what the model says to them, asked once in a process."""
    model, trial = lab.subject.model, lab.settings.trial
    key = (model.hash, family.name, trial.n, trial.seed)
    if key not in _asked:
        _asked[key] = answered(model, token_pairs(model, family, "test", trial.n, trial.seed))
    return _asked[key]


def gate_findings(lab: Lab, family: PromptFamily) -> Findings:
    """How often the model is right on the prompts of the test half, and whether there are enough of them."""
    asked = asked_of(lab, family)
    enough = Measure(
        name="pairs of equally many tokens", about="in the test half", role="gate", value=float(len(asked)),
        n=len(asked), bar=float(FEWEST),
    )  # fmt: skip
    if not asked:
        return Findings(measures=(enough,))
    gate = gate_of(asked)
    return Findings(
        measures=(
            enough,
            measured("accuracy", "the right answer is the likeliest of the family's answers", "gate", gate.right,
                     bar=GATE),
            measured("first choice", "… and of all tokens", "reported", gate.first_choice),
        )
    )  # fmt: skip


def row_of(pair: Recorded, outcomes: Sequence[Turned]) -> dict[str, Any]:
    """A test pair as the report lists it: by way and edit, whether the edit did what only the circuit should."""
    own = next(one for one in outcomes if (one.way, one.edit) == (SHARED, CIRCUIT))
    said = {f"{one.way}: {one.edit}": one.hit for one in outcomes}
    said |= {f"{one.way}: {FIRST}": one.first for one in outcomes if one.edit == CIRCUIT}
    return {
        "prompt": pair.tokens.pair.base.prompt, "contrast": pair.tokens.pair.contrast.prompt, "units": own.units, **said
    }  # fmt: skip


def measures_of(
    rows: Sequence[Mapping[str, Any]], others: Sequence[Circuit], way: str, *, is_primary: bool
) -> list[Measure]:
    """The target and the controls of one way of choosing units."""
    turned, first = (share_in(rows, f"{way}: {name}") for name in (CIRCUIT, FIRST))
    if turned is None:
        return []
    bars: dict[str, float] = {"bar": TARGET_LOW, "low_bar": TARGET_LOW} if is_primary else {}
    measures = [
        measured(f"{way}: turned", "the answer becomes the counterfactual's", "target" if is_primary else "reported",
                 turned, **bars),
        measured(f"{way}: first choice", "… and the likeliest of all tokens", "reported", first),
    ]  # fmt: skip
    works = None if turned.low >= TARGET_LOW else "the circuit itself does not turn the answer"
    for edit, about in CONTROLS.items():
        share = share_in(rows, f"{way}: {edit}")
        if share is not None or way == SHARED:
            reason = works if share is not None else "there is no token before what differs"
            measures.append(_control(f"{way}: {edit}", about, share, reason, is_primary))
    for other in others:
        edit, of_itself = OTHER + other.family.name, own_share(other)
        reason = None if of_itself.low >= TARGET_LOW else f"it turns {of_itself} % of its own task's answers"
        about = f"as many units of it; on its own task it turns {of_itself} %"
        measures.append(_control(f"{way}: {edit}", about, share_in(rows, f"{way}: {edit}"), reason, is_primary))
    return measures


def share_in(rows: Sequence[Mapping[str, Any]], name: str) -> Share | None:
    """The share of the rows that have an entry in which it is true; None where none has."""
    known = [row[name] for row in rows if name in row]
    return share_of(sum(known), len(known)) if known else None


def _control(name: str, about: str, share: Share | None, untested: str | None, is_primary: bool) -> Measure:
    bars: dict[str, Any] = {"bar": CONTROL} if is_primary else {}
    return measured(name, about, "control" if is_primary else "reported", share, untested=untested, **bars)


def own_share(circuit: Circuit) -> Share:
    """How many of its own development pairs a circuit turns: what is asked before it counts as a control."""
    turned = []
    for pair in circuit.pairs:
        units = circuit.own(pair)
        (logits,) = pair.patching.logits([pair.patch(units, pair.moved(units, circuit.shared.strength))])
        turned.append(pair.is_turned(logits))
    return share_of(sum(turned), len(turned))


def specificity(circuit: Circuit, others: Sequence[Circuit]) -> Measure:
    """How many prompts of other tasks keep their answers when this circuit's units get their counterfactual's."""
    kept = []
    for pair in (pair for other in others for pair in other.pairs):
        units = circuit.own(pair)
        (logits,) = pair.patching.logits([pair.patch(units, pair.moved(units, circuit.shared.strength))])
        kept.append(pair.is_kept(logits))
    return measured(
        "other tasks are left alone", "prompts of other tasks that keep their answers under this circuit",
        "specificity", share_of(sum(kept), len(kept)) if kept else None, bar=SPECIFICITY,
        untested=None if kept else "no other task has a circuit",
    )  # fmt: skip


def notes_of(circuit: Circuit) -> tuple[str, ...]:
    own, null = circuit.stability
    shared, by_pair = circuit.shared, circuit.by_pair
    return (
        f"Shared: the {shared.k} units with the largest mean account over {len(circuit.pairs)} development pairs, "
        f"moved by {shared.strength:g} times the difference; the units of one half of these pairs turn "
        f"{100 * shared.turned:.0f} % of the other half.",
        f"By pair: the {by_pair.k} units with the largest account of the pair itself, moved by {by_pair.strength:g} "
        f"times the difference; they turn {100 * by_pair.turned:.0f} % of development pairs.",
        f"Stability: resampled development pairs give sets whose Jaccard index with this one is {own:.2f} on average; "
        f"with labels exchanged at random it is {null:.2f}.",
    )


def study_of(family: PromptFamily, families: Mapping[str, PromptFamily]) -> Study:
    """The study of a family, as `silverstain study run` has it."""

    def lacks(subject: Subject) -> str | None:
        return "its prompts are English text, and an organism knows its own words alone" if subject.sibling else None

    return Study(
        name=family.name, title=family.about[0].upper() + family.about[1:],
        claim=f"Asked for {family.about}, the model uses units that do the same for other prompts: given the "
        "activations of a counterfactual, they give its answer.",
        source="prompts of our own",
        motif=("what differs", "a shared set of units", "the answer"),
        rule=(
            "the model answers at least 90 % of the test prompts",
            "units fixed on development pairs, given a counterfactual's activations, turn the answers of test pairs: "
            "lower end of the interval at least 70 %",
            "no control turns more than 10 %: other units, the same elsewhere, another task's circuit, nonsense labels",
            "at least 80 % of other tasks' prompts keep their answers",
        ),
        lacks=lacks, n_steps=8, run=FamilyStudy(family=family, families=families).run,
    )  # fmt: skip


def runs_that_failed(measures: Sequence[Measure]) -> tuple[int, int]:
    """Of all runs of controls that count, how many did not turn the answer, and how many there are."""
    counted = [one for one in measures if one.role == "control" and one.counts and one.value is not None]
    return sum(one.n - round(one.n * (one.value or 0.0)) for one in counted), sum(one.n for one in counted)

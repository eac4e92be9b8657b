"""What must not do what a swap does, on the same prompts and as strongly."""

import random as randomness
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from silverstain.interventions import AnyEdit
from silverstain.statistics import Share, share_of

from .carriers import Units, times
from .choosing import Setting
from .other_task import NO_OTHER_TASK, Find, in_its_place
from .rules import CONTROL
from .trial import Outcome, Trial, share_of_hits
from .values import Findings, Measure, Pair, measured

PERMUTATIONS = 5
"""Labellings that say nothing, each for a share of the test prompts."""
N_CHOSEN_BY = 16
"""Development pairs by which each of them is moved."""
MOVES_NOTHING = "the swap itself moves no more than a control may"


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control: how it is run, and when it does not count."""

    name: str
    about: str
    run: Callable[[Trial, Setting], Sequence[Outcome]]
    applies: Callable[[Trial], str | None] = lambda trial: None
    """Why it cannot be run on this trial; None where it can."""
    drew: Callable[[Trial], str] = lambda trial: ""
    """What was drawn for it, once it has run."""


def _others(kind: str) -> Callable[[Trial, Setting], Sequence[Outcome]]:
    return lambda trial, setting: trial.moved_otherwise(trial.tested, setting, kind)


def _wrong_place(trial: Trial, setting: Setting) -> Sequence[Outcome]:
    """The same amounts at other tokens of the prompt, drawn."""
    rng = randomness.Random(f"wrong place {trial.settings.seed}")
    edits: list[Sequence[AnyEdit]] = []
    for pair in trial.tested:
        n, amounts = len(trial.subject.ids(pair.base.text)), trial.amounts(pair, setting)
        right = {trial.subject.position(pair.base, place) for place in amounts}
        free = [at for at in range(trial.subject.model.n_real, n) if at not in right]
        drawn = rng.sample(free, min(len(free), len(amounts)))
        edits.append(trial.put_at(dict(zip(drawn, amounts.values(), strict=False))))
    return trial.under(edits, trial.tested)


def _nonsense(trial: Trial, setting: Setting) -> Sequence[Outcome]:
    """Labels that say nothing (`Trial.permuted`); place, layers and strength are chosen anew, on development prompts.

    The test prompts are shared out among several such labellings, as one may be moved more than another.
    """
    found: list[Outcome] = []
    for draw in range(PERMUTATIONS):
        means, development, test = trial.nonsense(trial.settings.seed + draw)
        some = test[draw::PERMUTATIONS]
        if some:
            chosen = trial.choose(means, development[:N_CHOSEN_BY])
            found += trial.swapped(some, chosen, means=means)
    return found


def _shuffled_decoders(trial: Trial, setting: Setting) -> Sequence[Outcome]:
    """The same units, each writing what another of its layer writes."""
    assert isinstance(trial.carrier, Units)  # as `applies` says
    basis = trial.carrier.basis
    generator = torch.Generator().manual_seed(trial.settings.seed)
    shuffled = basis.reordered(
        {layer: torch.randperm(basis.n_features, generator=generator) for layer in range(basis.n_layers)}
    )
    other = Units(shuffled)
    edits = [trial.put(trial.amounts(pair, setting), pair.base, other) for pair in trial.tested]
    return trial.under(edits, trial.tested)


def _needs_units(trial: Trial) -> str | None:
    return None if isinstance(trial.carrier, Units) else "contrasts of the stream have no units"


CONTROLS: tuple[Control, ...] = (
    Control(name="random units", about="others of the layer, moved as much", run=_others("random")),
    Control(name="random units, the other way", about="the same, with the other sign", run=_others("opposite")),
    Control(
        name="other active units", about="others that fire there, moved as much", run=_others("active"),
        applies=_needs_units,
    ),
    Control(name="wrong place", about="the same change at another token", run=_wrong_place),
    Control(name="nonsense labels", about="the whole study with the labels permuted", run=_nonsense),
    Control(
        name="shuffled decoders", about="every unit writes what another one writes", run=_shuffled_decoders,
        applies=_needs_units,
    ),
)  # fmt: skip


def another_tasks(find: Find) -> Control:
    """Another task's circuit; it counts only where it turns the answers of its own task."""

    def run(trial: Trial, setting: Setting) -> Sequence[Outcome]:
        other = find(trial.variable.family)
        assert other is not None  # as `applies` says
        return trial.under(in_its_place(trial, setting, other), trial.tested)

    return Control(
        name="another task's circuit", about="what turns the answers of another family, as much of it", run=run,
        applies=lambda trial: None if find(trial.variable.family) else NO_OTHER_TASK,
        drew=lambda trial: f" ({other})" if (other := find(trial.variable.family)) else "",
    )  # fmt: skip


def controlled(trial: Trial, setting: Setting, controls: Sequence[Control] = CONTROLS, *, of: str = "") -> Findings:
    """Every control on the test prompts, and a change that should change nothing: one half of a value's prompts for the
    other. None is run where the swap itself moves no more than a control may: not to do what the swap does not do
    either shows nothing."""
    swap = share_of_hits(trial.swapped(trial.tested, setting))
    moves_nothing = None if swap is not None and swap.value > CONTROL else MOVES_NOTHING
    measures: list[Measure] = []
    for control in controls:
        untested = moves_nothing or control.applies(trial)
        share = None if untested else share_of_hits(control.run(trial, setting))
        about = control.about if untested else control.about + control.drew(trial)
        measures.append(measured(f"{of}{control.name}", about, "control", share, bar=CONTROL, untested=untested))
    measures.append(_same_value(trial, setting, of, moves_nothing))
    return Findings(measures=tuple(measures))


def _same_value(trial: Trial, setting: Setting, of: str, untested: str | None) -> Measure:
    return measured(
        f"{of}same value", "half of a value's prompts for the other half; the share whose answer changes", "control",
        None if untested else _changed_within(trial, setting), bar=CONTROL, untested=untested,
    )  # fmt: skip


def _changed_within(trial: Trial, setting: Setting) -> Share | None:
    """The share of answers that change where one half of a value's prompts is put in for the other."""
    means = {place: trial.means(place) for place in setting.places}
    pairs = [pair for pair in trial.tested if all(pair.base.value in one.values for one in means.values())]
    edits = []
    for number, pair in enumerate(pairs):
        seed, value = trial.settings.seed + number, pair.base.value
        apart = {place: one.halves_apart(value, setting.window, seed) for place, one in means.items()}
        edits.append(trial.put({place: times(setting.strength, one) for place, one in apart.items()}, pair.base))
    said = trial.under(edits, pairs)
    clean = {id(pair): one.first for pair, one in zip(trial.tested, trial.clean, strict=True)}
    changed = sum(one.said.first != clean[id(one.pair)] for one in said)
    return share_of(changed, len(said)) if said else None


def elsewhere(trial: Trial, setting: Setting, prompts: Sequence[str], *, of: str = "") -> Measure:
    """The same changes at the last tokens of prompts of other families: the share whose answer stays."""
    share: Share | None = None
    if prompts and trial.tested:
        rng = randomness.Random(f"elsewhere {trial.settings.seed}")
        asked = [rng.choice(prompts) for _ in trial.tested]
        edits = [at_the_end(trial, pair, setting, text) for pair, text in zip(trial.tested, asked, strict=True)]
        before, after = trial.subject.asked(asked), trial.subject.asked(asked, edits)
        share = share_of(sum(a.first == b.first for a, b in zip(before, after, strict=True)), len(asked))
    return measured(
        f"{of}elsewhere nothing changes", "the same change behind prompts of other families", "reported", share,
        untested=None if share else "no prompts of other families are known",
    )  # fmt: skip


def at_the_end(trial: Trial, pair: Pair, setting: Setting, text: str) -> list[AnyEdit]:
    """What moves a pair, put at the last tokens of any text: its last place at the last."""
    n, amounts = len(trial.subject.ids(text)), trial.amounts(pair, setting)
    last = enumerate(reversed(setting.places), start=1)
    return trial.put_at({n - back: amounts[place] for back, place in last if back <= n})

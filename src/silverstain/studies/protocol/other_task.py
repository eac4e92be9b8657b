"""Another task's circuit, in place of a variable's own: it turns the answers of its own task, and must leave these."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from silverstain.interventions import AnyEdit
from silverstain.statistics import Share

from .carriers import Amounts, Carrier
from .choosing import Setting
from .division import TrialSettings
from .subject import Subject
from .trial import Trial, share_of_hits

FEW = TrialSettings(n=24, n_chosen_by=12, n_fitted=400, n_drawn=1200)
"""Prompts of the other task: enough to know that its circuit is one."""
NO_OTHER_TASK = "no other task is known whose answers its own units turn"
TURNS_ITS_OWN = 0.5
"""The share of its own answers that another task's circuit must turn, to be a circuit at all."""


@dataclass(frozen=True, kw_only=True)
class OtherTask:
    """A variable of another family that is moved by its own units, and how."""

    trial: Trial
    setting: Setting
    turned: Share
    """Of its own answers."""

    def __str__(self) -> str:
        return f"{self.trial.variable.title}: {self.turned} % of its own, moved {self.setting}"


Find = Callable[[str], OtherTask | None]
"""Another task than that of a family; None where there is none that the model's units turn."""


def other_task(subject: Subject, carrier: Carrier, family: str, seed: int) -> OtherTask | None:
    """The first variable of another family, in an order that is drawn, that is swapped at the last word of its prompts
    in at least half of them; place, layers and strength are fixed on its own development prompts."""
    variables = [variable for variable in subject.variables if variable.family != family]
    random.Random(f"another task than {family} {seed}").shuffle(variables)
    for variable in variables:
        trial = Trial(subject, carrier, variable, replace(FEW, seed=seed))
        if trial.chosen_by and trial.tested:
            turned = share_of_hits(trial.swapped(trial.tested, trial.setting))
            if turned is not None and turned.value >= TURNS_ITS_OWN:
                return OtherTask(trial=trial, setting=trial.setting, turned=turned)
    return None


def in_its_place(trial: Trial, setting: Setting, other: OtherTask) -> list[list[AnyEdit]]:
    """The other task's change for each test prompt: at the places and in the layers of this variable's, and in each
    layer as long as what is written for this one there, as random units are. A change of one length does more, the
    earlier it is made."""
    there, edits = replace(other.setting, window=setting.window), []
    for number, pair in enumerate(trial.tested):
        (theirs,) = other.trial.amounts(other.trial.tested[number % len(other.trial.tested)], there).values()
        own = trial.amounts(pair, setting)
        edits.append(
            trial.put({place: as_long(trial.carrier, theirs, amounts) for place, amounts in own.items()}, pair.base)
        )
    return edits


def as_long(carrier: Carrier, amounts: Amounts, like: Amounts) -> Amounts:
    """Amounts of which in each layer as much is written as of others."""
    found: Amounts = {}
    for layer, amount in amounts.items():
        length = carrier.length({layer: amount})
        found[layer] = (carrier.length({layer: like[layer]}) / length if length > 0 else 0.0) * amount
    return found

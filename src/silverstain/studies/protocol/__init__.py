"""One protocol for all studies: a prompt family with variables, a gate, interventions, controls, and a pass rule."""

from .asking import Question, asked
from .carriers import Carrier, Stream, Units
from .choosing import Setting
from .division import TrialSettings
from .study import Lab, Study, StudyReport, StudySettings, run_study
from .subject import Subject
from .trial import Trial
from .values import LAST, Case, Figure, Findings, Measure, Pair, Variable

__all__ = [
    "LAST",
    "Carrier",
    "Case",
    "Figure",
    "Findings",
    "Lab",
    "Measure",
    "Pair",
    "Question",
    "Setting",
    "Stream",
    "Study",
    "StudyReport",
    "StudySettings",
    "Subject",
    "Trial",
    "TrialSettings",
    "Units",
    "Variable",
    "asked",
    "run_study",
]

"""Edits to a running model: ablate, scale, set, add, patch; swaps, controls, and the replaced model under edits."""

from silverstain.attribution import Place as Place
from silverstain.interventions.checking import check_active as check_active
from silverstain.interventions.controls import random_control as random_control
from silverstain.interventions.donors import Donor as Donor
from silverstain.interventions.edit_files import edit_from_json as edit_from_json
from silverstain.interventions.edit_files import load_edits as load_edits
from silverstain.interventions.edit_files import save_edits as save_edits
from silverstain.interventions.edit_text import parse_edit as parse_edit
from silverstain.interventions.edit_text import parse_edits as parse_edits
from silverstain.interventions.edits import AnyEdit as AnyEdit
from silverstain.interventions.edits import DirectionEdit as DirectionEdit
from silverstain.interventions.edits import Edit as Edit
from silverstain.interventions.edits import PatternEdit as PatternEdit
from silverstain.interventions.edits import VectorEdit as VectorEdit
from silverstain.interventions.edits import at_places as at_places
from silverstain.interventions.generation import generate as generate
from silverstain.interventions.generation import stream as stream
from silverstain.interventions.intervene import Intervention as Intervention
from silverstain.interventions.intervene import TokenProbability as TokenProbability
from silverstain.interventions.intervene import intervene as intervene
from silverstain.interventions.intervene import intervene_many as intervene_many
from silverstain.interventions.passes import editing as editing
from silverstain.interventions.positions import Onward as Onward
from silverstain.interventions.readouts import Reading as Reading
from silverstain.interventions.readouts import Readouts as Readouts
from silverstain.interventions.regimes import Regime as Regime
from silverstain.interventions.regimes import regime_of as regime_of
from silverstain.interventions.replaced import Agreement as Agreement
from silverstain.interventions.replaced import agreement_under_edits as agreement_under_edits
from silverstain.interventions.replaced import intervene_replaced as intervene_replaced
from silverstain.interventions.swap import Swap as Swap
from silverstain.interventions.swap import active_places as active_places
from silverstain.interventions.swap import swap as swap
from silverstain.interventions.swap import swap_edits as swap_edits
from silverstain.interventions.swap import swap_many as swap_many
from silverstain.interventions.sweeping import SweepResult as SweepResult
from silverstain.interventions.sweeping import sweep as sweep

__all__ = [
    "Agreement",
    "AnyEdit",
    "DirectionEdit",
    "Donor",
    "Edit",
    "Intervention",
    "Onward",
    "PatternEdit",
    "Place",
    "Reading",
    "Readouts",
    "Regime",
    "Swap",
    "SweepResult",
    "TokenProbability",
    "VectorEdit",
    "active_places",
    "agreement_under_edits",
    "at_places",
    "check_active",
    "edit_from_json",
    "editing",
    "generate",
    "intervene",
    "intervene_many",
    "intervene_replaced",
    "load_edits",
    "parse_edit",
    "parse_edits",
    "random_control",
    "regime_of",
    "save_edits",
    "stream",
    "swap",
    "swap_edits",
    "swap_many",
    "sweep",
]

"""Edits to a running model: ablate, scale, set, add, patch; swaps, controls, and the replaced model under edits."""

from silverstain.attribution import Place
from silverstain.interventions.checking import check_active
from silverstain.interventions.controls import random_control
from silverstain.interventions.donors import Donor
from silverstain.interventions.edit_files import edit_from_json, load_edits, save_edits
from silverstain.interventions.edit_text import parse_edit, parse_edits
from silverstain.interventions.edits import AnyEdit, DirectionEdit, Edit, PatternEdit, VectorEdit, at_places
from silverstain.interventions.generation import generate, stream
from silverstain.interventions.intervene import Intervention, TokenProbability, intervene, intervene_many
from silverstain.interventions.passes import editing
from silverstain.interventions.positions import Onward
from silverstain.interventions.readouts import Reading, Readouts
from silverstain.interventions.regimes import Regime, regime_of
from silverstain.interventions.replaced import Agreement, agreement_under_edits, intervene_replaced
from silverstain.interventions.swap import Swap, active_places, swap, swap_edits, swap_many
from silverstain.interventions.sweeping import SweepResult, sweep

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

"""The papers' case studies, as executable protocols."""

from silverstain.studies.demo import Demo as Demo
from silverstain.studies.demo import SwapQuestion as SwapQuestion
from silverstain.studies.demo import demonstrate as demonstrate
from silverstain.studies.variables import Answered as Answered
from silverstain.studies.variables import Questions as Questions
from silverstain.studies.variables import followed as followed
from silverstain.studies.variables import questions as questions

__all__ = ["Answered", "Demo", "Questions", "SwapQuestion", "demonstrate", "followed", "questions"]

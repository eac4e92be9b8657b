"""The papers' case studies, as executable protocols."""

from silverstain.organism.two_hop import Answered as Answered
from silverstain.organism.two_hop import Questions as Questions
from silverstain.organism.two_hop import followed as followed
from silverstain.organism.two_hop import questions as questions
from silverstain.studies.demo import Demo as Demo
from silverstain.studies.demo import SwapQuestion as SwapQuestion
from silverstain.studies.demo import demonstrate as demonstrate

__all__ = ["Answered", "Demo", "Questions", "SwapQuestion", "demonstrate", "followed", "questions"]

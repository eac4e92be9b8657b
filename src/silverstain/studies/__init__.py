"""The papers' case studies, as executable protocols."""

from silverstain.studies.demo import Demo as Demo
from silverstain.studies.demo import SwapQuestion as SwapQuestion
from silverstain.studies.demo import demonstrate as demonstrate

__all__ = ["Demo", "SwapQuestion", "demonstrate"]

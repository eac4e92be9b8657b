"""The papers' case studies, as executable protocols."""

from silverstain.studies.demo import Demo as Demo
from silverstain.studies.demo import SwapQuestion as SwapQuestion
from silverstain.studies.demo import demonstrate as demonstrate
from silverstain.studies.faithfulness import Faithfulness as Faithfulness

__all__ = ["Demo", "Faithfulness", "SwapQuestion", "demonstrate"]

"""The papers' case studies, as executable protocols."""

from silverstain.fetching import fetched
from silverstain.studies.demo import Demo as Demo
from silverstain.studies.demo import SwapQuestion as SwapQuestion
from silverstain.studies.demo import demonstrate as demonstrate
from silverstain.studies.faithfulness import Faithfulness as Faithfulness

__all__ = ["Demo", "Faithfulness", "SwapQuestion", "demonstrate"]

# names that have moved to another package, under which they are still found here
__getattr__ = fetched(
    __name__,
    {
        "Answered": "silverstain.organism.two_hop:RecordedQuestions",
        **dict.fromkeys(("Questions", "followed", "questions"), "silverstain.organism.two_hop"),
    },
)

"""The papers' case studies, as executable protocols."""

from silverstain.fetching import fetched
from silverstain.studies.demo import Demo, SwapQuestion, demonstrate
from silverstain.studies.faithfulness import Faithfulness

__all__ = ["Demo", "Faithfulness", "SwapQuestion", "demonstrate"]

# names that have moved to another package, under which they are still found here
__getattr__ = fetched(
    __name__,
    {
        "Answered": "silverstain.organism.two_hop:RecordedQuestions",
        **dict.fromkeys(("Questions", "followed", "questions"), "silverstain.organism.two_hop"),
    },
)

"""The papers' case studies, as executable protocols."""

from silverstain.fetching import fetched
from silverstain.studies.demo import Demo as Demo
from silverstain.studies.demo import SwapQuestion as SwapQuestion
from silverstain.studies.demo import demonstrate as demonstrate

__all__ = ["Demo", "SwapQuestion", "demonstrate"]

# names that have moved to another package, under which they are still found here
__getattr__ = fetched(
    __name__,
    dict.fromkeys(("Answered", "Questions", "followed", "questions"), "silverstain.organism.two_hop"),
)

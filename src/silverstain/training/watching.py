"""The former name of `silverstain.evaluation.watching`, which see."""

from silverstain.evaluation.watching import Watch as Watch

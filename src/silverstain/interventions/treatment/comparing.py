"""The former name of `silverstain.treatment.comparing`, which see."""

from silverstain.treatment.comparing import best_steering as best_steering
from silverstain.treatment.comparing import compared as compared
from silverstain.treatment.comparing import fine_tuned as fine_tuned

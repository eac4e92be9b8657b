"""The former name of `silverstain.loading`, which see."""

from silverstain.loading import ReplacementModel as ReplacementModel
from silverstain.loading import load as load
from silverstain.loading import verify as verify

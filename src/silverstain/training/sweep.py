"""The former name of `silverstain.evaluation.frontier`, which see."""

from silverstain.evaluation.frontier import at_equal_parameters as at_equal_parameters
from silverstain.evaluation.frontier import sweep as sweep

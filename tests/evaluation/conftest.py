"""The tiny model of the tests of training."""

from tests.studies.conftest import loaded as loaded
from tests.training.conftest import model as model

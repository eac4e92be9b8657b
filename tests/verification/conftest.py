"""The tiny model, its dictionaries and the prompt of the tests of interventions."""

from tests.interventions.conftest import dictionary as dictionary
from tests.interventions.conftest import model as model
from tests.interventions.conftest import prompt as prompt

"""The tiny model that knows the towns of the small world."""

from tests.studies.conftest import loaded as loaded

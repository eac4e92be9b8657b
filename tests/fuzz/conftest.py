"""One warm process and one folder of samples for the whole run; how many examples are tried."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.fuzz import samples
from tests.fuzz.forked import Lines

EXAMPLES = int(os.environ.get("SILVERSTAIN_FUZZ", "5"))
"""Damaged inputs of each test: few in `make test`, many in `make fuzz`."""

tried = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 50, print_blob=False,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lines]:
    warm = Lines(tmp_path_factory.mktemp("streams"))
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, lines: Lines) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    samples.make(folder, lines)
    return folder

"""What the whole test run shares."""

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="accept the texts that golden files are compared with"
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests use matrices so small that threads only wait for each other."""
    torch.set_num_threads(1)

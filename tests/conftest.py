"""What the whole test run shares."""

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from silverstain.models import LanguageModel


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="accept the texts that golden files are compared with"
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests use matrices so small that threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def smollm2() -> "LanguageModel":
    """A real model, where it was fetched."""
    from silverstain.known_models import is_kept
    from silverstain.models import load_model

    if not is_kept("smollm2-135m"):
        pytest.skip("SmolLM2 is not here; fetch it: silverstain models get smollm2-135m")
    return load_model("smollm2-135m")

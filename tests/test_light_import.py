"""Importing silverstain, and asking it for help, loads nothing heavy."""

import subprocess
import sys

import pytest

import silverstain

HEAVY = ("torch", "transformers", "numpy", "scipy", "rich", "sklearn", "huggingface_hub")


def heavy_modules_after(code: str) -> set[str]:
    """Which of HEAVY are loaded in a fresh interpreter that has run `code`."""
    report = f"{code}\nimport sys; print('LOADED', *set({HEAVY!r}) & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True).stdout
    return set(printed.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import silverstain",
        "import silverstain; silverstain.UsageError, silverstain.__version__, dir(silverstain)",
        "import silverstain.errors, silverstain.storage",
        "import silverstain.cli; silverstain.cli.main(['--help'])",
        "import silverstain.cli; silverstain.cli.main(['trace', '--help'])",
        "import silverstain.cli; silverstain.cli.main(['no-such-verb'])",
        "import silverstain.cli; silverstain.cli.main(['trace', 'x', '--target', 'diff:a'])",
    ],
)
def test_nothing_heavy_is_loaded(code: str):
    assert heavy_modules_after(code) == set()


def test_the_check_can_fail():
    assert "numpy" in heavy_modules_after("import numpy")


@pytest.mark.parametrize("name", silverstain.__all__)
def test_every_public_name_is_found_and_called_so(name: str):
    found = getattr(silverstain, name)
    assert found == silverstain.version.__version__ if name == "__version__" else found.__name__ == name


def test_a_name_that_is_not_public_is_named_with_those_that_are():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'; it has Edit, Graph"):
        _ = silverstain.nothing

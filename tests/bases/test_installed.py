"""A dictionary that came as a package goes by its name wherever a dictionary is named."""

from pathlib import Path

import pytest
import torch
from tests.packages import installed_module

from silverstain.bases import open_dictionary, save_dictionary
from silverstain.bases.installed import installed_dictionary, installed_names
from silverstain.errors import UsageError
from silverstain.organism import dictionary_path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site-packages folder with a distribution that names a dictionary."""
    module = installed_module(tmp_path, "silverstain_tiny", "[silverstain_dictionaries]\ntiny-one = silverstain_tiny\n")
    save_dictionary(open_dictionary(dictionary_path("general", "per-layer")), module / "dictionary")
    monkeypatch.syspath_prepend(str(tmp_path))
    return module / "dictionary"


def test_an_installed_dictionary_is_opened_by_its_name(package):
    assert installed_dictionary("tiny-one") == package
    assert "tiny-one" in installed_names()
    here, there = open_dictionary("tiny-one"), open_dictionary(package)
    assert torch.equal(here.W_enc(0), there.W_enc(0))


def test_a_name_that_nobody_has_says_which_there_are(package):
    with pytest.raises(UsageError, match=r"or the name of one that is installed: .*tiny-one"):
        open_dictionary("tiny-two")


def test_a_folder_of_that_name_comes_first(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_dictionary(open_dictionary(dictionary_path("general", "cross-layer")), tmp_path / "tiny-one")
    assert open_dictionary("tiny-one").is_cross_layer


def test_a_package_without_its_files_is_as_none(package):
    package.rename(package.with_name("elsewhere"))
    assert installed_dictionary("tiny-one") is None

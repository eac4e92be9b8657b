"""What came as a package of its own is found by its name, and is not imported."""

import json
import sys
from pathlib import Path

import pytest
from tests.packages import installed_module

from silverstain.errors import UsageError
from silverstain.installed import installed_folder, names_installed
from silverstain.organism.files import GROUP, dictionary_path, litter_folder, model_path, organism_path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with an organism that the litter of this version does not bring along."""
    module = installed_module(tmp_path, "an_organism_package", f"[{GROUP}]\nfar-away = an_organism_package\n")
    folder = module / "organism"
    (folder / "far-away").mkdir(parents=True)
    (folder / "far-away" / "config.json").write_text(json.dumps({}), encoding="utf-8")
    kind = folder / "dictionaries" / "far-away" / "per-layer"
    kind.mkdir(parents=True)
    (kind / "config.yaml").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_an_organism_of_a_package_is_found_by_its_name(package: Path):
    assert installed_folder(GROUP, "far-away", "organism") == package
    assert names_installed(GROUP, "organism").count("far-away") == 1
    assert model_path("far-away") == package / "far-away"
    assert dictionary_path("far-away") == package / "dictionaries" / "far-away" / "per-layer"
    assert "an_organism_package" not in sys.modules


def test_the_package_itself_comes_first_and_a_folder_that_is_named_before_it(package: Path, tmp_path: Path):
    assert litter_folder("general") == organism_path()
    assert litter_folder("far-away", tmp_path) == tmp_path
    with pytest.raises(UsageError, match="there is no organism 'far-away' in"):
        model_path("far-away", tmp_path)


def test_organisms_that_are_there_are_named_with_those_of_packages(package: Path):
    with pytest.raises(UsageError, match=r"there is no organism 'nowhere'.*far-away.*general"):
        model_path("nowhere")


def test_without_a_name_the_first_kind_there_is_taken():
    assert dictionary_path("general").name == "cross-layer"
    assert dictionary_path("general", "per-layer").name == "per-layer"


def test_a_package_whose_module_is_gone_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    about = tmp_path / "gone-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gone\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\ngone = gone_module.inner\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_folder(GROUP, "gone", "organism") is None

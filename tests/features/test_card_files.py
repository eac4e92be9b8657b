"""Cards are found by the hash of their basis: in the cache, then in packages that bring some."""

import dataclasses
from pathlib import Path

import pytest
from tests.packages import installed_module

from silverstain.features import CardTable
from silverstain.features.assembling import assemble
from silverstain.features.card_files import cards_by_hash, kept_cards, named_cards
from silverstain.features.streaming import stream

from .conftest import World
from .test_streaming import rows


@pytest.fixture(scope="module")
def cards(world: World) -> CardTable:
    return assemble(stream(world.model, world.dictionary, rows()), world.model, world.dictionary)


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed package that brings cards."""
    folder = installed_module(tmp_path, "some_cards", "[silverstain_cards]\ntiny = some_cards\n") / "cards"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_cards_that_a_package_brought_are_found_by_the_hash_of_their_basis(cards, world, brought, tmp_path):
    basis_hash = world.dictionary.hash
    assert cards_by_hash(basis_hash, tmp_path / "cache") is None
    cards.save(kept_cards(world.dictionary.hash, brought))
    found = cards_by_hash(basis_hash, tmp_path / "cache")
    assert found is not None
    assert found.table.equals(cards.table)


def test_cards_that_a_package_brought_go_by_its_name_too(cards, world, brought, tmp_path):
    assert named_cards("tiny") == Path("tiny"), "the package has no file yet"
    cards.save(kept_cards(world.dictionary.hash, brought))
    assert named_cards("tiny") == kept_cards(world.dictionary.hash, brought)
    (tmp_path / "a file").write_bytes(b"")
    assert named_cards(tmp_path / "a file") == tmp_path / "a file"
    assert named_cards("nobody's") == Path("nobody's")


def test_cards_in_the_cache_come_before_those_of_a_package(cards, world, brought, tmp_path):
    own = dataclasses.replace(cards, meta={**cards.meta, "mine": True})
    cards.save(kept_cards(world.dictionary.hash, brought))
    own.save(kept_cards(world.dictionary.hash, tmp_path / "cache"))
    found = cards_by_hash(world.dictionary.hash, tmp_path / "cache")
    assert found is not None
    assert found.meta["mine"]


def test_a_damaged_file_and_one_of_another_basis_are_as_none(cards, world, brought, tmp_path):
    cards.save(brought / f"{'0' * 16}.parquet")
    assert cards_by_hash("0" * 16, tmp_path / "cache") is None
    kept_cards(world.dictionary.hash, tmp_path).write_bytes(b"PAR1 and no more")
    cards.save(kept_cards(world.dictionary.hash, brought))
    assert cards_by_hash(world.dictionary.hash, tmp_path) is not None, "the damaged one in the cache hides no other"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 7, "g" * 16])
def test_what_is_no_hash_names_no_file(name: str, brought, tmp_path):
    assert cards_by_hash(name, tmp_path) is None

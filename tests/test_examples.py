"""Every example runs as it stands, and the gallery's pictures are those it draws."""

import re
import runpy
from pathlib import Path

import pytest
from tests.test_docs import DOCS, needs_organism

OF_A_REAL_MODEL = {"capital"}
"""Pictures whose boxes are chosen among hundreds of thousands of neurons, where machines round differently."""
EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@needs_organism
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
    for picture in tmp_path.glob("gallery/*.svg"):
        if picture.stem in OF_A_REAL_MODEL:
            continue
        assert said_by(picture) == said_by(DOCS / "gallery" / picture.name), f"python examples/{path.name} docs/gallery"


def said_by(picture: Path) -> set[str]:
    """What a drawing's description says: which box gets something from which. Figures are the machine's own."""
    (text,) = re.findall(r"<desc>(.*?)</desc>", picture.read_text(encoding="utf-8"))
    return {re.sub(r"[-+−]?\.?\d[\d.]*", "#", part) for part in text.split("; ")}


def test_every_picture_of_the_gallery_is_drawn_and_shown():
    pictures = {path.stem for path in (DOCS / "gallery").glob("*")}
    shown = re.findall(r"\]\(gallery/([\w-]+)\.svg\)", (DOCS / "gallery.md").read_text(encoding="utf-8"))
    gallery = runpy.run_path(str(next(path for path in EXAMPLES if path.stem == "gallery")))
    assert {picture.name for picture in gallery["PICTURES"]} == pictures == set(shown)

"""The documentation: what it shows runs, and what there is, it mentions."""

import pkgutil
import re
import unicodedata
from pathlib import Path

import pytest
import typer
from tests.documented import blocks_of, difference, run_page
from tests.test_imports import FORMER, SOURCE, dotted

from silverstain.cli.main import FAULT, INTERRUPTED, MISTAKE, OUT_OF_MEMORY, VERBS, app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FORMER_NAMES = {dotted(Path(name)) for name in FORMER}
PAGES = sorted(DOCS.rglob("*.md"))
ORGANISM = ROOT / "src" / "silverstain" / "organism" / "data" / "dictionaries" / "general"
needs_organism = pytest.mark.skipif(
    not all((ORGANISM / kind / "config.yaml").exists() for kind in ("cross-layer", "per-layer")),
    reason="the organism's dictionaries are not grown yet: silverstain organism grow",
)


WIDEST = 112
"""Columns of code that a page shows without scrolling, in a window of 1,440 points: measured in a browser."""


def anchor_of(heading: str) -> str:
    """The anchor that mkdocs gives a heading."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\{[^}]*\}", "", heading)).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=name_of)


@needs_organism
@pytest.mark.parametrize(
    "page",
    [page for page in [*PAGES, ROOT / "README.md"] if any(block.runs for block in blocks_of(page.read_text("utf-8")))],
    ids=name_of,
)
def test_examples_run_and_print_what_is_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    _, found = run_page(page.read_text("utf-8"), str(page))
    for one in found:
        if not one.varies:
            assert (wrong := difference(one.shown, one.came)) is None, f"{one.what}\n{wrong}"


@every_page
def test_links_lead_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert link.startswith("http") or (page.parent / link).exists(), f"{page.name} links to {link}"


@every_page
def test_anchors_of_links_are_headings(page: Path):
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        text = (page.parent / link if link else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in {anchor_of(heading) for heading in headings}, f"{page.name} links to {link}#{anchor}"


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@every_page
def test_what_is_shown_fits_on_the_page(page: Path):
    """A page of the built documentation shows so many columns; what is wider is scrolled, which nobody should need."""
    for block in blocks_of(page.read_text(encoding="utf-8")):
        assert max(map(len, block.text.splitlines()), default=0) <= WIDEST, f"{page.name}: {block.text[:60]}"


def test_every_verb_and_flag_is_documented():
    """Flags that several verbs share are named once, at the top."""
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    for verb in VERBS:
        assert f"\n## {verb}\n" in text
        command = group.get_command(None, verb)  # pyright: ignore
        for parameter in command.params:
            flags = [flag for flag in parameter.opts if flag.startswith("--")]
            assert not flags or any(flag in text for flag in flags), f"{verb} {flags[0]}"


def test_exit_codes_are_documented():
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    for code in (0, FAULT, MISTAKE, OUT_OF_MEMORY, INTERRUPTED):
        assert f"\n| {code} |" in text


def test_every_package_is_named_where_a_newcomer_looks():
    """In the first table of CONTRIBUTING.md, a line each; and what else is in the house, beside it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z]+)` \| \S", text, re.MULTILINE)
    beside = set(re.findall(r"`([a-z]+)\.py`", text))
    former = {name.removesuffix(".py") for name in FORMER}
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    files = {path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("__")} - former
    assert sorted(listed) == sorted(packages)
    assert files <= beside


def test_a_newcomer_is_led_to_folders_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text[text.index("| looking for |") :].split("\n\n")[0].splitlines()[2:]
    ideas = [line.split("|")[1].strip() for line in table]
    assert len(ideas) == len(set(ideas)) >= 10
    for line in table:
        folders = re.findall(r"`([a-z/]+)`", line.split("|")[2])
        assert folders, line
        assert all((SOURCE / folder / "__init__.py").exists() for folder in folders), line


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_names_of_ours_that_a_page_mentions_are_there(page: Path):
    for name in re.findall(r"\bsilverstain(?:\.[A-Za-z_]\w*)+(?![\w/])", page.read_text(encoding="utf-8")):
        if not name.endswith(".json"):
            assert not any(f"{name}.".startswith(f"{former}.") for former in FORMER_NAMES), f"{page.name}: {name} moved"
            pkgutil.resolve_name(name)


def test_the_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text

"""The documentation: what it shows runs, and what there is, it mentions."""

import importlib
import pkgutil
import re
import shlex
import textwrap
import tomllib
import unicodedata
from pathlib import Path

import pytest
import typer
import yaml
from tests.documented import blocks_of, difference, missing_models, run_page
from tests.test_imports import FORMER, SOURCE, dotted

from silverstain import __version__
from silverstain.cli import main
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
    [page for page in [*PAGES, ROOT / "README.md"] if any(one.runs for one in blocks_of(page.read_text("utf-8")))],
    ids=name_of,
)
def test_examples_run_and_print_what_is_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    _, found = run_page(page.read_text("utf-8"), str(page))
    for one in found:
        if not one.varies:
            assert (wrong := difference(one.shown, one.came)) is None, f"{one.what}\n{wrong}"
    if missing := missing_models(page.read_text("utf-8")):
        pytest.skip(f"the rest ran; some examples need a model: silverstain models get {missing[0]}")


def test_a_block_that_needs_a_model_which_is_not_here_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SILVERSTAIN_CACHE", str(tmp_path))
    page = "<!-- needs smollm2-135m -->\n```python\nraise SystemExit\n```\n\n```python\nprint(1)\n```\n"
    prints = '\n```text title="prints"\n{}\n```\n'
    written, found = run_page(page + prints.format(2), "page")
    assert written == page + prints.format(1)
    assert [(one.shown, one.came) for one in found] == [("2\n", "1\n")]
    assert missing_models(page) == ["smollm2-135m"]


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
    beside = set(re.findall(r"`([a-z_]+)\.py`", text))
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
        if not name.endswith((".json", ".md")):
            assert not any(f"{name}.".startswith(f"{former}.") for former in FORMER_NAMES), f"{page.name}: {name} moved"
            pkgutil.resolve_name(name)


def stable(lines: list[str]) -> list[str]:
    """Lines of an output that no figure and no drawing is in: words, which stay as they are on any machine."""
    return [" ".join(line.split()) for line in lines if line.strip() and not re.search(r"\d(?!\. )|[─│╭▲]", line)]


@needs_organism
def test_the_demonstration_prints_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (shown,) = (one.text for one in blocks_of((ROOT / "README.md").read_text("utf-8")) if one.language == "text")
    assert main(["demo", "--width", "120", "--no-real"]) == 0
    printed = capsys.readouterr().out
    said = stable(printed[printed.index("3. The proof") :].splitlines())
    assert len(said) >= 4
    assert stable(shown.splitlines()) == said
    assert main(["verify", "runs/demo/dallas.safetensors", "--sources", "8", "--inhibited", "2"]) == 0


@needs_organism
def test_the_commands_and_the_code_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    \.venv/bin/silverstain (.+)$", text, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        assert main(shlex.split(command)) == 0, f"{command}\n{capsys.readouterr().err}"
    code = text[text.index("    import silverstain\n") :].split("\n\n`docs/`")[0]
    exec(compile(textwrap.dedent(code), "README.md", "exec"), {"__name__": "documentation"})


def test_the_project_says_one_thing_in_all_its_files():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == project["license"]
    assert citation["repository-code"] == project["urls"]["Source"]
    for url in project["urls"].values():
        there = re.sub(r"/(?:tree|blob)/main", "", url.removeprefix(project["urls"]["Source"])).lstrip("/")
        assert there == "issues" or (ROOT / there).exists()


def public_names(package: str) -> list[str]:
    """What a package means to be used: its `__all__`, or what it imports under the same name."""
    module = importlib.import_module(package)
    listed = getattr(module, "__all__", None)
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    return sorted(listed if listed is not None else re.findall(r"import (\w+) as \1$", source, re.MULTILINE))


@pytest.mark.parametrize("page", sorted((DOCS / "api").glob("*.md")), ids=lambda page: page.stem)
def test_the_reference_of_a_package_has_its_public_names(page: Path):
    text = page.read_text(encoding="utf-8")
    (package,) = re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)
    assert sorted(re.findall(r"^        - (\w+)$", text, re.MULTILINE)) == public_names(package)


def test_pages_fetch_nothing_from_elsewhere():
    """Neither fonts nor scripts: what mkdocs adds is settled in mkdocs.yml, what we add lies in docs/."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    assert "iframe-worker.js" in settings  # or the offline plugin takes one from a server
    for path in [*DOCS.rglob("*.css"), *DOCS.rglob("*.js"), *DOCS.rglob("*.svg")]:
        assert not re.search(r"(?:src|href|url)[=(]['\"]?https?:", path.read_text(encoding="utf-8"))
    assert "http" not in re.sub(r"#.*", "", settings)


def test_the_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text

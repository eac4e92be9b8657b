"""The documentation: what it shows runs, and what there is, it mentions."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from silverstain.cli import main
from silverstain.cli.main import FAULT, INTERRUPTED, MISTAKE, OUT_OF_MEMORY, VERBS, app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
ORGANISM = ROOT / "src" / "silverstain" / "organism" / "data" / "dictionaries" / "general"
needs_organism = pytest.mark.skipif(
    not all((ORGANISM / kind / "config.yaml").exists() for kind in ("cross-layer", "per-layer")),
    reason="the organism's dictionaries are not grown yet: silverstain organism grow",
)


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


@needs_organism
@pytest.mark.parametrize("page", pages_with("python"), ids=lambda page: page.stem)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    code = compile("\n".join(blocks(page, "python")), str(page), "exec")
    exec(code, {"__name__": "documentation"})


@needs_organism
@pytest.mark.parametrize("page", pages_with("console"), ids=lambda page: page.stem)
def test_console_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                _, *words = shlex.split(line.removeprefix("$ "))
                assert main(words) == 0, f"{line}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert link.startswith("http") or (DOCS / link).exists(), f"{page.name} links to {link}"


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert listed == {page.name for page in PAGES}


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


def test_the_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text

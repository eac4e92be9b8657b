"""`silverstain text` with packages made here and clients that serve them: fetched whole or not at all, removed."""

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

import silverstain.corpora.keeping as keeping
from silverstain.cli import main
from silverstain.corpora import clients
from silverstain.corpora.sources import SOURCES, TextSource, kept_file, known_texts, texts_folder
from silverstain.errors import UsageError

PROSE = "\n\n".join(
    f"Paragraph {n} tells of the {word} that stood by the old bridge, and of those who came to see it each morning."
    for n, word in enumerate(["tower", "mill", "harbour", "garden", "market"])
)
APT = """#!/bin/sh
for name; do :; done
if [ -f "$SHELF/no-network" ]; then
    echo "E: Failed to fetch http://deb.example/x.deb  Temporary failure resolving 'deb.example'"; exit 100
fi
[ -f "$SHELF/$name.deb" ] || { echo "E: Unable to locate package $name"; exit 100; }
cp "$SHELF/$name.deb" "$PWD/${name}_1_all.deb"
"""
NPM = """#!/bin/sh
[ -f "$SHELF/no-network" ] && { echo "npm ERR! code ENOTFOUND"; exit 1; }
[ -f "$SHELF/$2.tgz" ] || { echo "npm ERR! code E404"; exit 1; }
cp "$SHELF/$2.tgz" "$PWD/package.tgz"
"""
needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="packages of Debian are unpacked with dpkg-deb")


def page(text: str) -> str:
    paragraphs = "".join(f"<p>{part}</p>" for part in text.split("\n\n"))
    return f"<html><body><nav>menu</nav>{paragraphs}</body></html>"


def make_deb(shelf: Path, name: str, version: str, files: dict[str, str]) -> None:
    root = shelf / f"{name}-root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: n <n@example>\nDescription: x\n"
    )
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    (root / "usr/doc/link.html").symlink_to("/etc/passwd")
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(root), str(shelf / f"{name}.deb")]
    subprocess.run(command, check=True, capture_output=True)


def make_npm(shelf: Path, name: str, files: dict[str, str]) -> None:
    with tarfile.open(shelf / f"{name}.tgz", "w:gz") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content.encode())
            archive.addfile(entry, BytesIO(content.encode()))


def make_wheel(shelf: Path, files: dict[str, str]) -> None:
    about = "tiny_text-1.0.dist-info"
    with zipfile.ZipFile(shelf / "tiny_text-1.0-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-text\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def source(name: str, kind: str, packages: tuple[str, ...], read_as: str, take: str, **more) -> TextSource:
    return TextSource(
        name=name, about="a text of tests", kind=kind, packages=packages, read_as=read_as, take=(take,), licence="none",  # type: ignore[arg-type]
        words=100, download_bytes=1000, **more,
    )  # fmt: skip


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """A folder of packages, clients that serve it, three texts that come from it, and a cache of their own."""
    folder, programs = tmp_path / "shelf", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    for name, script in {"apt-get": APT, "npm": NPM}.items():
        (programs / name).write_text(script)
        (programs / name).chmod((programs / name).stat().st_mode | stat.S_IXUSR)
    if shutil.which("dpkg-deb"):
        make_deb(folder, "tiny-doc-2", "1:2.0-1", {"usr/doc/a.html": page(PROSE), "usr/doc/index.html": page("x")})
    make_npm(folder, "tiny-novel@1.0", {"package/novel.txt": PROSE, "package/index.js": "code"})
    make_wheel(folder, {"tiny_text/novel.txt": PROSE})
    monkeypatch.setenv("SHELF", str(folder))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SILVERSTAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    texts = [
        source("tiny-doc", "debian", ("tiny-doc-1", "tiny-doc-2"), "html", "usr/doc/*.html", held_out=True),
        source("tiny-novel", "npm", ("tiny-novel",), "plain", "package/*.txt", version="1.0"),
        source("tiny-wheel", "pypi", ("tiny-text",), "plain", "tiny_text/*.txt", version="1.0"),
    ]
    for name in list(SOURCES):
        monkeypatch.delitem(SOURCES, name)  # pyright: ignore[reportArgumentType]
    for text in texts:
        monkeypatch.setitem(SOURCES, text.name, text)  # pyright: ignore[reportArgumentType]
    return folder


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(words)
    return code, *capsys.readouterr()


def refused(capsys, *words: str) -> str:
    """The last line of a command that must be refused."""
    code, _, err = run(capsys, *words)
    assert code == 2
    line = err.strip().splitlines()[-1]
    assert line.startswith("silverstain: ")
    return line


def kept() -> list[str]:
    return sorted(path.name for path in texts_folder().iterdir()) if texts_folder().exists() else []


def rows_of(name: str) -> list[dict]:
    return [json.loads(line) for line in kept_file(name).read_text(encoding="utf-8").splitlines()]


@needs_dpkg
def test_a_debian_package_is_fetched_listed_and_removed(shelf, capsys):
    code, out, err = run(capsys, "text", "get", "tiny-doc")
    assert (code, out) == (0, "")
    assert "tiny-doc: 110 words in 1 documents of tiny-doc-2 1:2.0-1, none" in err
    assert rows_of("tiny-doc") == [
        {"text": PROSE, "source": "tiny-doc", "licence": "none", "document": "usr/doc/a.html", "held_out": True}
    ]
    assert kept() == ["tiny-doc.json", "tiny-doc.jsonl"]
    about = json.loads((texts_folder() / "tiny-doc.json").read_text())
    assert (about["package"], about["version"], about["words"], about["held_out"]) == (
        "tiny-doc-2",
        "1:2.0-1",
        110,
        True,
    )
    assert len(about["sha256"]) == 64

    assert run(capsys, "text", "path", "tiny-doc")[1].strip() == str(kept_file("tiny-doc"))
    assert run(capsys, "text", "path", "@held-out")[1].strip() == str(kept_file("tiny-doc"))
    listed = json.loads(run(capsys, "text", "list", "--json")[1])["texts"]
    assert [(one["name"], one["here"], one["held_out"]) for one in listed] == [
        ("tiny-doc", True, True), ("tiny-novel", False, False), ("tiny-wheel", False, False),
    ]  # fmt: skip
    shown = run(capsys, "text", "list")[1].splitlines()
    assert shown[1].split()[-4:] == ["here,", "1:2.0-1", "held", "out"]
    assert "tiny-doc is here already" in run(capsys, "text", "get", "tiny-doc")[2]
    assert run(capsys, "text", "remove", "tiny-doc")[0] == 0
    assert kept() == []


@pytest.mark.parametrize(
    ("name", "member"), [("tiny-novel", "package/novel.txt"), ("tiny-wheel", "tiny_text/novel.txt")]
)
def test_packages_of_npm_and_the_python_index_are_fetched(shelf, capsys, name, member):
    found = json.loads(run(capsys, "text", "get", name, "--json")[1])["texts"]
    assert [(one["name"], one["fetched"], one["documents"], one["version"]) for one in found] == [
        (name, True, 1, "1.0")
    ]
    assert [(row["text"], row["document"]) for row in rows_of(name)] == [(PROSE, member)]
    assert json.loads(run(capsys, "text", "get", name, "--json")[1])["texts"][0]["fetched"] is False


@needs_dpkg
def test_a_changed_package_is_said_and_replaces_its_text_whole(shelf, capsys):
    run(capsys, "text", "get", "tiny-doc")
    other = PROSE.replace("bridge", "church")
    make_deb(shelf, "tiny-doc-2", "1:2.0-2", {"usr/doc/b.html": page(other)})
    assert "here already" in run(capsys, "text", "get", "tiny-doc")[2]
    _, _, err = run(capsys, "text", "get", "tiny-doc", "--again")
    assert (
        "tiny-doc is of another package than before: tiny-doc-2 1:2.0-2, it was tiny-doc-2 1:2.0-1; the former text "
        "was replaced whole"
    ) in err
    assert [(row["text"], row["document"]) for row in rows_of("tiny-doc")] == [(other, "usr/doc/b.html")]
    assert "another package" not in run(capsys, "text", "get", "tiny-doc", "--again")[2]


def test_a_package_that_is_not_the_known_one_is_refused(shelf, capsys, monkeypatch):
    monkeypatch.setitem(SOURCES, "tiny-novel", replace(SOURCES["tiny-novel"], sha256="0" * 64))  # pyright: ignore
    line = refused(capsys, "text", "get", "tiny-novel")
    assert "what came as tiny-novel 1.0 is not the known package: its sha256 is" in line
    assert kept() == []


@needs_dpkg
def test_the_others_go_on_where_one_cannot_be_had(shelf, capsys):
    (shelf / "tiny-doc-2.deb").unlink()
    code, out, err = run(capsys, "text", "get", "all", "--json")
    assert code == 2
    found = json.loads(out)
    assert [one["name"] for one in found["texts"]] == ["tiny-novel", "tiny-wheel"]
    assert "its lists do not have it; refresh them ((as root) apt-get update)" in found["failed"]["tiny-doc"]
    assert "1 of 3 texts could not be had (tiny-doc); the others are there" in err
    assert "silverstain text get tiny-doc" in err
    assert kept() == ["tiny-novel.json", "tiny-novel.jsonl", "tiny-wheel.json", "tiny-wheel.jsonl"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tiny-doc", "cannot fetch the Debian package tiny-doc-1 with apt-get: the server is out of reach; check the"),
        ("tiny-novel", "cannot fetch the npm package tiny-novel@1.0 with npm: the server is out of reach; check the"),
    ],
)
def test_no_network_is_one_line(shelf, capsys, name, said):
    (shelf / "no-network").touch()
    line = refused(capsys, "text", "get", name)
    assert said in line
    assert line.endswith(f"then: silverstain text get {name}")
    assert kept() == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tiny-doc", "apt-get is not here, which fetches Debian's packages: on Debian and its relatives it is always"),
        (
            "tiny-novel",
            "npm is not here, which fetches packages of npm: install it (Debian: apt-get install npm), then",
        ),
    ],
)
def test_a_client_that_is_not_there_is_one_line(shelf, tmp_path, monkeypatch, capsys, name, said):
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert said in refused(capsys, "text", "get", name)
    assert kept() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("get", "tiny-dok"),
            "there is no known text 'tiny-dok'; did you mean tiny-doc? The known ones are tiny-doc, ",
        ),
        (("get", "tiny-novel", "\x1b[2J"), "there is no known text '\\\\x1b[2J'; "),
        (("path", "tiny-doc"), "the text tiny-doc is not there yet (looked in "),
        (("path",), "no text is there yet (looked in "),
        (("path", "@training"), "of what @training stands for, no text is there yet"),
        (("remove", "tiny-doc"), "the text tiny-doc is not here, so there is nothing to remove; here: none"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(shelf, capsys, words, said):
    assert said in refused(capsys, "text", *words)


def test_a_package_without_text_is_one_line(shelf, capsys):
    make_npm(shelf, "tiny-novel@1.0", {"package/readme.md": PROSE})
    line = refused(capsys, "text", "get", "tiny-novel")
    assert "is another than tiny-novel was made for: none of its files is package/*.txt" in line
    make_npm(shelf, "tiny-novel@1.0", {"package/a.txt": "short"})
    assert "its 1 files have no text" in refused(capsys, "text", "get", "tiny-novel")
    assert kept() == []


def test_a_damaged_package_is_one_line(shelf, capsys):
    content = (shelf / "tiny-novel@1.0.tgz").read_bytes()
    (shelf / "tiny-novel@1.0.tgz").write_bytes(content[: len(content) // 2])
    assert "the package tiny-novel 1.0 is damaged" in refused(capsys, "text", "get", "tiny-novel")
    assert kept() == []


@needs_dpkg
def test_a_damaged_debian_package_is_one_line(shelf, capsys):
    content = (shelf / "tiny-doc-2.deb").read_bytes()
    (shelf / "tiny-doc-2.deb").write_bytes(content[:-200])
    assert "is damaged" in refused(capsys, "text", "get", "tiny-doc")
    assert kept() == []


def test_a_file_that_is_too_large_is_not_read(shelf, monkeypatch, capsys):
    monkeypatch.setattr(clients, "MOST_BYTES", 100)
    assert "its package/novel.txt is larger than" in refused(capsys, "text", "get", "tiny-novel")


def test_a_full_disk_is_foreseen(shelf, monkeypatch, capsys):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "there is no room for tiny-novel in" in refused(capsys, "text", "get", "tiny-novel")
    assert kept() == []


@pytest.mark.parametrize("step", ["fetch_package", "cleaned", "_write", "write_json_whole"])
def test_a_disk_that_fills_up_leaves_what_was_there_or_nothing(shelf, step, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keeping, step, full)
        line = refused(capsys, "text", "get", "tiny-novel")
    assert "there was no room left for tiny-novel" in line
    assert "set SILVERSTAIN_CACHE to a folder on another disk" in line
    assert "the text tiny-novel is not there yet" in refused(capsys, "text", "path", "tiny-novel")
    assert run(capsys, "text", "get", "tiny-novel")[0] == 0
    assert kept() == ["tiny-novel.json", "tiny-novel.jsonl"]


@pytest.mark.parametrize("step", ["fetch_package", "cleaned", "_write"])
def test_ctrl_c_leaves_what_was_there(shelf, step, monkeypatch, capsys):
    run(capsys, "text", "get", "tiny-novel")
    before = kept_file("tiny-novel").read_bytes()

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(keeping, step, stopped)
    code, out, err = run(capsys, "text", "get", "tiny-novel", "--again")
    assert (code, out) == (130, "")
    assert err.endswith("silverstain: interrupted\n")
    assert kept() == ["tiny-novel.json", "tiny-novel.jsonl"]
    assert kept_file("tiny-novel").read_bytes() == before
    assert run(capsys, "text", "path")[0] == 0


KILLED = """
import os, signal
import silverstain.corpora.keeping as keeping
from silverstain.corpora.sources import TextSource
keeping.write_json_whole = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
keeping.keep_text(TextSource(name="brown", about="", kind="npm", packages=("tiny-novel",), read_as="plain",
    take=("package/*.txt",), licence="", words=1, download_bytes=1, version="1.0"))
"""


def test_a_kill_leaves_nothing_that_counts_and_the_next_run_sweeps_it(shelf, capsys, monkeypatch):
    ended = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert any(name.startswith(".silverstain-") for name in kept())
    monkeypatch.setitem(SOURCES, "brown", SOURCES["tiny-novel"])  # pyright: ignore[reportArgumentType]
    assert "is not there yet" in refused(capsys, "text", "path", "brown")
    run(capsys, "text", "list")
    assert not any(name.startswith(".silverstain-") for name in kept())


def test_two_fetches_do_not_meet(shelf, capsys):
    from silverstain.parts import only_run_in

    with only_run_in(texts_folder(), "x"):
        assert "another fetch of texts is running in" in refused(capsys, "text", "get", "tiny-novel")


def test_a_text_that_was_changed_by_hand_does_not_count(shelf, capsys):
    run(capsys, "text", "get", "tiny-novel")
    with kept_file("tiny-novel").open("a") as file:
        file.write("{}\n")
    assert "is not there yet" in refused(capsys, "text", "path", "tiny-novel")


def test_the_table_is_sound():
    """Three whole packages are held out, readers are there, and `all` is every text."""
    from silverstain.corpora.readers import READERS

    assert known_texts(["all"]) == list(SOURCES.values())
    held_out = [entry for entry in SOURCES.values() if entry.held_out]
    assert {entry.name for entry in held_out} == {"austen", "debian-handbook", "postgresql-doc"}
    for name, entry in SOURCES.items():
        assert name == entry.name
        assert entry.read_as in READERS
        assert entry.kind == "debian" or entry.version
    with pytest.raises(UsageError, match="there is no known text 'Brown'; did you mean brown"):
        known_texts(["Brown"])

"""`silverstain models` against an index in a folder: fetched, kept whole or not at all, named, removed."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from io import StringIO
from pathlib import Path

import pytest

import silverstain.models.keeping as keeping
from silverstain.child_processes import watched
from silverstain.cli import main
from silverstain.errors import UsageError
from silverstain.known_models import KNOWN_MODELS, KnownModel, Terms, Wheel, cache_folder, kept_folder
from silverstain.models import load_model
from silverstain.pip_wheels import copy_member

from ..gguf_files import write_gguf  # noqa: TID252 - tests are no package that could be named

PACKAGE = "tiny-model-of-tests"
TERMS = Terms(name="the Tiny Terms", link="https://tiny.example/terms", summary="Be kind.", full_text="TERMS.html")


def write_wheel(folder: Path, package: str, files: dict[str, bytes]) -> None:
    stem = f"{package.replace('-', '_')}-1.0"
    about = f"{stem}.dist-info"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        # a dependency that is nowhere: nothing but the wheel may be asked for
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: nowhere\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    """A folder of two wheels that hold a GGUF file in two parts."""
    folder = tmp_path_factory.mktemp("index")
    write_gguf(folder / "tiny.gguf")
    content = (folder / "tiny.gguf").read_bytes()
    half = len(content) // 2
    write_wheel(folder, PACKAGE, {"tiny/a.part00": content[:half], "tiny/TERMS.html": b"be kind"})
    write_wheel(folder, f"{PACKAGE}-part2", {"tiny2/a.part01": content[half:]})
    return folder


@pytest.fixture
def tiny_known(shelf, tmp_path, monkeypatch) -> KnownModel:
    """A known model of that folder, with a cache of its own."""
    content = (shelf / "tiny.gguf").read_bytes()
    entry = KnownModel(
        name="tiny-1k",
        about="a random model",
        licence="none",
        version="1.0",
        wheels=(
            Wheel(package=PACKAGE, data="tiny/a.part00", papers=("tiny/TERMS.html",)),
            Wheel(package=f"{PACKAGE}-part2", data="tiny2/a.part01"),
        ),
        sha256=hashlib.sha256(content).hexdigest(),
        gguf_bytes=len(content),
        download_bytes=len(content),
        kept_bytes=len(content),
    )
    monkeypatch.setitem(KNOWN_MODELS, entry.name, entry)  # pyright: ignore[reportArgumentType]
    monkeypatch.setenv("SILVERSTAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return entry


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(words)
    return code, *capsys.readouterr()


def refused(capsys, *words: str) -> str:
    """The one line of a command that must be refused."""
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    line = err.strip().splitlines()[-1]
    assert line.startswith("silverstain: ")
    return line


def nothing_is_kept() -> bool:
    folder = cache_folder() / "models"
    return not folder.exists() or list(folder.iterdir()) == []


def test_a_model_is_fetched_named_listed_and_removed(tiny_known, capsys):
    code, out, err = run(capsys, "models", "get", "tiny-1k")
    assert (code, out) == (0, "")
    assert "tiny-1k is here, weights of a GGUF file in F32" in err
    folder = kept_folder("tiny-1k")
    assert (folder / "TERMS.html").read_bytes() == b"be kind"
    assert [path.name for path in folder.parent.iterdir()] == ["tiny-1k"]

    model = load_model("tiny-1k")
    assert model.name == "tiny-1k"
    assert model.about["origin"]["package"] == PACKAGE
    assert model.token_strings(model.chat("a"))[0] == "<|im_start|>"

    listed = json.loads(run(capsys, "models", "list", "--json")[1])["models"]
    mine = next(one for one in listed if one["name"] == "tiny-1k")
    assert mine["here"]
    assert mine["path"] == str(folder)
    assert mine["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert "here, weights of a GGUF" in run(capsys, "models", "list")[1]
    assert run(capsys, "models", "path", "tiny-1k")[1].strip() == str(folder)

    assert json.loads(run(capsys, "models", "get", "tiny-1k", "--json")[1])["fetched"] is False
    assert run(capsys, "models", "remove", "tiny-1k")[0] == 0
    assert nothing_is_kept()


def test_what_is_kept_is_what_the_file_holds(tiny_known, shelf, capsys):
    """The same tokens, the same weights, and the hash that is kept is the hash."""
    run(capsys, "models", "get", "tiny-1k")
    kept = load_model("tiny-1k")
    with pytest.warns(UserWarning, match="read by transformers"):
        whole = load_model(shelf / "tiny.gguf")
    assert kept.hash == whole.hash
    for text in ("the  12", " the the\n", "é½", "<|im_start|>user\nthe<|im_end|>"):
        assert kept.tokenize(text) == whole.tokenize(text)
        assert kept.tokenizer.decode(kept.tokenize(text)) == whole.tokenizer.decode(whole.tokenize(text))
    assert kept.tokenizer.chat_template == whole.tokenizer.chat_template
    assert kept.end_tokens == whole.end_tokens == {2}


def test_a_changed_file_does_not_keep_its_hash(tiny_known, capsys):
    from safetensors.torch import load_file, save_file

    run(capsys, "models", "get", "tiny-1k")
    folder = kept_folder("tiny-1k")
    before, seen = load_model("tiny-1k").hash, (folder / "model.safetensors").stat()
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    os.utime(folder / "model.safetensors", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    changed = load_model("tiny-1k")
    assert changed.hash != before
    assert changed.hash == load_model(folder).hash  # which keeps none
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": ', '"rms_norm_eps": 1'))
    assert load_model("tiny-1k").hash != changed.hash


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trace", "x", "--model", "tiny-1k", "--dictionary", "org/x"), "fetch it: silverstain models get tiny-1k"),
        (("models", "path", "tiny-1k"), "fetch it: silverstain models get tiny-1k"),
        (("models", "get", "tinny-1k"), "there is no known model 'tinny-1k'; did you mean tiny-1k?"),
        (("trace", "x", "--model", "tinny-1k", "--dictionary", "org/x"), "did you mean tiny-1k?"),
        (("models", "remove", "tiny-1k"), "is not here, so there is nothing to remove; here: none"),
        (("models", "remove", "x"), "there is no known model 'x'; the known ones are"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(tiny_known, capsys, words, said):
    assert said in refused(capsys, *words)


def test_terms_are_shown_and_must_be_accepted(tiny_known, monkeypatch, capsys):
    from dataclasses import replace

    monkeypatch.setitem(KNOWN_MODELS, "tiny-1k", replace(tiny_known, terms=TERMS))  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr("sys.stdin", StringIO())  # a script's
    line = refused(capsys, "models", "get", "tiny-1k")
    assert "which nobody has accepted here" in line
    assert "silverstain models get tiny-1k --accept-terms" in line
    assert nothing_is_kept()
    code, _, err = run(capsys, "models", "get", "tiny-1k", "--accept-terms")
    assert code == 0
    assert "Be kind." in err
    assert TERMS.link in err


def test_another_file_under_the_name_is_refused(tiny_known, monkeypatch, capsys):
    from dataclasses import replace

    other = replace(tiny_known, sha256="0" * 64)
    monkeypatch.setitem(KNOWN_MODELS, "tiny-1k", other)  # pyright: ignore[reportArgumentType]
    assert "is not the known file: its sha256 is" in refused(capsys, "models", "get", "tiny-1k")
    assert nothing_is_kept()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tiny/b": b"x"}, "is not what was expected: it has no tiny/a.part00"),
        ({"tiny/a.part00": b"x" * 10_000_000}, "its tiny/a.part00 is larger than it should be"),
    ],
)
def test_a_wheel_that_holds_something_else_is_refused(tiny_known, files, said, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "other"
    folder.mkdir()
    write_wheel(folder, PACKAGE, files)
    write_wheel(folder, f"{PACKAGE}-part2", {"tiny2/a.part01": b""})
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    assert said in refused(capsys, "models", "get", "tiny-1k")
    assert nothing_is_kept()


def test_a_damaged_wheel_is_refused(tmp_path):
    (tmp_path / "a-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(UsageError, match="is not what was expected"), (tmp_path / "out").open("wb") as out:
        copy_member(tmp_path / "a-1.0-py3-none-any.whl", "x", out, most_bytes=10)


def test_an_index_out_of_reach_is_one_line(tiny_known, monkeypatch, capsys):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    line = refused(capsys, "models", "get", "tiny-1k")
    assert "the package index is out of reach; check the network and pip's settings" in line
    assert nothing_is_kept()


def test_a_package_that_the_index_lacks_is_one_line(tiny_known, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    line = refused(capsys, "models", "get", "tiny-1k")
    assert f"cannot fetch {PACKAGE}==1.0 with pip: the package index does not have it, or is out of reach" in line


def test_a_full_disk_is_foreseen(tiny_known, monkeypatch, capsys):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "there is no room for tiny-1k in" in refused(capsys, "models", "get", "tiny-1k")
    assert nothing_is_kept()


@pytest.mark.parametrize("step", ["save_model", "save_tokenizer", "copy_member"])
def test_a_disk_that_fills_up_leaves_nothing(tiny_known, step, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keeping, step, full)
    line = refused(capsys, "models", "get", "tiny-1k")
    assert "there was no room left for tiny-1k" in line
    assert "set SILVERSTAIN_CACHE to a folder on another disk" in line
    assert nothing_is_kept()


def test_a_cache_that_cannot_be_made_is_one_line(tiny_known, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SILVERSTAIN_CACHE", str(tmp_path / "file"))
    assert "cannot write" in refused(capsys, "models", "get", "tiny-1k")


@pytest.mark.parametrize("step", ["download", "copy_member", "save_model", "write_origin"])
def test_ctrl_c_leaves_nothing(tiny_known, step, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(keeping, step, stopped)
    code, out, err = run(capsys, "models", "get", "tiny-1k")
    assert (code, out) == (130, "")
    assert err.endswith("silverstain: interrupted\n")
    assert nothing_is_kept()


def test_pip_ends_when_we_are_stopped(tmp_path):
    def stop():
        raise KeyboardInterrupt

    note = tmp_path / "pid"
    script = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    seen = []

    def look():
        if note.exists() and note.read_text():
            seen.append(int(note.read_text()))
            stop()

    with pytest.raises(KeyboardInterrupt):
        watched([sys.executable, "-c", script], dict(os.environ), look)
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


KILLED = """
import signal, os, sys
import silverstain.models.keeping as keeping
from silverstain.child_processes import watched
from silverstain.known_models import KnownModel, Wheel, KNOWN_MODELS
def killed(hf, folder):
    (folder / "model.safetensors").write_bytes(b"half")
    (folder / "silverstain-origin.json").write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)
keeping.save_model = killed
model = KnownModel(name="tiny-1k", about="", licence="", version="1.0", sha256=sys.argv[1], gguf_bytes=int(sys.argv[2]),
    download_bytes=1, kept_bytes=1, wheels=(Wheel(package="PACKAGE", data="tiny/a.part00"),
    Wheel(package="PACKAGE-part2", data="tiny2/a.part01")))
KNOWN_MODELS[model.name] = model
keeping.keep_model(model)
""".replace("PACKAGE", PACKAGE)


def test_a_kill_leaves_nothing_that_counts_and_the_next_run_sweeps_it(tiny_known, capsys):
    ended = subprocess.run([sys.executable, "-c", KILLED, tiny_known.sha256, str(tiny_known.gguf_bytes)], check=False)
    assert ended.returncode == -signal.SIGKILL
    left = list((cache_folder() / "models").iterdir())
    assert left
    assert all(path.name.startswith(".silverstain-") for path in left)
    assert "fetch it: silverstain models get tiny-1k" in refused(capsys, "models", "path", "tiny-1k")
    run(capsys, "models", "list")
    assert nothing_is_kept()


def test_two_fetches_do_not_meet(tiny_known, capsys):
    from silverstain.parts import only_run_in

    with only_run_in(cache_folder() / "models", "x"):
        assert "another fetch of a model is running in" in refused(capsys, "models", "get", "tiny-1k")


def test_a_kept_model_of_a_former_file_is_fetched_again(tiny_known, capsys):
    run(capsys, "models", "get", "tiny-1k")
    path = kept_folder("tiny-1k") / "silverstain-origin.json"
    path.write_text(path.read_text().replace(tiny_known.sha256, "1" * 64))
    assert json.loads(run(capsys, "models", "get", "tiny-1k", "--json")[1])["fetched"] is True
    assert tiny_known.sha256 in path.read_text()


def test_the_cache_is_where_the_variable_or_the_platform_says(monkeypatch, tmp_path):
    monkeypatch.delenv("SILVERSTAIN_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "silverstain"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "silverstain"
    monkeypatch.setenv("SILVERSTAIN_CACHE", "~/here")
    assert cache_folder() == tmp_path / "here"

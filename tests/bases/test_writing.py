"""A dictionary takes the place of another in one step: whatever happens, one of the two is there, whole."""

import os
import resource
import signal
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import torch
from tests.bases import published
from tests.bases.conftest import build
from tests.bases.published import Draw
from tests.bases.test_bad_files import edit_tensors

from silverstain.bases import Dictionary, open_dictionary, save_dictionary, writing
from silverstain.cli import main
from silverstain.errors import UsageError
from silverstain.storage import save_tensors_whole

CHANGES = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.chmod",
    "shutil.rmtree",
    "ctypes.call",
)
"""What Python reports when a file is made, moved or deleted."""


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def small(seed: int) -> Dictionary:
    draw = Draw(seed)
    return Dictionary.from_tensors(W_enc=[draw(4, 3)], b_enc=[draw(4)], W_dec=[draw(4, 1, 3)], b_dec=[draw(3)])


def killed_at(n: int, what) -> bool:
    """Run `what` in a process of its own that ends, as by a kill, before its n-th change to a file; whether it came so
    far."""
    child = os.fork()
    if child == 0:
        left = n

        def count(event: str, arguments: tuple) -> None:
            nonlocal left
            if event in CHANGES and (event != "open" or str(arguments[1] or "r")[:1] != "r"):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(count)
        try:
            what()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_at_any_change_leaves_the_old_or_the_new_and_the_next_run_sweeps(tmp_path: Path):
    old, new = small(1), small(2)
    at = tmp_path / "d"
    save_dictionary(new, tmp_path / "wanted")
    save_dictionary(old, at)
    (at / "README.md").write_text("mine")
    (at / ".git").mkdir()
    (at / ".git" / "config").write_text("mine too")
    before, wanted = content(at), content(tmp_path / "wanted")
    wanted |= {name: before[name] for name in ("README.md", ".git/config")}
    n = 0
    while killed_at(n, lambda: save_dictionary(new, at)):
        assert content(at) in (before, wanted), n
        n += 1
    assert n > 10
    assert content(at) == wanted
    save_dictionary(old, at)
    assert content(at) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "wanted"]


def test_cards_go_with_the_dictionary_they_were_made_of(tmp_path: Path):
    written = save_dictionary(build("per-layer relu"), tmp_path)
    cards = tmp_path / "cards.safetensors"
    text = '{"meta": {"dictionary_hash": "%s"}}' % written  # noqa: UP031, braces
    save_tensors_whole(cards, {"key": torch.ones(1)}, {"text": text})
    save_dictionary(build("per-layer relu"), tmp_path)
    assert cards.exists()
    save_dictionary(build("per-layer relu", seed=1), tmp_path)
    assert not cards.exists()


def test_what_a_person_keeps_beside_stays_and_an_index_of_former_files_goes(tmp_path: Path):
    save_dictionary(build("per-layer relu"), tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "layer_2.safetensors"}}')
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    (tmp_path / "here").symlink_to("notes")
    inode = (tmp_path / "notes" / "a.txt").stat().st_ino
    save_dictionary(build("cross-layer relu"), tmp_path)
    assert open_dictionary(tmp_path).is_cross_layer
    assert (tmp_path / "here" / "a.txt").read_text() == "a"
    assert (tmp_path / "here").is_symlink()
    assert (tmp_path / "notes" / "a.txt").stat().st_ino == inode  # the very file: who writes to it goes on writing
    assert not (tmp_path / "layer_0.safetensors").exists()


def test_the_folder_one_is_in_is_not_exchanged_under_ones_feet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    save_dictionary(build("per-layer relu"), ".")
    assert open_dictionary(".").n_layers == 3
    assert Path("notes.txt").read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(UsageError, match="is the folder you are in"):
        save_dictionary(build("per-layer relu"), tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    published.circuit_tracer(tmp_path / "theirs", Draw(0), activation="jumprelu")
    return tmp_path / "theirs"


@pytest.mark.parametrize("damage", [float("nan"), float("inf"), 1e30], ids=str)
def test_a_source_that_cannot_be_converted_leaves_the_destination_as_it_was(
    damage: float, source: Path, tmp_path: Path
):
    published.sparsify(tmp_path / "other", Draw(1))
    assert main(["convert", str(tmp_path / "other"), str(tmp_path / "good")]) == 0
    before = content(tmp_path / "good")
    edit_tensors(source / "layer_2.safetensors", lambda t: t["W_dec"].fill_(damage))
    for place in ("good", "new"):
        assert main(["convert", str(source), str(tmp_path / place), "--force", "--dtype", "float16"]) == 2
    assert content(tmp_path / "good") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "other", "theirs"]


def test_a_dictionary_is_converted_in_place_or_stays(source: Path, monkeypatch: pytest.MonkeyPatch):
    before = content(source)
    save = writing.save_tensors_whole

    def interrupted(path: Path, *arguments: object) -> None:
        if path.name == "layer_1.safetensors":
            raise KeyboardInterrupt
        save(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "save_tensors_whole", interrupted)
        assert main(["convert", str(source), str(source), "--force"]) == 130
    assert content(source) == before
    assert main(["convert", str(source), str(source)]) == 2  # not without --force
    assert main(["convert", str(source), str(source), "--force", "--dtype", "bfloat16"]) == 0
    assert open_dictionary(source).stored_dtype == torch.bfloat16
    assert [path.name for path in source.parent.iterdir()] == ["theirs"]


def test_a_conversion_that_is_there_already_is_done(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["convert", str(source), str(tmp_path / "ours")]
    assert main(words) == 0
    before = content(tmp_path / "ours")
    assert main(words) == 0
    assert content(tmp_path / "ours") == before
    capsys.readouterr()
    assert main([*words, "--name", "another"]) == 2
    assert "there is a dictionary in" in capsys.readouterr().err
    with (tmp_path / "ours" / "config.yaml").open("a") as file:
        file.write("feature_input_hook: hook_resid_mid\n")  # a person changed it
    assert main(words) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]


def test_a_dictionary_in_memory_that_is_not_numbers_is_not_written(tmp_path: Path):
    dictionary = build("per-layer relu")
    too_large = Dictionary.from_tensors(
        W_enc=[dictionary.W_enc(0) * 1e9], b_enc=[dictionary.b_enc(0)], W_dec=[torch.ones(10, 6)], b_dec=[torch.ones(6)]
    )
    with pytest.raises(UsageError, match=r"too large for torch\.float16"):
        save_dictionary(too_large, tmp_path / "d", dtype=torch.float16)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits a copy of this process")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_full_disk_leaves_nothing(source: Path, tmp_path: Path):
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
        with os.fdopen(os.open(os.devnull, os.O_WRONLY), "w") as nowhere, redirect_stderr(nowhere):
            os._exit(main(["convert", str(source), str(tmp_path / "ours")]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]

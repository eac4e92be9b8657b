"""Files and folders in the making: whole or not there, nothing left behind by runs that died."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.parts import part_file, sweep_parts, whole_folder
from silverstain.storage import check_is_file, check_writable, save_tensors_whole, write_text_whole

DIE = """
import os, signal, sys
from pathlib import Path
sys.addaudithook(lambda event, _: event == "os.rename" and os.kill(os.getpid(), signal.SIGKILL))
from silverstain.parts import whole_folder
from silverstain.storage import write_text_whole
{}
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_a_killed_run_left_goes_with_the_next_write_of_any_file(tmp_path):
    code = DIE.format(f"write_text_whole({str(tmp_path / 'a.txt')!r}, 'x')")
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.endswith(".part")
    (tmp_path / ".old.json.ab12cd34.part").write_text("as earlier versions named them")
    write_text_whole(tmp_path / "b.txt", "y")
    assert names(tmp_path) == {"b.txt"}


def test_a_part_that_is_being_written_is_left_alone(tmp_path):
    with part_file(tmp_path) as part:
        write_text_whole(tmp_path / "other.txt", "x")
        sweep_parts(tmp_path)
        part.write_text("x")
        part.replace(tmp_path / "a")
    assert names(tmp_path) == {"a", "other.txt"}


def test_files_that_a_writer_makes_beside_its_own_go_too(tmp_path):
    with part_file(tmp_path) as part:
        part.with_name("beside").write_text("x")
        part.write_text("x")
        part.replace(tmp_path / "a")
    assert names(tmp_path) == {"a"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_or_a_socket_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket"):
            for use in (check_writable, lambda path: write_text_whole(path, "x")):
                with pytest.raises(UsageError, match="is a device or a pipe"):
                    use(tmp_path / name)
            with pytest.raises(UsageError, match="is a device or a pipe"):
                check_is_file(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_stays_a_link_and_what_it_names_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a.txt")
    write_text_whole(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "x"


def test_names_up_to_the_limit_can_be_written_and_longer_ones_are_refused(tmp_path):
    write_text_whole(tmp_path / ("a" * 255), "x")
    assert names(tmp_path) == {"a" * 255}
    for use in (check_writable, lambda path: write_text_whole(path, "x"), check_is_file):
        with pytest.raises(UsageError, match="too long") as caught:
            use(tmp_path / ("é" * 128))
        assert len(str(caught.value)) < 500
    with pytest.raises(UsageError, match=r"cannot write .*null"):
        write_text_whole(tmp_path / "a\0b", "x")


def test_halves_of_characters_are_written_as_json_writes_them(tmp_path):
    write_text_whole(tmp_path / "a.json", '"\ud83d"')
    assert (tmp_path / "a.json").read_text() == '"\\ud83d"'


def test_a_folder_takes_its_place_when_all_of_it_is_written(tmp_path):
    with whole_folder(tmp_path / "below" / "new") as part:
        (part / "a.txt").write_text("x")
        assert not (tmp_path / "below" / "new").exists()
    assert names(tmp_path / "below" / "new") == {"a.txt"}
    assert names(tmp_path / "below") == {"new"}


def write_two_and_stop(folder: Path) -> None:
    with whole_folder(folder, replace=True) as part:
        (part / "second.txt").write_text("2")
        raise KeyboardInterrupt


def test_a_folder_that_is_there_is_replaced_whole_or_stays(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "first.txt").write_text("1")
    with pytest.raises(UsageError, match="is not empty"), whole_folder(old):
        pass
    with pytest.raises(KeyboardInterrupt):
        write_two_and_stop(old)
    assert names(old) == {"first.txt"}
    with whole_folder(old, replace=True) as part:
        (part / "second.txt").write_text("2")
    assert names(old) == {"second.txt"}
    assert names(tmp_path) == {"old"}


def test_a_folder_can_be_replaced_where_names_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr("silverstain.parts._exchanged", lambda one, other: False)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "first.txt").write_text("1")
    with whole_folder(tmp_path / "old", replace=True) as part:
        (part / "second.txt").write_text("2")
    assert names(tmp_path / "old") == {"second.txt"}
    assert names(tmp_path) == {"old"}


def test_a_folder_of_a_killed_run_is_swept(tmp_path):
    body = f"""
with whole_folder({str(tmp_path / "new")!r}) as part:
    (part / "a.txt").write_text("x")
"""
    assert subprocess.run([sys.executable, "-c", DIE.format(body)]).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    with whole_folder(tmp_path / "new") as part:
        (part / "a.txt").write_text("x")
    assert names(tmp_path) == {"new"}


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    def fail(part):
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space left on device"), whole_folder(tmp_path / "new") as part:
        fail(part)
    assert names(tmp_path) == set()


def test_tensors_survive_a_reader_of_the_old_file(tmp_path):
    path = tmp_path / "t.safetensors"
    save_tensors_whole(path, {"a": torch.zeros(2)})
    with path.open("rb") as old:
        save_tensors_whole(path, {"a": torch.ones(2)})
        assert old.read()[-8:] == bytes(8)


def test_a_folder_that_holds_just_what_is_written_counts_as_done(tmp_path):
    for _ in range(2):
        with whole_folder(tmp_path / "new", again=True) as part:
            (part / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="is not empty"), whole_folder(tmp_path / "new", again=True) as part:
        (part / "a.txt").write_text("y")
    assert (tmp_path / "new" / "a.txt").read_text() == "x"
    assert names(tmp_path) == {"new"}

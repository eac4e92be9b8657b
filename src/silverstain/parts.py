"""Files and folders in the making: written beside their final place, and swept away when the run that made them died.

A part is named `.silverstain-….part` and locked while its run lives. The system drops the lock however the run ends,
so the next one that writes in the same folder knows which parts nobody will finish.
"""

import filecmp
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from silverstain.errors import UsageError
from silverstain.printable import printable

try:
    import fcntl
except ImportError:  # Windows has no such locks: parts are then swept by their age alone
    fcntl = None

PREFIX, SUFFIX = ".silverstain-", ".part"
FORMER_PART = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
"""How parts were named before; they were not locked."""
LONGEST_SHOWN = 200
"""Characters of a path in a message."""
OLD = 24 * 3600.0
"""Seconds after which a part that cannot be locked is nobody's."""


@contextmanager
def part_file(folder: Path) -> Iterator[Path]:
    """A place near `folder`'s files for one to be written and then moved away; what is left of it is deleted.

    It is a file in a part folder of its own, as some writers (safetensors is one) make further files beside theirs.
    Parts of runs that died are swept first. Raises OSError where the folder cannot be written.
    """
    sweep_parts(folder)
    with _part_folder(folder) as part:
        yield part / "content"


@contextmanager
def whole_folder(path: str | Path, *, replace: bool = False, again: bool = False) -> Iterator[Path]:
    """A new folder beside `path`, which takes its place when all of it is written; nothing stays otherwise.

    Raises UsageError where `path` is there already (an empty folder apart) and may not be replaced, and where nothing
    can be written. With `replace` the former folder is whole until the new one is, and then goes. With `again` a folder
    that holds just what is written counts as done: a run killed on its last step left it.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path
    check_new_folder(path, replace=replace or again)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        with part_file(path.absolute().parent) as new:
            new.mkdir()
            yield new
            if again and path.is_dir() and _holds_the_same(path, new):
                return
            check_new_folder(path, replace=replace)
            _take_place(new, path.absolute())
    except OSError as error:
        raise unwritable(path, error) from error


def check_new_folder(path: Path, *, replace: bool = False) -> None:
    """UsageError unless `whole_folder` may write there: to be asked before long work."""
    shown = shown_path(path)
    try:
        if path.exists() and not path.is_dir():
            raise UsageError(f"{shown} is a file, where a folder is to be written; choose another place")
        if not replace and path.is_dir() and any(path.iterdir()):
            raise UsageError(f"{shown} is not empty; choose another folder, or delete it")
    except OSError as error:
        raise unwritable(path, error) from error


def _holds_the_same(one: Path, other: Path) -> bool:
    """Whether two folders of files hold the same files, byte for byte."""
    names = {path.name for path in one.iterdir()}
    if names != {path.name for path in other.iterdir()}:
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[1:] == ([], [])


def sweep_parts(folder: Path) -> None:
    """Delete the parts in `folder` whose runs have ended."""
    with suppress(OSError):
        for part in folder.glob(f".*{SUFFIX}"):
            is_ours = part.name.startswith(PREFIX) or FORMER_PART.fullmatch(part.name)
            if is_ours and _is_abandoned(part):
                if part.is_dir():
                    shutil.rmtree(part, ignore_errors=True)
                else:
                    part.unlink(missing_ok=True)


@contextmanager
def _part_folder(folder: Path) -> Iterator[Path]:
    """A locked folder in `folder` that is deleted at the end, with all that is in it."""
    while True:  # another run may sweep it in the instant before the lock; then it is made again
        part = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX, dir=folder))
        handle = _lock(part)
        if part.exists():
            break
        _unlock(handle)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _unlock(handle)


def _lock(folder: Path) -> int | None:
    """An open, locked handle of a folder; None where folders cannot be locked."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # swept already
        return None
    with suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _unlock(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def _is_abandoned(part: Path) -> bool:
    """Whether the run that was making `part` has ended."""
    with suppress(OSError):
        if fcntl is None:
            return time.time() - part.stat().st_mtime > OLD
        handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        finally:
            os.close(handle)
    return False


def unwritable(path: Path, error: Exception) -> UsageError:
    """The error for a file or folder that cannot be written."""
    return UsageError(f"cannot write {shown_path(path)}: {reason_of(error)}; choose a folder that can be written")


def shown_path(path: str | Path) -> str:
    """A path as messages show it: on one line, and no longer than a line."""
    return printable(str(path), LONGEST_SHOWN)


def reason_of(error: Exception) -> str:
    """What the system or a library says, on one line."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return printable(words, 300) or type(error).__name__


def _take_place(part: Path, path: Path) -> None:
    """Put the finished folder where it belongs; what was there takes the part's place, and is deleted with it.

    Linux exchanges two names in one step. Elsewhere the former folder is moved away first: a run killed between the two
    steps leaves it beside `path` under a name that says so.
    """
    if not path.exists():
        part.rename(path)
        return
    if not any(path.iterdir()):
        path.rmdir()
        part.rename(path)
        return
    if _exchanged(part, path):
        return
    former = path.with_name(path.name + ".former")
    path.rename(former)
    part.rename(path)
    shutil.rmtree(former)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the system could exchange two names at once (renameat2 of Linux)."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def umask() -> int:
    """The process's umask, which files that others may read obey; reading it means setting it for an instant."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def only_run_in(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for one run, made if need be: UsageError where another process holds it. Nothing is left of the
    lock, however the run ends, nor a folder that was made and is empty then; parts of runs that died are swept."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    handle = None
    if fcntl is not None:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
    try:
        if handle is not None and fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another {what} is running in {shown_path(folder)}; wait for it, or give another folder"
                ) from None
            except OSError:  # a file system without locks
                pass
        sweep_parts(folder)
        yield
    finally:
        with suppress(OSError):  # one that is not empty stays
            for one in made:
                one.rmdir()
        _unlock(handle)

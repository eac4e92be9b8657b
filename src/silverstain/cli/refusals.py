"""What the operating system and Python refuse wherever it happens, in words: no reader or writer has to foresee it."""

import errno
import os

from silverstain.parts import shown_path
from silverstain.printable import printable

_REFUSED = {
    getattr(errno, name)
    for name in (
        "EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "ENAMETOOLONG", "ELOOP", "ENOTDIR", "EISDIR", "ENOENT",
        "EEXIST", "ENOTEMPTY", "EIO", "EMFILE", "ENFILE", "EBADF", "ENXIO", "EBUSY", "ETXTBSY", "ENODEV",
    )
    if hasattr(errno, name)
}  # fmt: skip
_TOO_LARGE = ("Python int too large", "int too large to convert", "Overflow when unpacking long", "integer string conv")


def what_the_system_refuses(error: BaseException) -> str | None:
    """What was refused, on one line, where a person can do something about it; None for other errors."""
    if isinstance(error, OSError) and error.errno in _REFUSED:
        where = f" {shown_path(os.fsdecode(error.filename))}" if isinstance(error.filename, str | bytes) else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return f"cannot write{where}: {error.strerror}; make room, or write somewhere else"
        return f"cannot use{where or ' a file or stream'}: {error.strerror}; check the path and its permissions"
    if isinstance(error, RecursionError):
        return "what was given is nested too deeply to be read; give something simpler"
    if isinstance(error, OverflowError | ValueError | RuntimeError):
        words = str(error)[:300]
        if "home directory" in words:
            return f"{printable(words)}; write the path without ~"
        if any(phrase in words for phrase in _TOO_LARGE):
            return f"a number that was given is too large ({printable(words)}); give a smaller one"
    return None

"""What the operating system refuses wherever it happens, in words: no permission, no room, too many files open.

What readers and writers can foresee, such as a file that is not there or a number that is too large, they say
themselves; where they do not, that is a fault of ours and is told as one.
"""

import errno
import os

from silverstain.parts import shown_path
from silverstain.printable import printable

_REFUSED = {
    getattr(errno, name)
    for name in (
        "EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "ENAMETOOLONG", "ELOOP", "EIO", "EMFILE", "ENFILE",
        "EBUSY",
    )
    if hasattr(errno, name)
}  # fmt: skip


def what_the_system_refuses(error: BaseException) -> str | None:
    """What was refused, on one line, where a person can do something about it; None for other errors."""
    if isinstance(error, OSError) and error.errno in _REFUSED:
        where = f" {shown_path(os.fsdecode(error.filename))}" if isinstance(error.filename, str | bytes) else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return f"cannot write{where}: {error.strerror}; make room, or write somewhere else"
        return f"cannot use{where or ' a file or stream'}: {error.strerror}; check the path and its permissions"
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # of Path.expanduser
        return f"{printable(str(error), 300)}; write the path without ~"
    return None

"""What can go wrong and is worth telling apart."""


class SilverstainError(Exception):
    """Everything this package raises on purpose."""


class UsageError(SilverstainError):
    """A mistake the user can correct: one line saying what was wrong, what was seen and what to do (exit code 2).

    Where a line cannot show what was seen, `shown` has further lines, which stand under each other.
    """

    def __init__(self, text: str = "", *, shown: tuple[str, ...] = ()) -> None:
        super().__init__("\n  ".join((text, *shown)))
        self.shown = shown


class Remark(UserWarning):
    """Something that may not be as intended and is no error: a Python warning, on the command line a line on stderr."""


class OutOfMemory(SilverstainError):
    """There was no room: one line that names a smaller setting (exit code 4)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Ours, Python's, torch's on a GPU, and torch's on a CPU, which is a RuntimeError known by its words alone."""
    if isinstance(error, OutOfMemory | MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("can't allocate memory", "not enough memory")  # on Linux and macOS; on Windows
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)

"""The hash of a kept model's weights, kept beside them: going through hundreds of millions of numbers takes a second.

It counts only while the file of weights is the one that it was taken of (size, times of change, inode: the system sets
the time of change of status itself, so a file that is changed, replaced or copied has another), and while everything
else that the hash covers is as it was.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.models.folder import WEIGHTS
from silverstain.storage import write_json_whole

FILE = "silverstain-hash.json"
FORMAT = "silverstain.model-hash/1"


@dataclass(frozen=True, kw_only=True)
class KeptHash:
    """The file of weights as it was before it was read, and the place where its hash is kept."""

    folder: Path
    file: tuple[int, int, int, int]

    @classmethod
    def of(cls, folder: Path) -> "KeptHash | None":
        """To be asked before the weights are read; None where they are not in one file."""
        try:
            seen = (folder / WEIGHTS).stat()
        except OSError:
            return None
        return cls(folder=folder, file=(seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino))

    def read(self, outline: str) -> str | None:
        """The hash, where one is kept of just this file; `outline` is of everything else that the hash covers."""
        with suppress(UsageError):  # damaged, or not there: it is found again
            found = read_json(self.folder / FILE, FORMAT)
            if found.get("file") == list(self.file) and found.get("outline") == outline:
                kept = found.get("hash")
                return kept if isinstance(kept, str) else None
        return None

    def write(self, outline: str, hash: str) -> None:
        """Keep it, where the folder can be written."""
        with suppress(UsageError):
            write_json_whole(
                self.folder / FILE, {"format": FORMAT, "hash": hash, "outline": outline, "file": list(self.file)}
            )

"""The record of a run: `metrics.jsonl`, a line for its format and then a line a record, each with its step.

Lines are appended as they come, so that a run that is killed loses none. A run that is resumed goes back to its last
checkpoint: what was recorded from there on is cut off before it is recorded again, and so is half a line.
"""

import json
import math
from pathlib import Path
from typing import Any

from silverstain.documents import parsed_json, read_text
from silverstain.errors import UsageError
from silverstain.storage import write_text_whole

FORMAT = "silverstain.metrics/1"
FILE = "metrics.jsonl"
MOST_BYTES = 256 << 20

Record = dict[str, Any]


class Metrics:
    """The metrics of one run, and the file they are in."""

    def __init__(self, folder: Path, about: Record) -> None:
        self.path = folder / FILE
        self._head = _line({"format": FORMAT, **about})

    def go_on_from(self, step: int) -> list[Record]:
        """Begin the file, or cut off what is of `step` or later; the records that are left."""
        records = [] if not self.path.exists() else [r for r in read_metrics(self.path) if r["step"] < step]
        write_text_whole(self.path, "".join([self._head, *map(_line, records)]))
        return records

    def add(self, record: Record) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(record))
        except OSError as error:
            raise UsageError(
                f"cannot write {self.path}: {error.strerror}; make room, and run again to resume"
            ) from error


def read_metrics(path: str | Path) -> list[Record]:
    """The records of a run, in order; half a line at the end, of a run that was killed, is left out."""
    path = Path(path)
    lines = read_text(path, MOST_BYTES, is_appended=True).splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    try:
        head, *records = map(parsed_json, lines)
    except ValueError:
        head, records = None, []
    known = isinstance(head, dict) and head.get("format") == FORMAT
    if not known or not all(isinstance(r, dict) and type(r.get("step")) is int for r in records):
        raise UsageError(f"{path} is not a {FORMAT} file; move it away, or train into another folder")
    return records


def _line(record: Record) -> str:
    return json.dumps(_plain(record), ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """What JSON can hold: a figure that is not finite, of a run that diverged, becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

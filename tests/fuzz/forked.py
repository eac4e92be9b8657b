"""Command lines run each in a process of their own, measured, at the price of a fork.

`Lines` keeps one Python process in which silverstain is loaded and warm (`serving.py`); each command line is run in a
fork of it. So a crash by a signal, a hang or a flood of memory is seen, and a thousand take minutes.
"""

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 20.0
"""Seconds after which a command line counts as hung."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command line came to: `code` is negative for a signal, None where it hung."""

    code: int | None
    cpu_seconds: float
    megabytes: float
    out: str
    err: str
    n_events: int = 0

    def fault(self, *, seconds: float, megabytes: float) -> str | None:
        """What of the promise of docs/errors.md is broken; None where nothing is."""
        if self.code is None:
            return f"it hung for {PATIENCE} s"
        if self.code not in (0, 2, 4):
            return f"exit {self.code}: {self.err[-300:]}"
        if self.cpu_seconds > seconds:
            return f"{self.cpu_seconds:.1f} s"
        if self.megabytes > megabytes:
            return f"{self.megabytes:.0f} MB"
        raw = sorted({f"U+{ord(c):04X}" for c in self.out + self.err if _acts_on_a_terminal(c)})
        if raw:
            return f"raw control characters {raw}"
        lines = [line for line in self.err.splitlines() if line.startswith("silverstain: ")]
        if self.code == 2 and len(lines) != 1:
            return f"{len(lines)} lines of error: {self.err[:300]}"
        if self.code == 2 and len(lines[0]) > 1500:
            return f"a line of {len(lines[0])} characters"
        return None


def _acts_on_a_terminal(letter: str) -> bool:
    return letter != "\n" and (unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in "\u202e\u2066")


class Lines:
    """A warm process that runs command lines in forks of itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "COLUMNS": "100",
            "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "serving.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def run(self, arguments: Sequence[str], cwd: Path, *, kill_at: int | None = None) -> Outcome:
        """Run one line in `cwd`; with `kill_at`, the process is killed as its file operation of that number begins."""
        out, err = self.folder / "out", self.folder / "err"
        asked: dict[str, Any] = {
            "arguments": list(arguments), "cwd": str(cwd), "out": str(out), "err": str(err), "kill_at": kill_at,
            "patience": PATIENCE,
        }  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        texts = {name: file.read_bytes().decode("utf-8", "replace") for name, file in (("out", out), ("err", err))}
        return Outcome(**answer, **texts)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)
        if self.process.stdout is not None:
            self.process.stdout.close()

"""The steps of a study: what each found is kept in a folder, so that an interrupted study goes on where it stopped."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from silverstain.storage import write_json_whole

from .values import Findings

OnStep = Callable[[int, int, str], object]


class Steps:
    """Runs the steps of one study.

    `identity` says all that decides what a step finds (study, model, basis, settings). Kept findings carry its hash in
    their names, so that those of another run are never taken for this one's.
    """

    def __init__(
        self, folder: Path | None = None, identity: Any = None, n: int = 1, on_step: OnStep = lambda done, n, name: None
    ) -> None:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]
        self._folder, self._name, self._n, self._done, self._on_step = folder, digest, n, 0, on_step

    def run(self, name: str, work: Callable[[], Findings]) -> Findings:
        """What the step found: kept from before, or found now."""
        path = None if self._folder is None else self._folder / f"{self._name}-{name.replace(' ', '-')}.json"
        self._on_step(self._done, self._n, name)
        if path is not None and path.exists():
            found = Findings.from_json(json.loads(path.read_text(encoding="utf-8")))
        else:
            found = work()
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json_whole(path, found.to_json())
        self._done += 1
        self._on_step(self._done, self._n, name)
        return found

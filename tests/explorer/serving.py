"""The server run beside a test, as a person runs it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from silverstain.explorer.live import Live
from silverstain.explorer.server import application
from silverstain.explorer.serving import bound_socket

OURS = {"x-silverstain": "1"}


@contextmanager
def served(folder: Path, live: Live | None = None) -> Iterator[str]:
    """The address of a server of the folder, for the length of a `with`."""
    listening = bound_socket(0)
    server = uvicorn.Server(uvicorn.Config(application(folder, live), log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()


def events_of(client: Any, **asked: Any) -> list[dict[str, Any]]:
    """All that the server tells about a piece of work."""
    answer = client.post("/api/work", json=asked, headers=OURS)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def done(client: Any, **asked: Any) -> dict[str, Any]:
    """What a piece of work came to."""
    last = events_of(client, **asked)[-1]
    assert last["event"] == "done", last
    return last


def refusal(client: Any, **asked: Any) -> str:
    """The sentence by which a piece of work is refused."""
    answer = client.post("/api/work", json=asked, headers=OURS)
    if answer.status_code != 200:
        return answer.json()["error"]
    last = json.loads(answer.text.splitlines()[-1])
    assert last["event"] == "error", last
    return last["error"]

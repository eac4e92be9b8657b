"""What the page asks of a running model: each request waits for its turn and is answered by a stream of events.

    POST /api/work   {"kind": "trace", "model": "organism", "prompt": "…"}

is answered by lines of JSON, {"event": "phase", "name": "…"} and the like, the last of which is `done`, `error` or
`cancelled`. Whoever closes the connection cancels the work.
"""

import json
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from silverstain.errors import UsageError
from silverstain.explorer.folder import inside
from silverstain.explorer.jobs import Job, Jobs
from silverstain.explorer.live import Live
from silverstain.printable import printable

LARGEST_REQUEST = 4 << 20

Work = Callable[[Path, Live, dict[str, Any], Job], dict[str, Any]]


async def answered(
    request: Request, folder: Path, live: Live, jobs: Jobs, headers: dict[str, str], client: str
) -> StreamingResponse:
    """Let the request's work wait for its turn, and answer with what it tells."""
    asked = await json_of(request, LARGEST_REQUEST, "the request")
    kind = asked.get("kind") if isinstance(asked, dict) else None
    work = KINDS.get(kind) if isinstance(kind, str) else None
    if work is None:
        raise UsageError(f"this server cannot do {printable(repr(kind), 60)}; load the page again")
    job = Job(client, lambda job: work(folder, live, asked, job))
    jobs.submit(job)

    async def lines() -> AsyncIterator[bytes]:
        async for event in job.events():
            yield (json.dumps(finite(event), allow_nan=False) + "\n").encode()

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=headers)


def finite(value: Any) -> Any:
    """The value with null for every number that is none: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


async def json_of(request: Request, most: int, what: str) -> Any:
    """The body as JSON; UsageError for one that is too long or none."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise UsageError(f"{what} is larger than {most >> 20} MB; make it smaller")
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise UsageError("what the page sent is no JSON") from error


def _trace(folder: Path, live: Live, asked: dict[str, Any], job: Job) -> dict[str, Any]:
    from silverstain.explorer.tracing import traced

    return traced(folder, live, asked, job)


def _of_graph(name: str) -> Work:
    """Work on a graph of the folder, by the name of the function that does it."""

    def work(folder: Path, live: Live, asked: dict[str, Any], job: Job) -> dict[str, Any]:
        path = asked.get("graph")
        file = inside(folder, path if isinstance(path, str) else "")
        from silverstain.explorer import graph_work
        from silverstain.graphs import open_graph

        graph, _ = open_graph(file)
        return getattr(graph_work, name)(graph, live, asked, job)

    return work


KINDS: dict[str, Work] = {
    "trace": _trace,
    **{name: _of_graph(name) for name in ("experiment", "curves", "patch", "lens", "activity", "proposals")},
}
"""What can be asked for."""

"""The server run: on the next free port, with a browser opened, until it is stopped."""

import asyncio
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import uvicorn

from silverstain.errors import UsageError
from silverstain.explorer.live import Live, offers_here
from silverstain.explorer.server import application

HOST = "127.0.0.1"
PORTS_TRIED = 50


def bound_socket(port: int) -> socket.socket:
    """A socket on the port, or on the next one that is free; UsageError where none is. Port 0: any."""
    last = port if port == 0 else min(port + PORTS_TRIED, 65_536) - 1
    for candidate in range(port, last + 1):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((HOST, candidate))
        except OSError:
            found.close()
            continue
        return found
    raise UsageError(f"no port from {port} to {last} is free; give another with --port, or 0 for any")


def address_of(port: int, graph: str = "") -> str:
    """Where the page is: the list of graphs, or one of them."""
    return f"http://{HOST}:{port}/" + (f"view?graph={quote(graph, safe='')}" if graph else "")


def serve(
    folder: Path,
    graph: str = "",
    *,
    port: int = 8400,
    browser: bool = True,
    model: str | None = None,
    dictionary: str | None = None,
    on_start: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a folder until Ctrl-C; `model` in `dictionary` is offered to the page, beside those that are here by name.
    `on_start` is told the address once the server listens."""
    listening = bound_socket(port)
    address = address_of(listening.getsockname()[1], graph)
    live = Live() if model is None else Live(offers_here(model, dictionary))
    config = uvicorn.Config(application(folder, live), log_level="error", access_log=False, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)

    async def run() -> None:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not task.done():
            await asyncio.sleep(0.02)
        if server.started:
            on_start(address)
            if browser:  # some systems wait until the browser ends
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        await task

    try:
        asyncio.run(run())
    except KeyboardInterrupt:  # uvicorn has ended its work, and passes it on
        pass
    finally:
        listening.close()

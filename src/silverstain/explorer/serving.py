"""The server run: on the next free port, with a browser opened, until it is stopped."""

import asyncio
import errno
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from urllib.parse import quote, urlencode

import uvicorn

from silverstain.errors import UsageError
from silverstain.explorer.access import check_access
from silverstain.explorer.live import Live, offers_here
from silverstain.explorer.server import application
from silverstain.printable import printable

HOST = "127.0.0.1"
PORTS_TRIED = 50


def bound_socket(port: int, host: str = HOST) -> socket.socket:
    """A socket on the port, or on the next one that is free; UsageError where none is. Port 0: any."""
    try:
        family, *_, (address, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(
            f"there is no address {printable(host, 80)!r} on this machine; give --host an address of it"
        ) from error
    last = port if port == 0 else min(port + PORTS_TRIED, 65_536) - 1
    for candidate in range(port, last + 1):
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((address, candidate))
        except OSError as error:
            found.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise UsageError(f"{host} is no address of this machine; give --host one that is") from error
            continue
        return found
    raise UsageError(f"no port from {port} to {last} is free; give another with --port, or 0 for any")


def address_of(port: int, graph: str = "", *, host: str = HOST, token: str | None = None) -> str:
    """Where the page is: the list of graphs, or one of them."""
    name = f"[{host}]" if ":" in host else {"0.0.0.0": socket.gethostname()}.get(host, host)
    asked = {**({"graph": graph} if graph else {}), **({"token": token} if token else {})}
    return f"http://{name}:{port}/{'view' if graph else ''}" + (
        f"?{urlencode(asked, quote_via=quote, safe='')}" if asked else ""
    )


class Server(uvicorn.Server):
    """Stops at once: work on models is cancelled and told so, and what is being written is written."""

    on_stop: Callable[[], object] = staticmethod(lambda: None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.on_stop()
        super().handle_exit(sig, frame)


def serve(
    folder: Path,
    graph: str = "",
    *,
    port: int = 8400,
    browser: bool = True,
    model: str | None = None,
    dictionary: str | None = None,
    host: str = HOST,
    token: str | None = None,
    on_start: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a folder until Ctrl-C; `model` in `dictionary` is offered to the page, beside those that are here by name.
    Another `host` than this machine's own needs a `token`. `on_start` is told the address once the server listens."""
    check_access(host, token)
    listening = bound_socket(port, host)
    address = address_of(listening.getsockname()[1], graph, host=host, token=token)
    live = Live() if model is None else Live(offers_here(model, dictionary))
    served = application(folder, live, token)
    config = uvicorn.Config(served, log_level="error", access_log=False, timeout_graceful_shutdown=2)
    server = Server(config)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server.on_stop = lambda: loop.call_soon_threadsafe(served.state.jobs.stop)
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

"""Work on models, one piece at a time: what waits is taken fairly from those who ask, and can be cancelled.

A model that is edited while it runs can serve one piece of work at a time, so there is one thread that works. Those
who ask take turns: whoever asks for many things at once waits behind each other person's next one. What a piece of
work has to tell goes to whoever asked as events, plain JSON objects, while it runs.
"""

import asyncio
import sys
import threading
import traceback
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from silverstain.errors import UsageError
from silverstain.printable import printable

MOST_WAITING = 64
"""Pieces of work that wait at a time, of all who ask."""
ENDS = ("done", "error", "cancelled")
"""Events after which nothing more comes."""


class Cancelled(Exception):
    """Raised within work that nobody waits for any more."""


class Job:
    """A piece of work, and what it tells to whoever asked for it."""

    def __init__(self, client: str, work: Callable[["Job"], dict[str, Any] | None]) -> None:
        self.client = client
        self.work = work
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._cancelled = threading.Event()
        self._has_stopped = False

    def tell(self, event: str, **said: Any) -> None:
        """Tell something; raises Cancelled where nobody listens any more."""
        if self._cancelled.is_set():
            raise Cancelled
        self._put({"event": event, **said})

    def phase(self, name: str) -> None:
        """What is being done now, in words."""
        self.tell("phase", name=name)

    def progress(self, done: int, total: int) -> None:
        """How much of it is done."""
        self.tell("progress", done=done, total=total)

    def cancel(self) -> None:
        """Let the work end before its next operation on tensors, or at the next thing it tells."""
        self._cancelled.set()

    def stop_here(self) -> None:
        """Called between any two operations of the work: raises Cancelled once, so that what then puts things back is
        not stopped in its turn."""
        if self._cancelled.is_set() and not self._has_stopped:
            self._has_stopped = True
            raise Cancelled

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What it tells, until it ends. Whoever stops listening cancels it."""
        try:
            while True:
                event = await self._events.get()
                yield event
                if event["event"] in ENDS:
                    return
        finally:
            self.cancel()

    def _put(self, event: dict[str, Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:  # the server has stopped
            self.cancel()

    def run(self) -> None:
        """Do the work, on the thread that works."""
        try:
            if self._cancelled.is_set():
                raise Cancelled
            from silverstain.explorer.interrupting import StopsBetweenOperations  # with torch, which takes a second

            with StopsBetweenOperations(self.stop_here):
                found = self.work(self) or {}
            self._put({"event": "done", **found})
        except Cancelled:
            self._put({"event": "cancelled"})
        except UsageError as error:
            self._put({"event": "error", "error": printable(str(error), 1000)})
        except MemoryError:
            self._put({"event": "error", "error": "there is not enough memory for this; try a shorter prompt"})
        except Exception as error:  # the server goes on; whose fault it is stands in its terminal
            traceback.print_exc(file=sys.stderr)
            said = printable(f"{type(error).__name__}: {error}", 300)
            self._put({"event": "error", "error": f"something went wrong here, and it is our fault ({said}); the "
                                                  "terminal of the server says more"})  # fmt: skip


class Jobs:
    """The queue and its one thread, which is there from the first piece of work on."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._changed = threading.Condition()
        self._running: Job | None = None
        self._thread: threading.Thread | None = None
        self._is_open = True

    def submit(self, job: Job) -> None:
        """Let a piece of work wait for its turn; UsageError where too much waits already."""
        with self._changed:
            if not self._is_open:
                raise UsageError("the server is stopping; start it again")
            self._forget_cancelled()
            if sum(map(len, self._waiting.values())) >= MOST_WAITING:
                raise UsageError(f"{MOST_WAITING} requests wait already; try again when some of them are done")
            self._waiting.setdefault(job.client, deque()).append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="silverstain model", daemon=True)
                self._thread.start()
            self._changed.notify()
            self._tell_places()

    def stop(self) -> int:
        """Cancel everything and take nothing more; gives how many pieces of work that were."""
        with self._changed:
            self._is_open = False
            waiting = [one for jobs in self._waiting.values() for one in jobs]
            self._waiting.clear()
            for job in waiting:
                job.cancel()
                job.run()  # tells that it is cancelled
            if self._running is not None:
                self._running.cancel()
            self._changed.notify()
            return len(waiting) + (self._running is not None)

    def close(self) -> None:
        """Cancel everything, and let the thread end."""
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def ahead_of(self, job: Job) -> int:
        """How many pieces of work come before one that waits."""
        own = self._waiting.get(job.client, deque())
        if job not in own:
            return 0
        turn, before = own.index(job), 1 if self._running is not None else 0
        is_later = False
        for client, jobs in self._waiting.items():
            is_own = client == job.client
            is_later = is_later or is_own
            before += turn if is_own else min(len(jobs), turn if is_later else turn + 1)
        return before

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            with self._changed:
                self._running = None

    def _next(self) -> Job | None:
        with self._changed:
            while True:
                if not self._is_open:
                    return None
                self._forget_cancelled()
                if self._waiting:
                    break
                self._changed.wait()
            client, jobs = self._waiting.popitem(last=False)
            self._running = jobs.popleft()
            if jobs:
                self._waiting[client] = jobs  # behind the others
            self._tell_places()
            return self._running

    def _forget_cancelled(self) -> None:
        for client, jobs in list(self._waiting.items()):
            kept = deque(job for job in jobs if not job.is_cancelled)
            if kept:
                self._waiting[client] = kept
            else:
                del self._waiting[client]

    def _tell_places(self) -> None:
        for jobs in self._waiting.values():
            for job in jobs:
                if not job.is_cancelled:
                    job.tell("waiting", ahead=self.ahead_of(job))

"""Work waits its turn fairly, can be cancelled, and never takes the server with it."""

import asyncio
import threading
from typing import Any

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.explorer.jobs import MOST_WAITING, Job, Jobs


def run(scene: Any) -> Any:
    return asyncio.run(asyncio.wait_for(scene(), 20))


async def all_of(job: Job) -> list[dict[str, Any]]:
    return [event async for event in job.events()]


def waiting_for(gate: threading.Event) -> Any:
    def work(job: Job) -> None:
        gate.wait(10)

    return work


def test_those_who_ask_take_turns_whatever_each_asks_for():
    async def scene() -> list[str]:
        order: list[str] = []
        gate, jobs = threading.Event(), Jobs()
        first = Job("a", waiting_for(gate))
        jobs.submit(first)
        while jobs._running is None:
            await asyncio.sleep(0.01)
        names = ["a1", "a2", "a3", "b1", "c1", "c2"]
        listed = [Job(name[0], lambda job, name=name: order.append(name)) for name in names]
        for job in listed:
            jobs.submit(job)
        assert [jobs.ahead_of(job) for job in listed] == [1, 4, 6, 2, 3, 5]
        gate.set()
        await asyncio.gather(*(all_of(job) for job in listed))
        jobs.close()
        return order

    assert run(scene) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_work_that_nobody_listens_to_any_more_ends_at_the_next_thing_it_tells():
    async def scene() -> list[str]:
        said: list[str] = []
        jobs, began = Jobs(), threading.Event()

        def work(job: Job) -> None:
            for k in range(10_000):
                job.phase(f"step {k}")
                began.set()
                threading.Event().wait(0.01)
            said.append("came to its end")

        job = Job("a", work)
        jobs.submit(job)
        async for _ in job.events():
            break
        await asyncio.to_thread(began.wait, 5)
        job.cancel()
        after = Job("a", lambda job: said.append("next"))
        jobs.submit(after)
        await all_of(after)
        jobs.close()
        return said

    assert run(scene) == ["next"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UsageError("there is no such word"), "there is no such word"),
        (MemoryError(), "there is not enough memory for this"),
        (ValueError("x < 3"), "it is our fault (ValueError: x < 3)"),
    ],
)
def test_an_error_is_told_in_a_sentence_and_the_next_one_is_served(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
):
    def failing(job: Job) -> None:
        raise error

    async def scene() -> tuple[dict[str, Any], dict[str, Any]]:
        jobs = Jobs()
        first, second = Job("a", failing), Job("a", lambda job: {"k": 1})
        jobs.submit(first)
        jobs.submit(second)
        found = (await all_of(first))[-1], (await all_of(second))[-1]
        jobs.close()
        return found

    first, second = run(scene)
    assert first["event"] == "error"
    assert said in first["error"]
    assert second == {"event": "done", "k": 1}


def test_too_many_requests_are_refused_and_those_that_wait_are_kept():
    async def scene() -> int:
        gate, jobs = threading.Event(), Jobs()
        listed = [Job(str(k), waiting_for(gate)) for k in range(MOST_WAITING + 1)]
        jobs.submit(listed[0])
        while jobs._running is None:
            await asyncio.sleep(0.01)
        for job in listed[1:]:
            jobs.submit(job)
        with pytest.raises(UsageError, match="64 requests wait already; try again"):
            jobs.submit(Job("late", lambda job: None))
        gate.set()
        ends = [(await all_of(job))[-1]["event"] for job in listed]
        jobs.close()
        return ends.count("done")

    assert run(scene) == MOST_WAITING + 1


def test_work_that_tells_nothing_is_stopped_between_two_operations_and_puts_things_back():
    async def scene() -> tuple[dict[str, Any], list[float]]:
        jobs, began, put_back = Jobs(), threading.Event(), []

        def work(job: Job) -> None:
            weight = torch.ones(1)
            try:
                while True:
                    weight = weight * 1.5
                    began.set()
            finally:  # itself made of operations, which are not stopped again
                weight = torch.zeros(1) + 1
                put_back.append(float(weight))

        job = Job("a", work)
        jobs.submit(job)
        await asyncio.to_thread(began.wait, 10)
        job.cancel()
        last = (await all_of(job))[-1]
        jobs.close()
        return last, put_back

    assert run(scene) == ({"event": "cancelled"}, [1.0])


def test_a_server_that_stops_tells_those_who_wait_and_takes_nothing_more():
    async def scene() -> tuple[int, list[str]]:
        jobs, began = Jobs(), threading.Event()

        def work(job: Job) -> None:
            while True:
                began.set()
                torch.zeros(1)

        listed = [Job("a", work), Job("b", lambda job: None), Job("b", lambda job: None)]
        for job in listed:
            jobs.submit(job)
        await asyncio.to_thread(began.wait, 10)
        n = jobs.stop()
        ends = [(await all_of(job))[-1]["event"] for job in listed]
        with pytest.raises(UsageError, match="the server is stopping"):
            jobs.submit(Job("c", lambda job: None))
        jobs.close()
        return n, ends

    assert run(scene) == (3, ["cancelled"] * 3)

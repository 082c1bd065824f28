"""Handlers in child processes: outcomes, time-outs, kills, crashes, what they ask of the worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from headrace.handlers import (
    Attempt,
    ChildEnd,
    Context,
    FurtherTask,
    Outcome,
    Park,
    Raised,
    RegistrationError,
    RemoteTraceback,
    Resources,
    Returned,
    Stopped,
    StopReason,
    SubmitFailed,
    handler,
    run_attempt,
)
from tests.unit.handlers import process_handlers as handlers
from tests.unit.handlers.recording_host import RecordingHost, make_context

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def resources() -> AsyncIterator[Resources]:
    resources = Resources()
    yield resources
    await resources.close()


async def run(
    resources: Resources, task_type: Any, payload: Any, host: RecordingHost | None = None
) -> Outcome:
    ctx = make_context(host)
    ended = await run_attempt(task_type, json.dumps(payload).encode(), ctx, resources=resources)
    if ended.still_running is not None:
        await asyncio.wait_for(ended.still_running, 10)
    return ended.outcome


def value(outcome: Outcome) -> Any:
    assert isinstance(outcome, Returned), outcome
    return json.loads(outcome.result)


def failure(outcome: Outcome) -> tuple[str, bool]:
    assert isinstance(outcome, Raised), outcome
    return outcome.error, outcome.retryable


class Watched(Attempt):
    """An attempt under way, whose end is waited for."""

    def __init__(self, task_type: Any, resources: Resources) -> None:
        self.host = RecordingHost()
        self.calls: list[str] = []
        self.left = asyncio.Event()
        super().__init__(
            task_type,
            make_context(self.host),
            on_outcome=lambda _: self.calls.append("outcome"),
            on_gone=lambda _: self.left.set(),
            resources=resources,
        )

    async def said(self) -> str:
        """The first message of its progress."""
        async with asyncio.timeout(20):
            while not self.host.reports:  # noqa: ASYNC110 - it comes by the event loop
                await asyncio.sleep(0.005)
        return self.host.reports[0][1] or ""


def start(task_type: Any, payload: Any, resources: Resources) -> Watched:
    attempt = Watched(task_type, resources)
    attempt.start(asyncio.get_running_loop(), json.dumps(payload).encode())
    return attempt


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_plain_and_async_handlers_run_in_another_process(resources: Resources) -> None:
    plain = value(await run(resources, handlers.double, {"value": 4}))
    tasked = value(await run(resources, handlers.double_async, {"value": 5}))
    assert (plain["value"], plain["attempt"], tasked["value"]) == (8, 1, 10)
    assert plain["pid"] == tasked["pid"] != os.getpid()


async def test_no_process_is_started_before_a_type_asks_for_one(resources: Resources) -> None:
    @handler("here")
    async def here(ctx: Context, payload: Any) -> int:
        return os.getpid()

    assert value(await run(resources, here, None)) == os.getpid()
    assert resources.processes.pids == []
    await run(resources, handlers.double, {"value": 4})
    assert len(resources.processes.pids) == 1


async def test_there_are_as_many_processes_as_attempts_at_once(resources: Resources) -> None:
    for _ in range(2):
        running = [run(resources, handlers.hold, 0.2) for _ in range(3)]
        assert [value(it) for it in await asyncio.gather(*running)] == ["done"] * 3
    assert len(resources.processes.pids) == 3


async def test_payload_and_result_are_checked(resources: Resources) -> None:
    error, retryable = failure(await run(resources, handlers.double, {"value": "x"}))
    assert "value: Input should be a valid integer" in error
    assert not retryable
    error, _ = failure(await run(resources, handlers.too_large, None))
    assert "the result has 2000002 bytes, the limit is 1048576" in error


async def test_errors_are_retried_as_the_type_says_and_keep_their_traceback(
    resources: Resources,
) -> None:
    assert failure(await run(resources, handlers.fail, "fatal")) == ("no such city", False)
    assert failure(await run(resources, handlers.fail, "os")) == ("OSError: the disk is gone", True)
    outcome = await run(resources, handlers.fail, "value")
    assert failure(outcome) == ("ValueError: no such city", False)
    assert isinstance(outcome, Raised)
    assert isinstance(outcome.exception, RemoteTraceback)
    assert 'raise ValueError("no such city")' in str(outcome.exception)


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("SIGSEGV", "ProcessDied: the handler's process was ended by SIGSEGV"),
        (
            "SIGKILL",
            "ProcessDied: the handler's process was ended by SIGKILL, as the kernel does when "
            "memory runs out",
        ),
        (
            "exit",
            "ProcessDied: the handler's process ended with exit status 3 before the handler did",
        ),
        ("sys.exit", "SystemExit: 3"),
    ],
)
async def test_a_crash_is_a_failed_attempt_that_names_the_signal(
    resources: Resources, how: str, error: str
) -> None:
    assert failure(await run(resources, handlers.die, how))[0] == error
    # The next attempt finds a process, also after a crash.
    assert value(await run(resources, handlers.double, {"value": 1}))["value"] == 2


async def test_a_crash_is_retried_as_any_failure(resources: Resources) -> None:
    assert failure(await run(resources, handlers.die, "SIGSEGV"))[1]


async def test_the_inbox_goes_there_and_a_park_for_it_comes_back(resources: Resources) -> None:
    ctx = make_context()
    ctx.inbox = (b"\x00", b"two")
    ended = await run_attempt(handlers.await_items, b"null", ctx, resources=resources)
    assert ended.outcome == Park(None, b"\x00,two", wake_on="inbox")


async def test_a_park_comes_back(resources: Resources) -> None:
    outcome = await run(resources, handlers.rest, None)
    assert isinstance(outcome, Park)
    assert outcome == Park(datetime(2030, 1, 1, tzinfo=UTC), b"resting")


class Parent(RecordingHost):
    """Its first child has ended."""

    async def child(self, ctx: Context, task_id: str) -> ChildEnd | None:
        if self.submitted[0].id != task_id:
            raise LookupError("no such child")
        return ChildEnd("completed", b"7")


async def test_what_a_handler_asks_for_reaches_the_worker(resources: Resources) -> None:
    host = Parent()
    said = value(await run(resources, handlers.talk, None, host))
    assert host.reports[-1] == (99.0, "nearly there")
    assert len(host.reports) < 100  # what comes too fast is thinned out
    assert (host.checkpoints, host.appended) == ([b"half"], [b"1", b"2", b"3"])
    assert said["journal"] == ["3"]
    child, first, second = host.submitted
    assert (child.type, child.child, said["child"]) == ("child", True, ["completed", "7"])
    assert host.cancelled == [child.id]
    assert said["ids"] == [first.id, second.id]
    assert (first.type, first.payload, first.max_retries) == ("double", b'{"value":4}', 3)
    assert (second.type, second.payload, second.max_retries) == ("other", b'{"a":1}', None)
    assert second.start_at is not None
    assert (said["deadline"], said["state"]) == (True, "half")
    # The state that a checkpoint has kept makes the ids of the submits after it.
    again = Parent()
    await run(resources, handlers.talk, None, again)
    assert [task.id for task in again.submitted] == [child.id, first.id, second.id]


async def test_a_refused_submit_raises_in_the_handler(resources: Resources) -> None:
    class Refusing(RecordingHost):
        async def submit(self, ctx: Context, task: FurtherTask) -> None:
            raise SubmitFailed("the queue is full")

    said = value(await run(resources, handlers.refused, None, Refusing()))
    assert said == "SubmitFailed: the queue is full"


async def test_an_answer_that_nobody_waits_for_any_more_harms_nothing(resources: Resources) -> None:
    class Slow(RecordingHost):
        async def submit(self, ctx: Context, task: FurtherTask) -> None:
            await asyncio.sleep(0.25)

    host = Slow()
    assert value(await run(resources, handlers.impatient, None, host)) == "fine"
    assert host.reports == [(1.0, "given up")]


async def test_a_killed_process_takes_no_further_attempt_though_it_has_just_replied(
    resources: Resources,
) -> None:
    await run(resources, handlers.double, {"value": 1})
    attempt = start(handlers.double, {"value": 2}, resources)
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251 - its reply is there, and was not read yet
    attempt.stop(Stopped(StopReason.CANCELLED), 0)
    await asyncio.wait_for(attempt.left.wait(), 10)
    assert value(await run(resources, handlers.double, {"value": 3}))["value"] == 6


async def test_its_time_out_kills_a_handler_that_computes(resources: Resources) -> None:
    began = time.monotonic()
    error, retryable = failure(await run(resources, handlers.hold_briefly, 60))
    assert error == "TimeoutError: the handler took longer than 0.5 s"
    assert retryable
    assert time.monotonic() - began < 15
    # The one that was killed is replaced.
    assert value(await run(resources, handlers.double, {"value": 1}))["value"] == 2


async def test_a_cancel_kills_a_handler_that_does_not_listen(resources: Resources) -> None:
    attempt = start(handlers.hold, 60, resources)
    pid = int(await attempt.said())
    attempt.stop(Stopped(StopReason.CANCELLED), 0.5)
    await asyncio.wait_for(attempt.left.wait(), 10)
    assert attempt.outcome == Stopped(StopReason.CANCELLED)
    assert attempt.calls == ["outcome"]
    await until_gone(pid)


async def test_a_kill_meets_what_the_handler_has_started_too(resources: Resources) -> None:
    attempt = start(handlers.parent, "", resources)
    pid = int(await attempt.said())
    attempt.stop(Stopped(StopReason.CANCELLED), 0)
    await asyncio.wait_for(attempt.left.wait(), 10)
    await until_gone(pid)


@pytest.mark.parametrize(
    ("task_type", "left"), [(handlers.listen, "told"), (handlers.tidy, "tidied up")]
)
async def test_a_handler_that_stops_when_told_to_keeps_its_process(
    resources: Resources, tmp_path: Path, task_type: Any, left: str
) -> None:
    before = value(await run(resources, handlers.double, {"value": 1}))["pid"]
    path = tmp_path / "left"
    attempt = start(task_type, str(path), resources)
    await attempt.said()
    attempt.stop(Stopped(StopReason.HANDED_BACK))
    await asyncio.wait_for(attempt.left.wait(), 10)
    assert attempt.outcome == Stopped(StopReason.HANDED_BACK)
    assert path.read_text() == left
    assert value(await run(resources, handlers.double, {"value": 1}))["pid"] == before


async def test_an_attempt_that_is_stopped_before_its_process_is_ready_never_begins(
    resources: Resources, tmp_path: Path
) -> None:
    attempt = start(handlers.tidy, str(tmp_path / "left"), resources)
    attempt.stop(Stopped(StopReason.CANCELLED), 20)
    await asyncio.wait_for(attempt.left.wait(), 10)
    assert attempt.outcome == Stopped(StopReason.CANCELLED)
    assert attempt.host.reports == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux alone has")
async def test_a_child_shares_neither_sockets_nor_signals_with_the_worker(
    resources: Resources,
) -> None:
    loop = asyncio.get_running_loop()
    met: list[int] = []
    loop.add_signal_handler(signal.SIGTERM, lambda: met.append(1))
    try:
        has = value(await run(resources, handlers.surroundings, None))
        assert len(has["sockets"]) <= 3  # its own: to the worker, and its event loop's
        assert has["group"]
        os.kill(resources.processes.pids[0], signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert met == []
        # It ends when its parent says so, not when a process manager signals all processes.
        assert value(await run(resources, handlers.double, {"value": 1}))["value"] == 2
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_closing_ends_all_processes(resources: Resources) -> None:
    attempt = start(handlers.hold, 60, resources)
    await attempt.said()
    await run(resources, handlers.double, {"value": 1})
    pids = resources.processes.pids
    assert len(pids) == 2
    await resources.close()
    for pid in pids:
        await until_gone(pid)
    await asyncio.wait_for(attempt.left.wait(), 10)


PARENT = """
import asyncio, json, os
from headrace.handlers import Resources, run_attempt
from tests.unit.handlers import process_handlers as handlers
from tests.unit.handlers.recording_host import RecordingHost, make_context

class Host(RecordingHost):
    def progress(self, ctx, percent, message):
        print(message, flush=True)

asyncio.run(run_attempt(handlers.hold, b"60", make_context(Host())))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends after that call alone")
async def test_a_child_ends_with_its_parent_also_within_a_call_of_60_s() -> None:
    parent = subprocess.Popen(  # noqa: ASYNC220 - it is killed, not awaited
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert psutil.pid_exists(pid)
        await asyncio.sleep(0.5)  # it is within that call now
        parent.send_signal(signal.SIGKILL)
        await until_gone(pid)


def test_a_handler_inside_a_function_cannot_run_in_a_process() -> None:
    with pytest.raises(RegistrationError, match="at the top level of a module"):

        @handler("nested", run_in="process")
        def nested(ctx: Context, payload: Any) -> None: ...


def test_a_place_that_there_is_not_is_refused() -> None:
    with pytest.raises(RegistrationError, match="run_in is 'thread'"):
        handler("elsewhere", run_in="thread")(handlers.double.function)  # type: ignore[arg-type]

# ruff: noqa: INP001 - a module at the top of a folder that stands in for site-packages
"""Handlers that do what no handler should: raise, exit, fork, block, leak, flood, hang.

Each kind is one function here, and two task types: `<kind>.sync` and `<kind>.async`. Where the two
must differ, the async one is a second function. `honest` writes its payload into the file
`HONEST_FILE`, a line a run.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from headrace import Context, handler

LONG = 600.0
FORK = multiprocessing.get_context("fork")
KINDS: list[str] = []

Sync = Callable[[Context], Any]
Async = Callable[[Context], Awaitable[Any]]


@handler("honest", timeout_seconds=30.0)
def honest(ctx: Context, line: str) -> str:
    """Do a little, and leave a trace of it."""
    with Path(os.environ["HONEST_FILE"]).open("a") as file:
        file.write(f"{line}\n")
    return line


def hostile(function: Sync, instead: Async | None = None) -> Sync:
    """Make both task types of a kind; `instead` is the async one, by default the same code."""

    def sync_one(ctx: Context, payload: Any) -> Any:
        return function(ctx)

    async def async_one(ctx: Context, payload: Any) -> Any:
        return function(ctx) if instead is None else await instead(ctx)

    kind = function.__name__
    KINDS.append(kind)
    for suffix, code in (("sync", sync_one), ("async", async_one)):
        task_type = handler(f"{kind}.{suffix}", timeout_seconds=1.0, max_retries=0)(code)
        globals()[f"{kind}_{suffix}"] = task_type
    return function


def as_async(function: Sync) -> Callable[[Async], Async]:
    """Declare the async half of a kind."""

    def declare(instead: Async) -> Async:
        hostile(function, instead)
        return instead

    return declare


# Raise


class Unspeakable(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        raise SystemExit(0)

    __repr__ = __str__


def raising(name: str, make: Callable[[], BaseException]) -> None:
    """A kind that raises this."""

    def function(ctx: Context) -> Any:
        raise make()

    function.__name__ = f"raise_{name}"
    hostile(function)


def group(depth: int, copies: int) -> BaseException:
    """Groups in groups."""
    error: Exception = ValueError("in the middle")
    for _ in range(depth):
        error = ExceptionGroup("g", [error] * copies)
    return error


def noted() -> BaseException:
    """An error whose notes are none."""
    error = ValueError("noted")
    error.__notes__ = 7  # type: ignore[assignment]
    return error


raising("system_exit", lambda: SystemExit(0))
raising("keyboard_interrupt", KeyboardInterrupt)
raising("generator_exit", GeneratorExit)
raising("deep_group", lambda: group(400, 1))
raising("shared_group", lambda: group(60, 2))
raising("syntax_error", lambda: SyntaxError("x", ("t", 3, "col", "text")))  # type: ignore[arg-type]
raising("noted", noted)
raising("unspeakable", Unspeakable)
raising("huge", lambda: ValueError("x" * 10_000_000))


@hostile
def return_lazily(ctx: Context) -> Any:
    """What is to be written exits."""
    return (sys.exit(0) for _ in range(1))


@hostile
def log_unspeakable(ctx: Context) -> None:
    """Log what has no text."""
    ctx.log.info("an odd value", value=Unspeakable())
    logging.getLogger("library").error("%d %s", "seven", Unspeakable())


# Exit


def exit_elsewhere(ctx: Context) -> None:
    """Exit in a thread of its own."""
    thread = threading.Thread(target=sys.exit, args=(0,))
    thread.start()
    thread.join()


@as_async(exit_elsewhere)
async def _(ctx: Context) -> None:
    async def leave() -> None:
        sys.exit(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(leave())


def exit_unseen(ctx: Context) -> None:
    """Exit where nobody waits for it."""
    threading.Thread(target=sys.exit, args=(1,)).start()


@as_async(exit_unseen)
async def _(ctx: Context) -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 0)
    await asyncio.sleep(0.1)


def stop_the_loop(ctx: Context) -> None:
    """Stop an event loop of its own."""

    async def stop() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(LONG)

    asyncio.run(stop())


@as_async(stop_the_loop)
async def _(ctx: Context) -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.05)


def cancel_everything(ctx: Context) -> None:
    """Cancel all tasks there are; here: of its own event loop."""

    async def cancel() -> None:
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)

    asyncio.run(cancel())


@as_async(cancel_everything)
async def _(ctx: Context) -> None:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


# Fork


@hostile
def fork_a_pool(ctx: Context) -> Any:
    """Processes that the pool ends by SIGTERM."""
    with FORK.Pool(2) as pool:
        return pool.map(abs, [-1, -2])


@hostile
def fork_and_terminate(ctx: Context) -> int:
    """A process that is ended by SIGTERM: it has to die of it."""
    child = FORK.Process(target=time.sleep, args=(LONG,))
    child.start()
    child.terminate()
    child.join(10)
    assert child.exitcode == -15, child.exitcode
    return child.exitcode


def fork_and_return(ctx: Context) -> int:
    """A child that comes back from the handler."""
    child = os.fork()
    return 0 if child == 0 else os.waitpid(child, 0)[1]


@as_async(fork_and_return)
async def _(ctx: Context) -> int:
    child = os.fork()
    if child == 0:
        await asyncio.sleep(0.01)
        return 0
    return os.waitpid(child, 0)[1]  # noqa: ASYNC222 - it blocks, and is meant to


@hostile
def fork_and_exit(ctx: Context) -> int:
    """A child that exits as scripts do."""
    child = os.fork()
    if child == 0:
        sys.exit(0)
    return os.waitpid(child, 0)[1]


# Block


@hostile
def block_asleep(ctx: Context) -> None:
    """Sleep past its time-out."""
    time.sleep(2.0)


@hostile
def block_computing(ctx: Context) -> int:
    """Compute past its time-out."""
    end = time.monotonic() + 1.5
    return sum(1 for _ in iter(lambda: time.monotonic() < end, False))


# Leak


@hostile
def leak_a_thread(ctx: Context) -> None:
    """A thread that Python would wait for."""
    threading.Thread(target=time.sleep, args=(LONG,), name="leaked").start()


def leak_a_pool(ctx: Context) -> None:
    """Threads of a pool."""
    ThreadPoolExecutor(1).submit(time.sleep, LONG)


@as_async(leak_a_pool)
async def _(ctx: Context) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(40):  # all threads that `to_thread` has
            tasks.create_task(asyncio.to_thread(time.sleep, LONG))


@hostile
def leak_a_process(ctx: Context) -> None:
    """A process that `multiprocessing` would wait for."""
    FORK.Process(target=time.sleep, args=(LONG,)).start()


_kept: list[Any] = []


def leak_a_task(ctx: Context) -> None:
    """A timer that never strikes."""
    threading.Timer(LONG, print).start()


@as_async(leak_a_task)
async def _(ctx: Context) -> None:
    _kept.append(asyncio.create_task(_deaf()))
    await asyncio.sleep(0)


async def _deaf() -> None:
    while True:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            continue


# Flood


@hostile
def flood_progress(ctx: Context) -> None:
    """Report far too often."""
    for n in range(300_000):
        ctx.progress(n % 100, "x" * 100)


@hostile
def flood_the_log(ctx: Context) -> None:
    """Log far too much."""
    for n in range(5_000):
        ctx.log.info("a line", n=n, text="x" * 100)


@hostile
def flood_the_result(ctx: Context) -> Any:
    """Return what has no end."""
    return itertools.count()


# Hang


def hang(ctx: Context) -> None:
    """Never end."""
    threading.Event().wait(LONG)


@as_async(hang)
async def _(ctx: Context) -> None:
    await asyncio.Event().wait()


def hang_deaf(ctx: Context) -> None:
    """Never end, and hear nothing."""
    while True:
        time.sleep(LONG)


@as_async(hang_deaf)
async def _(ctx: Context) -> None:
    await _deaf()

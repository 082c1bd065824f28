"""Handlers that run in child processes: they must stand at the top level of a module."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from headrace.handlers import Context, Fatal, Park, handler


class Number(BaseModel):
    """A payload."""

    value: int


@handler("double", run_in="process")
def double(ctx: Context, payload: Number) -> dict[str, int]:
    return {"value": 2 * payload.value, "pid": os.getpid(), "attempt": ctx.attempt}


@handler("double_async", run_in="process")
async def double_async(ctx: Context, payload: Number) -> dict[str, int]:
    await asyncio.sleep(0)
    return {"value": 2 * payload.value, "pid": os.getpid()}


@handler("hold", run_in="process", timeout_seconds=None)
def hold(ctx: Context, seconds: float) -> str:
    """One call into C that holds the interpreter: no other thread of the process runs."""
    ctx.progress(1, str(os.getpid()))
    time.sleep(0.3)  # until that is sent
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return "done"


@handler("hold_briefly", run_in="process", timeout_seconds=0.5)
def hold_briefly(ctx: Context, seconds: float) -> None:
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


@handler("die", run_in="process")
def die(ctx: Context, how: str) -> None:
    match how:
        case "SIGSEGV":
            os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(10)
        case "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(10)
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(3)
        case _:
            raise ValueError(how)


@handler("fail", run_in="process", retry_on=(OSError,))
def fail(ctx: Context, kind: str) -> None:
    if kind == "fatal":
        raise Fatal("no such city")
    if kind == "os":
        raise OSError("the disk is gone")
    raise ValueError("no such city")


@handler("too_large", run_in="process")
def too_large(ctx: Context, payload: Any) -> str:
    return "x" * 2_000_000


@handler("rest", run_in="process")
def rest(ctx: Context, payload: Any) -> Park:
    return Park(datetime(2030, 1, 1, tzinfo=UTC), b"resting")


@handler("await_items", run_in="process")
def await_items(ctx: Context, payload: Any) -> Park:
    return Park(None, b",".join(ctx.inbox), wake_on="inbox")


@handler("talk", run_in="process")
def talk(ctx: Context, payload: Any) -> dict[str, Any]:
    for n in range(1000):
        ctx.progress(n / 10, f"step {n}")
    ctx.progress(99, "nearly there")
    ctx.wait(ctx.append([b"1", b"2"]))
    child = ctx.wait(ctx.submit("child", None, key="child", child=True))
    end = ctx.wait(ctx.child(child))
    ctx.wait(ctx.cancel_child(child))
    ctx.wait(ctx.checkpoint(b"half", [b"3"]))
    first = ctx.wait(ctx.submit(double, Number(value=4)))
    second = ctx.wait(ctx.submit("other", {"a": 1}, start_in=timedelta(hours=1)))
    return {
        "ids": [first, second],
        "headers": dict(ctx.headers),
        "deadline": ctx.deadline is not None,
        "state": (ctx.state or b"").decode(),
        "child": end and [end.status, (end.result or b"").decode()],
        "journal": [entry.decode() for entry in ctx.journal],
    }


@handler("refused", run_in="process")
async def refused(ctx: Context, payload: Any) -> str:
    try:
        await ctx.submit("other", None)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


@handler("listen", run_in="process")
def listen(ctx: Context, path: str) -> None:
    """Stops when it is told to, and leaves a file."""
    ctx.progress(1, "listening")
    if ctx.cancelled.wait(20):
        Path(path).write_text("told")


@handler("tidy", run_in="process")
async def tidy(ctx: Context, path: str) -> None:
    ctx.progress(1, "waiting")
    try:
        await asyncio.Event().wait()
    finally:
        Path(path).write_text("tidied up")  # noqa: ASYNC240


@handler("parent", run_in="process")
def parent(ctx: Context, path: str) -> None:
    """Starts a program, and says which."""
    program = subprocess.Popen(["sleep", "60"])
    ctx.progress(1, str(program.pid))
    program.wait()


@handler("surroundings", run_in="process")
def surroundings(ctx: Context, payload: Any) -> dict[str, Any]:
    """What the child has of its parent."""
    return {
        "sockets": [
            fd
            for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")
            and os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        ],
        "group": os.getpgid(0) == os.getpid(),
        "sigterm": str(signal.getsignal(signal.SIGTERM)),
        "threads_of_parent": "MainThread",
    }


@handler("impatient", run_in="process")
async def impatient(ctx: Context, payload: Any) -> str:
    """Gives up a submit before it is answered, and goes on."""
    try:
        async with asyncio.timeout(0.05):
            await ctx.submit("other", None)
    except TimeoutError:
        ctx.progress(1, "given up")
    await asyncio.sleep(0.5)
    return "fine"

"""Ends a process that ran handlers in time, whatever they left behind.

Python waits at its end for every thread that is no daemon, for the event loop's own threads, for
asyncio tasks that swallow their cancellation, and for `multiprocessing`'s children. Threads cannot
be killed: one that sleeps for an hour would keep the process for an hour.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

from headrace import logs

LEAVE_SECONDS = 2.0

log = logs.get_logger(__name__)


def leave_within(
    status: int,
    loop: asyncio.AbstractEventLoop,
    *,
    attempts: Sequence[str] = (),
    seconds: float = LEAVE_SECONDS,
) -> None:
    """End the process with this status at the latest in `seconds`, saying what was left.

    Call it when everything is reported, and then end as usual. `attempts` are the attempts whose
    code still runs.
    """

    def watch() -> None:
        time.sleep(seconds)
        try:
            _say_what_is_left(loop, attempts, seconds)
            for child in multiprocessing.active_children():
                child.terminate()
            logs.flush()
        finally:
            os._exit(status)

    threading.Thread(target=watch, name="leave", daemon=True).start()


def _say_what_is_left(
    loop: asyncio.AbstractEventLoop, attempts: Sequence[str], seconds: float
) -> None:
    log.warning(
        "process.left_behind",
        attempts=list(attempts),
        threads=_threads(),
        tasks=[task.get_coro() for task in asyncio.all_tasks(loop)],
        processes=[str(child.pid) for child in multiprocessing.active_children()],
        reason=f"handlers left this behind, and it did not end within {seconds:g} s: it is ended "
        "with the process",
    )


def _threads() -> list[str]:
    """Name and place of each thread that Python would wait for."""
    frames = sys._current_frames()
    return [
        f"{thread.name}: {place_of(frames.get(thread.ident or 0))}"
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]


def place_of(frame: FrameType | None) -> str:
    """Where a thread is: `tasks.py:12 in create`."""
    if frame is None:
        return "ended"
    return (
        f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"
    )

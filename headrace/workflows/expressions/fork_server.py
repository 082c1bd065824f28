"""Makes the processes that evaluate: forks of one that has jq loaded, some milliseconds each.

A process started afresh takes a hundred times as long, and more on a machine that is busy: who
waits for a free one must not wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess

from headrace.workflows.expressions.child import COMMAND, END, EXIT_CODE, FORK, Limits, spawn


class ForkServer:
    """The process that others are forked from. Started when first needed, and again if it died."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def fork(self) -> tuple[int, socket.socket]:
        """A new process: its id, and the socket that it takes requests from. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            try:
                return await self._ask(FORK, 0, [theirs.fileno()]), ours
            except BaseException:
                ours.close()
                raise

    async def end(self, pid: int) -> int:
        """End a process, unless it has ended itself; its exit code. Raises OSError."""
        return await self._ask(END, pid, [])

    def close(self) -> None:
        """End it, and all that it has made, for good."""
        self._closed = True
        self._stop()

    def _stop(self) -> None:
        if self._running is None:
            return
        (process, control), self._running = self._running, None
        control.close()
        with contextlib.suppress(ProcessLookupError):
            # All are of its group, whose number is taken for as long as it is not waited for.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    async def _ask(self, command: int, pid: int, descriptors: list[int]) -> int:
        async with self._lock:
            if self._closed:
                raise OSError("the processes for expressions have been closed")
            if self._running is None:
                self._running = spawn(self._limits, "fork")
                self._running[1].setblocking(False)
            control = self._running[1]
            try:
                socket.send_fds(control, [COMMAND.pack(command, pid)], descriptors)
                reply = await asyncio.get_running_loop().sock_recv(control, EXIT_CODE.size)
            except OSError:
                reply = b""
            except BaseException:
                self._stop()  # its answer would be taken for the next one's
                raise
            if not reply:
                self._stop()
                raise OSError("the process that makes those for expressions has ended")
            (answer,) = EXIT_CODE.unpack(reply)
            return int(answer)

"""Runs jq programs in a process of its own, so that no expression can hold or exhaust this one.

libjq holds the GIL while it runs and has no limits. One child per evaluator, started when first
needed; one that takes too long or too much memory dies, and the next evaluation starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.workflows.expressions.child import LENGTH, EvaluationFailed, Limits, framed, spawn


class _Child:
    """A running child process and the stream to it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer

    async def ask(self, programs: bytes, document: bytes) -> bytes:
        self._writer.writelines(framed(programs, document))
        await self._writer.drain()
        header = await self._reader.readexactly(LENGTH.size)
        return await self._reader.readexactly(LENGTH.unpack(header)[0])

    def kill(self) -> int:
        """End the process, if it has not ended itself, and return its exit code."""
        self._writer.close()
        self.process.kill()
        return self.process.wait()


class Evaluator:
    """Evaluates jq programs, one request at a time, within limits. Belongs to one event loop."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._child: _Child | None = None
        self._lock = asyncio.Lock()

    async def evaluate(self, programs: Sequence[str], document: bytes) -> list[Any]:
        """The result of each program on the JSON `document`. Raises EvaluationFailed."""
        listed = msgspec.json.encode(programs)
        async with self._lock:
            child = self._child or await self._start()
            try:
                async with asyncio.timeout(self._limits.wall_seconds):
                    reply = await child.ask(listed, document)
            except TimeoutError:
                self._discard()
                raise EvaluationFailed(
                    f"it did not end within {self._limits.wall_seconds:g} s", limit="time"
                ) from None
            except (OSError, asyncio.IncompleteReadError):
                # Its socket is closed, so it has ended or is about to: the exit code says why.
                raise self._limits.explain(await self._reap()) from None
            except BaseException:
                # Cancelled half-way: its reply would be taken for the next request's.
                self._discard()
                raise
        return read_reply(reply)

    async def close(self) -> None:
        """End the child process, if there is one."""
        async with self._lock:
            self._discard()

    async def _start(self) -> _Child:
        process, ours = spawn(self._limits)
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        self._child = _Child(process, reader, writer)
        return self._child

    def _discard(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    async def _reap(self) -> int:
        child, self._child = self._child, None
        assert child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(child.process.wait, 5)
        return child.kill()


def read_reply(reply: bytes) -> list[Any]:
    """A child's reply as the programs' results. Raises EvaluationFailed."""
    answer = msgspec.json.decode(reply)
    if "error" in answer:
        raise EvaluationFailed(answer["error"], index=answer["index"])
    results: list[Any] = answer["ok"]
    return results

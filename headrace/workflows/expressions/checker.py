"""Compiles the expressions and schemas of a definition when it is loaded, to find wrong ones.

In a child process, too: jq computes constants while it compiles, and `"x" * 1e9` would do to this
process what it does to a run.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

import msgspec

from headrace.workflows.expressions.child import LENGTH, EvaluationFailed, Limits, framed, spawn
from headrace.workflows.expressions.evaluator import read_reply

# A program, and what is told why it is wrong.
Check = tuple[str, Callable[[EvaluationFailed], None]]

# So many programs are compiled, some 1 ms each, within the limits of one request.
_PROGRAMS_PER_REQUEST = 100
_REMEMBERED = 10_000
_valid: set[str] = set()


def _remember(programs: Iterable[str]) -> None:
    """Keep in mind which programs are valid, so that they are not compiled again."""
    if len(_valid) > _REMEMBERED:
        _valid.clear()
    _valid.update(programs)


class Checker:
    """Checks programs. Use as a context manager; its process is started when first needed."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._child: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def check(self, checks: Sequence[Check]) -> None:
        """Compile the programs, and tell each that is wrong why. Raises what that raises.

        Ends at the first one that hits a limit: others might, too, and each takes a second.
        """
        new = [check for check in checks if check[0] not in _valid]
        start = one_by_one_until = 0
        while start < len(new):
            size = 1 if start < one_by_one_until else _PROGRAMS_PER_REQUEST
            batch = new[start : start + size]
            try:
                self._compile([program for program, _ in batch])
                valid = len(batch)
            except EvaluationFailed as error:
                if error.index is None and error.limit is None:
                    # The child is broken, not the definition.
                    raise RuntimeError(f"expressions cannot be checked: {error}") from error
                if error.index is None and len(batch) > 1:
                    # A limit was hit: one at a time shows by which.
                    one_by_one_until = start + len(batch)
                    continue
                valid = error.index or 0
                batch[valid][1](error)
                if error.limit:
                    return
                start += 1
            _remember(program for program, _ in batch[:valid])
            start += valid

    def _compile(self, programs: list[str]) -> None:
        if self._child is None:
            self._child = spawn(self._limits)
        sock = self._child[1]
        sock.settimeout(self._limits.wall_seconds)
        try:
            sock.sendall(b"".join(framed(msgspec.json.encode(programs), b"")))
            with sock.makefile("rb") as stream:
                header = stream.read(LENGTH.size)
                reply = stream.read(LENGTH.unpack(header)[0]) if header else b""
        except TimeoutError:
            self._end()
            raise EvaluationFailed("it takes too long to compile", limit="time") from None
        except OSError:
            reply = b""
        if not reply:
            raise self._limits.explain(self._end())
        read_reply(reply)

    def _end(self) -> int:
        """End the process, unless it has ended itself, and return its exit code."""
        if self._child is None:
            return 0
        (process, sock), self._child = self._child, None
        sock.close()
        try:
            return process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

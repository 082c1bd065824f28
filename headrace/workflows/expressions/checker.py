"""Compiles the expressions of a definition once, when it is loaded, to find those that are wrong.

In a child process, too: jq computes constants while it compiles, and `"x" * 1e9` would do to this
process what it does to a run.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NoReturn, Self

import msgspec

from headrace.workflows.expressions.child import LENGTH, EvaluationFailed, Limits, framed, spawn
from headrace.workflows.expressions.evaluator import read_reply

# A program, and how to refuse the definition when it is wrong.
Check = tuple[str, Callable[[str], NoReturn]]

# So many programs are compiled, some 1 ms each, within the limits of one request.
_PROGRAMS_PER_REQUEST = 100
_REMEMBERED = 10_000
_valid: set[str] = set()


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
        """Compile each program; the first that is wrong is refused its own way."""
        new = [check for check in checks if check[0] not in _valid]
        for start in range(0, len(new), _PROGRAMS_PER_REQUEST):
            self._check(new[start : start + _PROGRAMS_PER_REQUEST])

    def _check(self, checks: Sequence[Check]) -> None:
        try:
            self._compile([program for program, _ in checks])
        except EvaluationFailed as error:
            if error.index is None and error.limit is None:
                # The child is broken, not the definition.
                raise RuntimeError(f"expressions cannot be checked: {error}") from error
            if error.index is None and len(checks) > 1:
                # A limit was hit: one at a time shows by which.
                for check in checks:
                    self._check([check])
                return
            checks[error.index or 0][1](str(error))
        if len(_valid) > _REMEMBERED:
            _valid.clear()
        _valid.update(program for program, _ in checks)

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

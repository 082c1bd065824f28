"""The processes that jq programs are compiled and run in: what starts them, and why one ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LENGTH = struct.Struct(">I")
COMMAND = struct.Struct(">Bi")
FORK, END = 0, 1
EXIT_CODE = struct.Struct(">i")
SCHEMA = "schema:"
"""What a program that is a JSON Schema begins with; any other one is jq."""
_PROGRAM = Path(__file__).with_name("evaluator_process.py")


class EvaluationFailed(Exception):
    """A program failed: `index` is its place in the request; `limit` when a limit ended it.

    `at` is the path within a schema to what is wrong there.
    """

    def __init__(
        self,
        message: str,
        *,
        index: int | None = None,
        limit: str | None = None,
        at: Sequence[str | int] = (),
    ) -> None:
        super().__init__(message)
        self.index = index
        self.limit = limit
        self.at = at


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may use.

    The CPU time is what limits a program; the wall time only catches a child that is stuck.
    """

    cpu_seconds: float = 1.0
    wall_seconds: float = 15.0
    memory_bytes: int = 512 * 1024 * 1024
    max_result_bytes: int = 10 * 1024 * 1024

    def explain(self, exit_code: int) -> EvaluationFailed:
        """Why a child with these limits ended."""
        if exit_code == -signal.SIGPROF:
            return EvaluationFailed(
                f"it needed more than {self.cpu_seconds:g} s of CPU time "
                "(WORKFLOW_EVALUATION_SECONDS)",
                limit="time",
            )
        if exit_code in (-signal.SIGABRT, -signal.SIGSEGV):
            mebibytes = self.memory_bytes // (1024 * 1024)
            return EvaluationFailed(
                f"it needed more than {mebibytes} MiB of memory (WORKFLOW_EVALUATION_MEMORY_BYTES)",
                limit="memory",
            )
        if exit_code == -signal.SIGKILL:
            return EvaluationFailed(
                "its process was killed: the machine or the container ran out of memory",
                limit="memory",
            )
        return EvaluationFailed(f"the process that evaluates it ended with code {exit_code}")


def spawn(
    limits: Limits, role: Literal["serve", "fork"] = "serve"
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process, the leader of a group of its own; it ends when the socket is closed.

    One that serves takes requests through the socket; one that forks takes commands, to make
    others that serve.
    """
    ours, theirs = socket.socketpair()
    environment = {"TZ": "UTC", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    with contextlib.ExitStack() as on_failure, theirs:
        on_failure.callback(ours.close)
        process = subprocess.Popen(
            [
                sys.executable,
                # -P: the folder of the program must not hide the standard library's modules.
                "-Ps",
                str(_PROGRAM),
                role,
                str(theirs.fileno()),
                str(limits.cpu_seconds),
                str(limits.memory_bytes),
                str(limits.max_result_bytes),
            ],
            pass_fds=(theirs.fileno(),),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A signal to the worker's process group must not reach it: a draining worker still
            # evaluates.
            start_new_session=True,
        )
        on_failure.pop_all()
    return process, ours


def framed(programs: bytes, document: bytes) -> tuple[bytes, ...]:
    """A request: the JSON list of programs, and the document, empty to compile them only."""
    return (LENGTH.pack(len(programs)), programs, LENGTH.pack(len(document)), document)

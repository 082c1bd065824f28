"""The child process that evaluates jq programs: killed by the kernel when one takes too long.

Started with the file itself as the program, so that it loads nothing but the standard library and
`jq`. It is given no environment, no files and little memory. It reads requests from one socket and
answers each in order, until the socket is closed:

    request: u32 length, JSON list of programs, u32 length, JSON document (empty: compile only)
    reply:   u32 length, JSON {"ok": [value …]} or {"index": n, "error": text, "at": path}

A program is jq, or SCHEMA and a JSON Schema. The latter gives what in the document's "d" does not
fit; `at` is the path within it to what is wrong there.

The CPU time of one request is limited by ITIMER_PROF: its signal ends the process even while
libjq runs, and also when the parent has died meanwhile.

Or it makes others, which do that: see fork_server.py.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jq  # type: ignore[import-not-found]

SCHEMA = "schema:"
CACHED_PROGRAMS = 1024
MAX_ERROR_CHARACTERS = 1000
MAX_MISMATCHES = 10
MAX_MISMATCH_CHARACTERS = 300

_LENGTH = struct.Struct(">I")
_COMMAND = struct.Struct(">Bi")
_EXIT_CODE = struct.Struct(">i")
# What a program gives for a document's text.
_Compiled = Callable[[str], Iterator[Any]]
_cache: OrderedDict[str, _Compiled] = OrderedDict()


class _SchemaWrong(ValueError):
    """A schema is not one: `at` is the path to what is wrong in it."""

    def __init__(self, reason: str, at: Sequence[str | int]) -> None:
        super().__init__(reason)
        self.at = at


def _compile_schema(schema: Any) -> _Compiled:
    # Imported here: most processes never need it.
    import jsonschema_rs

    try:
        validator = jsonschema_rs.validator_for(schema, validate_formats=False, offline=True)
    except jsonschema_rs.ValidationError as error:
        reason = error.message
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Referencing):
            reason = f"what it refers to must stand in it, as in #/$defs/name: {reason}"
        raise _SchemaWrong(reason, error.instance_path) from None

    def check(document: str) -> Iterator[Any]:
        errors = islice(validator.iter_errors(json.loads(document)["d"]), MAX_MISMATCHES)
        yield [[_pointer(error.instance_path), _shortened(error.message)] for error in errors]

    return check


def _pointer(path: Sequence[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _shortened(message: str) -> str:
    """A message without the rest of the value that it quotes."""
    if len(message) <= MAX_MISMATCH_CHARACTERS:
        return message
    return message[: MAX_MISMATCH_CHARACTERS - 1] + "…"


def _compile(program: str) -> _Compiled:
    compiled = _cache.get(program)
    if compiled is None:
        if program.startswith(SCHEMA):
            compiled = _compile_schema(json.loads(program.removeprefix(SCHEMA)))
        else:
            compiled = jq.compile(program).input_text
        _cache[program] = compiled
        if len(_cache) > CACHED_PROGRAMS:
            _cache.popitem(last=False)
    else:
        _cache.move_to_end(program)
    return compiled


def _evaluate(program: str, document: str) -> str:
    """The program's one result as JSON; null where it gives none."""
    results = iter(_compile(program)(document))
    value = next(results, None)
    for _ in results:
        raise ValueError("it gives several results where one is expected: wrap it in [ ]")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _answer(programs: list[str], document: str, max_result_bytes: int) -> bytes:
    parts: list[str] = []
    for index, program in enumerate(programs):
        try:
            if not document:
                _compile(program)
                continue
            parts.append(_evaluate(program, document))
            if sum(map(len, parts)) > max_result_bytes:
                raise ValueError(
                    f"its result is over {max_result_bytes} bytes (WORKFLOW_MAX_DATA_BYTES)"
                )
        except (ValueError, RecursionError) as error:
            # jq quotes what it failed on, which may be all of the data.
            reason = str(error)[:MAX_ERROR_CHARACTERS]
            at = error.at if isinstance(error, _SchemaWrong) else []
            return json.dumps({"index": index, "error": reason, "at": at}).encode()
    return f'{{"ok":[{",".join(parts)}]}}'.encode("utf-8", "replace")


def _read(stream: Any) -> bytes | None:
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    body: bytes = stream.read(_LENGTH.unpack(header)[0])
    return body


def serve(sock: socket.socket, cpu_seconds: float, max_result_bytes: int) -> None:
    """Answer requests until the other side closes the socket."""
    stream = sock.makefile("rb")
    while True:
        programs = _read(stream)
        document = _read(stream)
        if programs is None or document is None:
            return
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        reply = _answer(json.loads(programs), document.decode(), max_result_bytes)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sock.sendall(_LENGTH.pack(len(reply)) + reply)


def fork_on_command(control: socket.socket, cpu_seconds: float, max_result_bytes: int) -> None:
    """Make processes that serve, and end them, until the other side closes the socket.

    A command comes with a socket to serve, and is answered with the new process's id; or it names
    a process to end, and is answered with its exit code.
    """
    gc.freeze()
    made: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _COMMAND.size, 1)
        if not message:
            return
        _, pid = _COMMAND.unpack(message)
        answer = 0
        if descriptors:
            answer = os.fork()
            if answer == 0:
                control.close()
                serve(socket.socket(fileno=descriptors[0]), cpu_seconds, max_result_bytes)
                os._exit(0)
            made.add(answer)
            os.close(descriptors[0])
        elif pid in made:
            made.remove(pid)
            os.kill(pid, signal.SIGKILL)
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        control.sendall(_EXIT_CODE.pack(answer))


def main() -> None:
    """Arguments: role, the socket's descriptor, CPU seconds, memory and result limits in bytes."""
    role, descriptor, cpu_seconds, memory_bytes, max_result_bytes = sys.argv[1:]
    for name in list(os.environ):
        if name != "TZ":
            del os.environ[name]
    if sys.platform == "linux":  # macOS has this limit and refuses to set it
        resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
        # Where the machine's or the container's memory ends, this process goes, not the worker.
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work = serve if role == "serve" else fork_on_command
    try:
        work(socket.socket(fileno=int(descriptor)), float(cpu_seconds), int(max_result_bytes))
    except MemoryError:
        os.abort()  # as libjq itself ends when it finds no memory


if __name__ == "__main__":
    main()

"""The child process that evaluates jq programs: killed by the kernel when one takes too long.

Started by evaluator.py with the file itself as the program, so that it loads nothing but the
standard library and `jq`. It is given no environment, no files and little memory. It reads requests
from one socket and answers each in order, until the socket is closed:

    request: u32 length, JSON list of programs, u32 length, JSON document (empty: compile only)
    reply:   u32 length, JSON {"ok": [value …]} or {"index": n, "error": text}

The CPU time of one request is limited by ITIMER_PROF: its signal ends the process even while
libjq runs, and also when the parent has died meanwhile.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import sys
from collections import OrderedDict
from typing import Any

import jq  # type: ignore[import-not-found]

CACHED_PROGRAMS = 1024
MAX_ERROR_CHARACTERS = 1000

_LENGTH = struct.Struct(">I")
_cache: OrderedDict[str, Any] = OrderedDict()


def _compile(program: str) -> Any:
    compiled = _cache.get(program)
    if compiled is None:
        compiled = _cache[program] = jq.compile(program)
        if len(_cache) > CACHED_PROGRAMS:
            _cache.popitem(last=False)
    else:
        _cache.move_to_end(program)
    return compiled


def _evaluate(program: str, document: str) -> str:
    """The program's one result as JSON; null where it gives none."""
    results = iter(_compile(program).input_text(document))
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
                raise ValueError(f"its result is over {max_result_bytes} bytes")
        except (ValueError, RecursionError) as error:
            # jq quotes what it failed on, which may be all of the data.
            reason = str(error)[:MAX_ERROR_CHARACTERS]
            return json.dumps({"index": index, "error": reason}).encode()
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


def main() -> None:
    """Arguments: the socket's descriptor, CPU seconds, memory and result limits in bytes."""
    descriptor, cpu_seconds, memory_bytes, max_result_bytes = sys.argv[1:]
    for name in list(os.environ):
        if name != "TZ":
            del os.environ[name]
    if sys.platform == "linux":  # macOS has this limit and refuses to set it
        resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        serve(socket.socket(fileno=int(descriptor)), float(cpu_seconds), int(max_result_bytes))
    except MemoryError:
        os.abort()  # as libjq itself ends when it finds no memory


if __name__ == "__main__":
    main()

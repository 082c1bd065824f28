"""Reads the attempts that are kept of a task (`attempts:<id>` in keys.py). Pure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime

import msgspec

from headrace.limits import MAX_ERROR_TYPE_CHARACTERS, MAX_TRACEBACK_BYTES
from headrace.status import AttemptOutcome as AttemptOutcome
from headrace.taskqueue.task import utc


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a task that did not simply succeed at its first one."""

    number: int
    """From 1; from 1 again after a retry by hand, and lower again after a park: crashes before it
    do not count."""
    outcome: AttemptOutcome
    worker: str
    worker_version: str | None
    """None: its worker had gone, or is of 0.2.0."""
    started_at: datetime
    """Of a run that parked, its first start."""
    ended_at: datetime
    error: str | None = None
    """As `Task.error` was after it."""
    error_type: str | None = None
    """The error's class, such as `ValueError` or `httpx.ConnectTimeout`."""
    traceback: str | None = None
    """At most 8 KiB: the beginning and the end of a longer one. It holds no values of variables."""


class _Details(msgspec.Struct, frozen=True, array_like=True):
    """What only the worker can say."""

    error_type: str | None
    traceback: str | None


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Details).decode


def pack_details(error_type: str | None, traceback: str | None) -> bytes:
    """Both as bytes; empty when there is neither. Tracebacks shrink to a third."""
    if error_type is None and traceback is None:
        return b""
    name = None if error_type is None else _storable(error_type[:MAX_ERROR_TYPE_CHARACTERS])
    return zlib.compress(_pack(_Details(name, None if traceback is None else _cut(traceback))), 1)


def decode_attempts(entries: Sequence[bytes]) -> list[AttemptRecord]:
    """The entries of a list, as lib/attempts.lua writes them. What cannot be read is left out."""
    attempts = []
    for entry in entries:
        try:
            attempts.append(_attempt(entry))
        except (ValueError, zlib.error):
            continue
    return attempts


def _attempt(entry: bytes) -> AttemptRecord:
    number, worker, version, started, ended, outcome, size, rest = entry.split(b"\n", 7)
    message, packed = rest[: int(size)], rest[int(size) :]
    details = _unpack(zlib.decompress(packed)) if packed else _Details(None, None)
    return AttemptRecord(
        number=int(number),
        outcome=AttemptOutcome(outcome.decode()),
        worker=worker.decode(),
        worker_version=version.decode() or None,
        started_at=utc(int(started)),
        ended_at=utc(int(ended)),
        error=message.decode("utf-8", "replace") or None,
        error_type=details.error_type,
        traceback=details.traceback,
    )


def _cut(traceback: str) -> str:
    whole = traceback.encode("utf-8", "backslashreplace")
    if len(whole) <= MAX_TRACEBACK_BYTES:
        return whole.decode()
    mark = "\n  …\n"
    half = (MAX_TRACEBACK_BYTES - len(mark.encode())) // 2
    return (
        f"{whole[:half].decode('utf-8', 'ignore')}{mark}{whole[-half:].decode('utf-8', 'ignore')}"
    )


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()

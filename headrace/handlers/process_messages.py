"""The messages between a worker and a handler's child process, over their socket.

Each message is a frame: u32 length, then MessagePack. Both sides run the same release.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from headrace.handlers.children import ChildEnd
from headrace.handlers.context import FurtherTask

_LENGTH = struct.Struct(">I")


class RunAttempt(msgspec.Struct, frozen=True, tag=True):
    """To the child: run this attempt. There is one at a time."""

    module: str
    """Where the task type is found, by its name."""
    task_type: str
    task_id: str
    payload: bytes
    attempt: int
    state: bytes | None
    inbox: Sequence[bytes]
    journal: Sequence[bytes]
    generation: int
    headers: Mapping[str, str]
    can_park: bool
    deadline: float | None
    """Seconds since 1970. The parent keeps it; handlers may want to know."""
    max_result_bytes: int


class Stop(msgspec.Struct, frozen=True, tag=True):
    """To the child: the attempt is to stop; its process is killed if it does not."""


class Answer(msgspec.Struct, frozen=True, tag=True):
    """To the child: what came of what it asked for."""

    number: int
    error: str | None = None
    end: ChildEnd | None = None
    """The answer to a LookUpChild."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """To the parent: the child can run attempts, or why it cannot."""

    error: str | None = None


class Progress(msgspec.Struct, frozen=True, tag=True):
    """To the parent: how far the attempt is."""

    percent: float
    message: str | None


class Checkpoint(msgspec.Struct, frozen=True, tag=True):
    """To the parent: keep this state, and answer."""

    number: int
    state: bytes
    entries: tuple[bytes, ...]


class Append(msgspec.Struct, frozen=True, tag=True):
    """To the parent: append these to the journal, and answer."""

    number: int
    entries: tuple[bytes, ...]


class Submit(msgspec.Struct, frozen=True, tag=True):
    """To the parent: submit this task, and answer."""

    number: int
    task: FurtherTask


class LookUpChild(msgspec.Struct, frozen=True, tag=True):
    """To the parent: look how this child of the task has ended, and answer."""

    number: int
    task_id: str


class CancelChild(msgspec.Struct, frozen=True, tag=True):
    """To the parent: cancel this child of the task, and answer."""

    number: int
    task_id: str


class HandlerReturned(msgspec.Struct, frozen=True, tag=True):
    """To the parent: the handler returned, this as JSON."""

    result: bytes


class HandlerRaised(msgspec.Struct, frozen=True, tag=True):
    """To the parent: the handler raised an error, or its result cannot be stored."""

    error: str
    retryable: bool
    traceback: str | None
    error_type: str | None


class HandlerParked(msgspec.Struct, frozen=True, tag=True):
    """To the parent: the handler returned a Park."""

    unpark_at: datetime | None
    state: bytes | None
    wake_on: Literal["inbox"] | None
    entries: tuple[bytes, ...]


class Ceased(msgspec.Struct, frozen=True, tag=True):
    """To the parent: the attempt has stopped, as it was told to."""


ToChild = RunAttempt | Stop | Answer
ToParent = (
    Ready
    | Progress
    | Checkpoint
    | Append
    | Submit
    | LookUpChild
    | CancelChild
    | HandlerReturned
    | HandlerRaised
    | HandlerParked
    | Ceased
)

to_child = msgspec.msgpack.Decoder(ToChild)
to_parent = msgspec.msgpack.Decoder(ToParent)
_encoder = msgspec.msgpack.Encoder()


def framed(message: ToChild | ToParent) -> bytes:
    """A message as it goes over the socket."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Puts messages together from what the socket brings."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are complete with this piece."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield body

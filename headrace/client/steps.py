"""What a client does, as data: a program yields steps, and one of two runners performs them.

So each call is written once, for `Client` and for `AsyncClient`; and tests run it without a clock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class HttpRequest:
    """A request to the API. Its key is added where it is sent. The answer is a `HttpResponse`."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    held_seconds: float = 0.0
    """For so long the answer may be held back, beyond `Rules.request_seconds`."""
    timeout_seconds: float = 0.0
    """Set when it is sent."""


@dataclass(frozen=True)
class HttpResponse:
    """What the API answered. The names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Sleep:
    """Nothing, for a while."""

    seconds: float


@dataclass(frozen=True)
class QueueCall:
    """A method of `TaskQueue` or `BlockingTaskQueue`, with its arguments."""

    name: str
    args: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ends:
    """Wait in Redis until one of these tasks ends. The answer: how each did that has, by id."""

    task_ids: tuple[str, ...]
    seconds: float


Step: TypeAlias = HttpRequest | Sleep | QueueCall | Ends
Program: TypeAlias = Generator[Step, Any, T]
"""Is sent what each step brought, or its error; returns T."""


class Runner(Protocol):
    """Runs programs: `Client.run`."""

    def __call__(self, program: Program[T], /) -> T:
        """What the program returns."""
        ...


class AsyncRunner(Protocol):
    """Runs programs on an event loop: `AsyncClient.run`."""

    def __call__(self, program: Program[T], /) -> Awaitable[T]:
        """What the program returns."""
        ...


@dataclass(frozen=True)
class Rules:
    """What programs decide by; tests bring a clock and a seed of their own."""

    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random
    retry_seconds: float = RETRY_SECONDS
    """For so long a request is sent again before `Unavailable` is raised."""
    request_seconds: float = 10.0
    """A request without an answer for so long counts as lost."""


def run(program: Program[T], perform: Callable[[Any], Any]) -> T:
    """Run a program, step by step."""
    try:
        step = next(program)
        while True:
            try:
                found = perform(step)
            except Exception as error:
                step = program.throw(error)
            else:
                step = program.send(found)
    except StopIteration as done:
        result: T = done.value
        return result


async def run_async(program: Program[T], perform: Callable[[Any], Awaitable[Any]]) -> T:
    """The same on an event loop."""
    try:
        step = next(program)
        while True:
            try:
                found = await perform(step)
            except Exception as error:
                step = program.throw(error)
            else:
                step = program.send(found)
    except StopIteration as done:
        result: T = done.value
        return result

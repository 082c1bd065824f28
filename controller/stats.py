"""What the stats reply must hold, and the readers that ask for it each second.

Every number that a decision is made from must be there and make sense. A reply with one that is
missing, negative or no number is no reading: read as a zero it would take workers away.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from controller.model import Queue, Reading, Reason, Unread, Worker
from controller.resource import Autoscaler, InvalidSpec, described

if TYPE_CHECKING:
    from controller.api import Api

LARGEST_REPLY = 8 * 2**20
"""Bytes. A thousand workers of a hundred tasks each are less."""

POLL_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 4.0
"""After a failure: doubled with each, and drawn from its upper half."""

log = structlog.get_logger("controller.stats")

# The bounds keep out what is no number, too: NaN and infinity.
Count = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=0, le=2.0**53)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Queue(_Part):
    queue_length: Count
    queue_length_retries: Count
    running: Count
    due_soon: Count
    arrivals_per_minute: Amount
    completions_per_minute: Amount
    retries_per_minute: Amount
    crashes_per_minute: Amount
    service_seconds_mean: Amount | None
    arrivals_total: Count
    completions_total: Count
    failures_total: Count
    retries_total: Count
    crashes_total: Count
    service_seconds_total: Amount


class _Worker(_Part):
    id: Annotated[str, Field(min_length=1)]
    pod: str | None
    concurrency: Annotated[Count, Field(ge=1)]
    busy_slots: Count
    draining: bool
    drained: bool
    expected_free_seconds: Amount | None


class _Reply(_Part):
    enabled: Literal[True]
    available: Literal[True]
    at: AwareDatetime
    epoch: Annotated[str, Field(min_length=1)]
    queues: dict[str, _Queue]
    workers: list[_Worker]


class _Head(_Part):
    """What a reply without a reading says."""

    enabled: bool
    available: bool = True


def parse(status: int, body: bytes) -> Reading | Unread:
    """What an answer of the stats address says.

    Args:
        status: the HTTP status.
        body: the answer, or its first `LARGEST_REPLY` + 1 bytes.
    """
    if status != 200:
        return Unread(Reason.STATS_UNAVAILABLE, _refusal(status, body))
    if len(body) > LARGEST_REPLY:
        return _invalid(f"it is longer than {LARGEST_REPLY >> 20} MiB")
    try:
        reply = _Reply.model_validate_json(body)
    except ValidationError as error:
        return _without_reading(body) or _invalid(described(error))
    return Reading(
        at=reply.at.timestamp(),
        epoch=reply.epoch,
        queues={name: Queue(**queue.model_dump()) for name, queue in reply.queues.items()},
        workers=tuple(Worker(**worker.model_dump()) for worker in reply.workers),
    )


def _invalid(what: str) -> Unread:
    return Unread(
        Reason.STATS_INVALID,
        f"the stats reply cannot be used: {what}. See that spec.api.url is the address of a"
        " Headrace API of this version",
    )


def _without_reading(body: bytes) -> Unread | None:
    try:
        head = _Head.model_validate_json(body)
    except ValidationError:
        return None
    if not head.enabled:
        return Unread(
            Reason.STATS_DISABLED,
            "the API runs without a queue: switch it on there (QUEUE_ENABLED)",
        )
    return None if head.available else Unread(Reason.STATS_UNAVAILABLE, _NO_REDIS)


_NO_REDIS = "the API cannot reach Redis: see the API's log"


def _refusal(status: int, body: bytes) -> str:
    match status:
        case 401 | 403:
            return (
                f"the API refuses the key (HTTP {status}): put an API key of the role operator"
                " under `key` into the Secret that spec.api.secretName names"
            )
        case 404:
            return (
                "there are no stats at spec.api.url (HTTP 404): it must be the API's base URL, as"
                " in http://headrace-api:8000"
            )
        case 503 if _without_reading(body):
            return f"{_NO_REDIS} (HTTP 503)"
        case _ if 300 <= status < 400:
            return (
                f"spec.api.url leads elsewhere (HTTP {status}), and redirects are not followed: set"
                " it to the final address"
            )
    return f"the stats were answered with HTTP {status}: see the API's log"


def pause_seconds(failures: int, draw: Callable[[], float]) -> float:
    """How long to wait after so many failures in a row; `draw` gives a number from 0 to 1."""
    most = min(SHORTEST_PAUSE_SECONDS * 2.0 ** min(failures, 8), LONGEST_PAUSE_SECONDS)
    return most * (1 + draw()) / 2


class Reader:
    """Asks one API for the stats, each second, until it is closed."""

    def __init__(
        self,
        api: Api,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[], object] = lambda: None,
    ) -> None:
        """`tell` is called when a poll has ended."""
        self.api = api
        self.latest: Reading | Unread | None = None
        """What the last poll brought; None: none has ended yet."""
        self.asked_at = 0.0
        """When that poll began, by the monotonic clock: its reading is not older."""
        self._draw = draw
        self._clock = clock
        self._tell = tell
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        failures = 0
        while True:
            asked_at = self._clock()
            found = await self._read()
            self.latest, self.asked_at = found, asked_at
            self._tell()
            if isinstance(found, Unread):
                failures += 1
                await asyncio.sleep(pause_seconds(failures, self._draw))
            else:
                failures = 0
                await asyncio.sleep(max(asked_at + POLL_SECONDS - self._clock(), 0.0))

    async def _read(self) -> Reading | Unread:
        try:
            return await self.api.stats()
        except Exception as error:
            # Nothing may end the polling: the last reading would stand for ever.
            log.exception("stats.failed", url=self.api.url)
            return Unread(Reason.STATS_UNAVAILABLE, f"the stats could not be read: {error!r}")

    async def close(self) -> None:
        """Stop asking."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.api.close()


Address = tuple[str, str, str | None]
"""URL, namespace and name of the Secret: resources with the same share a reader."""


class Readers:
    """A reader for each address that a resource names."""

    def __init__(self, connect: Callable[[Address], Api]) -> None:
        self._connect = connect
        self._readers: dict[Address, Reader] = {}
        self._news = asyncio.Event()

    def of(self, autoscaler: Autoscaler) -> Reader:
        """The resource's reader, begun when it is asked for first."""
        address = _address(autoscaler)
        if address not in self._readers:
            self._readers[address] = Reader(self._connect(address), tell=self._news.set)
        return self._readers[address]

    def asked_at(self, autoscaler: Autoscaler | InvalidSpec) -> float | None:
        """When the resource's last poll began; None: there is no reader of it."""
        if isinstance(autoscaler, InvalidSpec):
            return None
        reader = self._readers.get(_address(autoscaler))
        return reader.asked_at if reader else None

    async def news(self, seconds: float) -> None:
        """Wait until a poll of any reader has ended since the last call, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    async def keep(self, autoscalers: Iterable[Autoscaler]) -> None:
        """Close the readers of all but these."""
        used = {_address(autoscaler) for autoscaler in autoscalers}
        unused = self._readers.keys() - used
        await asyncio.gather(*(self._readers.pop(address).close() for address in unused))


def _address(autoscaler: Autoscaler) -> Address:
    return autoscaler.url, autoscaler.identity.namespace, autoscaler.secret

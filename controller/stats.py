"""Checks a stats reply and reads it.

Every number that a decision is made from must be there and make sense. A reply with one that is
missing, negative or no number is no reading: read as a zero it would take workers away.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from controller.model import Queue, Reading, Reason, Unread, Worker
from controller.resource import described

LARGEST_REPLY = 8 * 2**20
"""Bytes. A thousand workers of a hundred tasks each are less."""

# The bounds keep out what is not a number, too: NaN and infinity.
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

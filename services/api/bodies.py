"""Reads the bodies of the routes that take tasks in, and says clearly what is wrong with one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from pydantic_core import from_json

from headrace.taskqueue import MAX_BATCH
from services.api.problems import INVALID_REQUEST, MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE, Problem
from services.api.task_types import json_pointer

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_KEY_LENGTH = 255
MAX_AHEAD = timedelta(days=100 * 365)
"""A start time lies at most so far ahead."""

MaxRetries = Annotated[
    int, Meta(ge=0, le=100, description="Retries after a failure; without it, the type's own.")
]
StartAt = Annotated[
    datetime,
    Meta(
        description="Not before this time. ISO 8601; without an offset it is read as UTC.",
        extra_json_schema={"format": "date-time"},
    ),
]


class ExecuteBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a workflow is executed with."""

    variables: Annotated[dict[str, Any], Meta(description="The workflow's input.")] = {}
    max_retries: MaxRetries | None = None
    start_at: StartAt | None = None


class SubmitBody(msgspec.Struct, forbid_unknown_fields=True):
    """A task to be submitted."""

    payload: Annotated[Any, Meta(description="As the task type's schema wants it.")] = None
    max_retries: MaxRetries | None = None
    start_at: StartAt | None = None


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """Tasks to be submitted together."""

    tasks: Annotated[list[SubmitBody], Meta(min_length=1, max_length=MAX_BATCH)]


Body = TypeVar("Body", ExecuteBody, SubmitBody, BatchBody)

_execute = msgspec.json.Decoder(ExecuteBody)
_submit = msgspec.json.Decoder(SubmitBody)
_batch = msgspec.json.Decoder(BatchBody)

_SURELY_SHALLOW = 150

_PLACE = re.compile(r"(?P<message>.*?)(?: - at `(?:key in )?\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


async def execute_body(request: Request) -> ExecuteBody:
    """The body of an execute call. No body is the same as `{}`."""
    return _decoded(_execute, await _read(request) or b"{}")


async def submit_body(request: Request) -> SubmitBody:
    """The body of a submit."""
    return _decoded(_submit, await _read(request))


async def batch_body(request: Request) -> BatchBody:
    """The body of a batch."""
    return _decoded(_batch, await _read(request))


def start_time(start_at: datetime | None, pointer: str = "/start_at") -> datetime | None:
    """A start time with its offset. Raises the 422 problem for one too far ahead to be meant."""
    if start_at is None:
        return None
    if start_at.tzinfo is None:
        start_at = start_at.replace(tzinfo=UTC)
    if start_at - datetime.now(UTC) > MAX_AHEAD:
        raise _invalid_field(pointer, f"it must lie at most {MAX_AHEAD.days // 365} years ahead")
    return start_at


def check_depth(payload: bytes, pointer: str) -> None:
    """Raise the 422 problem for a payload that the handlers' JSON parser would not read.

    It takes some 200 levels. What has fewer brackets need not be looked at.
    """
    if payload.count(b"[") + payload.count(b"{") < _SURELY_SHALLOW:
        return
    try:
        from_json(payload)
    except ValueError:
        raise _invalid_field(pointer, "it is nested too deeply") from None


def idempotency_key(request: Request) -> str | None:
    """The header `Idempotency-Key`; raises the 422 problem for one that cannot be used."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise invalid_parameter(
            "Idempotency-Key", f"it must have 1 to {MAX_KEY_LENGTH} characters, it has {len(key)}"
        )
    return key


def invalid_parameter(parameter: str, detail: str) -> Problem:
    """The 422 problem for a query parameter or a header."""
    return Problem(
        INVALID_REQUEST,
        f"{parameter}: {detail}",
        errors=[{"detail": detail, "parameter": parameter}],
    )


async def _read(request: Request) -> bytes:
    """The body. One that says it is not JSON is refused.

    A web page of another origin can send forms and plain text without asking, but not JSON: an
    API on a developer's machine, open to all who reach it, must not obey any page they visit.
    """
    body = await request.body()
    if body:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise Problem(
                UNSUPPORTED_MEDIA_TYPE,
                f"the body's type is {media_type or 'not stated'}: send JSON, with the header "
                "`Content-Type: application/json`",
            )
    return body


def _decoded(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_body(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem(MALFORMED_JSON, f"the body is not valid JSON: {reason}") from None


def _invalid_field(pointer: str, detail: str) -> Problem:
    """The 422 problem for a field of the body."""
    return Problem(
        INVALID_REQUEST,
        f"{pointer[1:].replace('/', '.')}: {detail}",
        errors=[{"detail": detail, "pointer": pointer}],
    )


def invalid_body(message: str) -> Problem:
    """The 422 problem for what msgspec says: "Expected `int` <= 100 - at `$.max_retries`"."""
    match = _PLACE.fullmatch(message)
    text = match["message"] if match else message
    path = (match["path"] if match else None) or ""
    # Below an object of any kind msgspec does not say where: `[...]`.
    path = path.partition("[...]")[0]
    steps = [name or index for name, index in _STEP.findall(path)]
    place = ".".join(steps)
    return Problem(
        INVALID_REQUEST,
        f"{place}: {text}" if place else text,
        errors=[{"detail": text, "pointer": json_pointer(steps)}],
    )

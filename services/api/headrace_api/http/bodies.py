"""Reads the bodies of submits, and says clearly what is wrong with one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta
from pydantic_core import from_json

from headrace.contract.problems import INVALID_REQUEST, UNSUPPORTED_MEDIA_TYPE
from headrace.limits import (
    HEADER_NAME,
    MAX_OPTIONS_BYTES,
    OWN_HEADER_PREFIX,
    RANDOM_TASK_ID,
    TAG,
)
from headrace.taskqueue import (
    MAX_BATCH,
    MAX_RETRIES_LIMIT,
    BulkAction,
    TaskFilter,
    idempotent_id,
    new_id,
)
from headrace_api.http.mistakes import Form, explain, sentence
from headrace_api.http.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_KEY_LENGTH = 255
MAX_AHEAD = timedelta(days=36_525)
"""A start time lies at most so far ahead: 100 years, with their leap days."""

MaxRetries = Annotated[
    int,
    Meta(
        ge=0,
        le=MAX_RETRIES_LIMIT,
        description="Retries after a failure. Default: those of the task type.",
    ),
]
StartAt = Annotated[
    datetime,
    Meta(
        description="Not before this time, which lies at most 100 years ahead. ISO 8601; without "
        "an offset it is read as UTC.",
        extra_json_schema={"format": "date-time"},
    ),
]
StartIn = Annotated[
    float,
    Meta(
        ge=0,
        le=MAX_AHEAD.total_seconds(),
        description="Not before this many seconds from now. Use it instead of `start_at`.",
    ),
]
Headers = Annotated[
    dict[str, str],
    Meta(
        description="Short texts for the handler. With the tags, they have at most "
        f"{MAX_OPTIONS_BYTES} bytes. The API adds `headrace-key`, the name of the request's key, "
        "and the request's own `traceparent`.",
        extra_json_schema={
            "propertyNames": {"pattern": f"^(?!{OWN_HEADER_PREFIX}){HEADER_NAME}$"},
            "examples": [{"tenant": "acme"}],
        },
    ),
]
Tags = Annotated[
    tuple[Annotated[str, Meta(extra_json_schema={"pattern": f"^{TAG}$"})], ...],
    Meta(
        description="What the task can be found by.",
        extra_json_schema={"examples": [["nightly", "customer:7"]]},
    ),
]
TaskId = Annotated[
    str,
    Meta(
        pattern=f"^{RANDOM_TASK_ID}$",
        description="The task's id, drawn at random by the caller: a UUID of version 4. Sent again "
        "with the same one, the request makes no second task. Only for tasks that go through the "
        "queue. Default: the API draws one.",
    ),
]
Count = Meta(min_length=1, max_length=MAX_BATCH)


class ExecuteBody(msgspec.Struct, forbid_unknown_fields=True):
    """The input of a workflow, and when to execute it."""

    variables: Annotated[dict[str, Any], Meta(description="The workflow's input.")] = {}
    max_retries: MaxRetries | None = None
    start_at: StartAt | None = None
    start_in: StartIn | None = None
    headers: Headers = {}
    tags: Tags = ()
    task_id: TaskId | None = None


class SubmitBody(msgspec.Struct, forbid_unknown_fields=True):
    """A task to be submitted."""

    payload: Annotated[
        Any, Meta(description="A JSON document that fits the task type's schema.")
    ] = None
    max_retries: MaxRetries | None = None
    start_at: StartAt | None = None
    start_in: StartIn | None = None
    headers: Headers = {}
    tags: Tags = ()
    task_id: TaskId | None = None


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """Tasks to be submitted together."""

    tasks: Annotated[list[SubmitBody], Count]


class WaitBody(msgspec.Struct, forbid_unknown_fields=True, rename={"until": "for"}):
    """Which tasks are waited for."""

    ids: Annotated[list[str], Meta(min_length=1, max_length=MAX_BATCH, description="Their ids.")]
    until: Annotated[
        Literal["all", "any"],
        Meta(description="`all`: until each of them has ended; `any`: until one has."),
    ] = "all"


class EditBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be changed of a task. What is absent stays as it is."""

    max_retries: MaxRetries | None = None
    start_at: StartAt | None = None
    start_in: StartIn | None = None
    tags: Tags | None = None


class BulkFilter(TaskFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tasks are meant: those that fit all that is given."""


class BulkBody(msgspec.Struct, forbid_unknown_fields=True):
    """One action for many tasks."""

    action: BulkAction
    filter: Annotated[BulkFilter, Meta(description="As in the list's query. `{}`: all.")]
    name: Annotated[str, Meta(max_length=200, description="What you call it.")] = ""


class _BatchOutside(msgspec.Struct):
    """A batch whose tasks have not been looked at."""

    tasks: Annotated[list[Any], Count]


Body = TypeVar("Body", ExecuteBody, SubmitBody, BatchBody, WaitBody, BulkBody, EditBody)

_execute = msgspec.json.Decoder(ExecuteBody)
_submit = msgspec.json.Decoder(SubmitBody)
_batch = msgspec.json.Decoder(BatchBody)
_wait = msgspec.json.Decoder(WaitBody)
_bulk = msgspec.json.Decoder(BulkBody)
_edit = msgspec.json.Decoder(EditBody)

_RULES = {
    "variables": 'it must be an object, as in {"name": "Ada"}',
    "max_retries": f"it must be a whole number from 0 to {MAX_RETRIES_LIMIT}",
    "start_at": "it must be a time in ISO 8601, as in 2026-01-01T10:00:00Z",
    "start_in": f"it must be a number of seconds from 0 to {MAX_AHEAD.total_seconds():.0f}",
    "headers": 'it must be an object of texts, as in {"tenant": "acme"}',
    "task_id": "it must be a UUID of version 4 in small letters, drawn at random for this task",
    "tags": 'it must be a list of texts, as in ["nightly", "customer:7"]',
    "tasks": f"it must be a list of 1 to {MAX_BATCH} tasks",
    "ids": f"it must be a list of 1 to {MAX_BATCH} ids of tasks",
    "for": "it must be all or any",
    "action": f"it must be one of {', '.join(BulkAction)}",
    "filter": "it must be an object of texts, which may have these fields: "
    + ", ".join(BulkFilter.__struct_fields__),
    "name": "it must be a text of at most 200 characters",
}
_EXECUTE = Form(ExecuteBody, _RULES, wraps="variables")
_SUBMIT = Form(SubmitBody, _RULES, wraps="payload")
_WAIT = Form(WaitBody, _RULES, wraps="ids")
_EDIT = Form(EditBody, _RULES, wraps="tags")
_BULK = Form(BulkBody, _RULES, wraps="filter")
_BATCH = Form(_BatchOutside, _RULES, wraps="tasks", items=_SUBMIT)

_SURELY_SHALLOW = 150


async def execute_body(request: Request) -> ExecuteBody:
    """The body of an execute call. No body is the same as `{}`."""
    return _decoded(_execute, _EXECUTE, await _read(request) or b"{}")


async def submit_body(request: Request) -> SubmitBody:
    """The body of a submit."""
    return _decoded(_submit, _SUBMIT, await _read(request))


async def batch_body(request: Request) -> BatchBody:
    """The body of a batch."""
    return _decoded(_batch, _BATCH, await _read(request))


async def wait_body(request: Request) -> WaitBody:
    """The body of a wait for many tasks."""
    return _decoded(_wait, _WAIT, await _read(request))


async def edit_body(request: Request) -> EditBody:
    """The body of a change of a task."""
    return _decoded(_edit, _EDIT, await _read(request))


async def bulk_body(request: Request) -> BulkBody:
    """The body of a bulk operation. A time without an offset is read as UTC."""
    body = _decoded(_bulk, _BULK, await _read(request))
    naive = {
        name: value.replace(tzinfo=UTC)
        for name, value in msgspec.structs.asdict(body.filter).items()
        if isinstance(value, datetime) and value.tzinfo is None
    }
    body.filter = msgspec.structs.replace(body.filter, **naive)
    return body


def id_of(
    body: ExecuteBody | SubmitBody, task_type: str, key: str | None, place: str = ""
) -> tuple[str, bool]:
    """The task's id, and whether the caller chose it: by an idempotency key, or by itself.

    Raises the 422 problem for both at once.
    """
    if key is None:
        return (new_id(), False) if body.task_id is None else (body.task_id, True)
    if body.task_id is not None:
        raise invalid_field(
            f"{place}/task_id", "the header Idempotency-Key is there too: send one of them"
        )
    return idempotent_id(task_type, key), True


def start_of(body: ExecuteBody | SubmitBody | EditBody, place: str = "") -> datetime | None:
    """When a task may begin; None: at once. `place` is the JSON pointer of the body.

    Raises the 422 problem for a time too far ahead to be meant, and for two times.
    """
    start_at = body.start_at
    if body.start_in is not None:
        if start_at is not None:
            raise invalid_field(f"{place}/start_in", "start_at is there too: send one of them")
        return datetime.now(UTC) + timedelta(seconds=body.start_in)
    if start_at is None:
        return None
    if start_at.tzinfo is None:
        start_at = start_at.replace(tzinfo=UTC)
    if start_at - datetime.now(UTC) > MAX_AHEAD:
        raise invalid_field(
            f"{place}/start_at", f"it must lie at most {MAX_AHEAD.days // 365} years ahead"
        )
    return start_at


def start_in_ms(body: ExecuteBody | SubmitBody) -> int | None:
    """The delay that was asked for instead of a time."""
    return None if body.start_in is None else int(body.start_in * 1000)


def check_depth(payload: bytes, pointer: str) -> None:
    """Raise the 422 problem for a payload that the handlers' JSON parser would not read.

    It takes some 200 levels. What has fewer brackets need not be looked at.
    """
    if payload.count(b"[") + payload.count(b"{") < _SURELY_SHALLOW:
        return
    try:
        from_json(payload)
    except ValueError:
        raise invalid_field(pointer, "it is nested too deeply") from None


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


def _decoded(decoder: msgspec.json.Decoder[Body], form: Form, body: bytes) -> Body:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise explain(form, body) from None


def invalid_field(pointer: str, detail: str) -> Problem:
    """The 422 problem for a field of the body."""
    return Problem(
        INVALID_REQUEST,
        sentence(pointer, detail),
        errors=[{"detail": detail, "pointer": pointer}],
    )

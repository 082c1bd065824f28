"""From what a program asks to be submitted to what is sent: the payload, and when it may run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pydantic import ValidationError

from headrace.client.asks import check_names
from headrace.client.errors import InvalidPayload, ResultInvalid, problem_reply
from headrace.contract.problems import INVALID_PAYLOAD
from headrace.contract.tasks import TaskReply
from headrace.limits import DEFAULT_MAX_RETRIES

if TYPE_CHECKING:
    from headrace.handlers import TaskType

MAX_KEY_LENGTH = 255

Read = Callable[[TaskReply], Any]
"""What makes a result of the record of a task that is completed. Raises ResultInvalid."""


class SubmitOptions(TypedDict, total=False):
    """What a submit may ask for besides.

    key: an idempotency key. The same key again, with the same payload, is the same task; with
        another payload it is an error. Without a key the client draws the task's id itself.
    start_at: not before this time, which has a time zone.
    start_in: not before so many seconds from now.
    max_retries: retries after a failure. Default: those of the task type.
    tags: what the task can be found by.
    headers: short texts for the handler.
    fallback: "inline": while Redis is away, the task may run inside the request. Such a request is
        never sent again, for it could run twice.
    """

    key: str | None
    start_at: datetime | None
    start_in: float | timedelta | None
    max_retries: int | None
    tags: Sequence[str]
    headers: Mapping[str, str]
    fallback: Literal["inline"] | None


@dataclass(frozen=True)
class Options:
    """The same, checked."""

    key: str | None = None
    start_at: datetime | None = None
    start_in: float | None = None
    max_retries: int | None = None
    tags: tuple[str, ...] = ()
    headers: Mapping[str, str] | None = None
    inline: bool = False
    default_retries: int = DEFAULT_MAX_RETRIES
    """What a client of Redis takes for max_retries: there is no API that knows better."""

    def fields(self) -> dict[str, Any]:
        """As the body of a request has them."""
        found = {
            "start_at": self.start_at,
            "start_in": self.start_in,
            "max_retries": self.max_retries,
            "tags": self.tags,
            "headers": self.headers,
        }
        return {name: value for name, value in found.items() if value or value == 0}


def options_of(given: SubmitOptions, kind: Kind | None = None) -> Options:
    """Check the options of a submit. Raises ValueError, TypeError."""
    check_names(given, SubmitOptions, "a submit")
    start_in = given.get("start_in")
    if isinstance(start_in, timedelta):
        start_in = start_in.total_seconds()
    start_at, key = given.get("start_at"), given.get("key")
    if start_at is not None:
        if start_at.tzinfo is None:
            raise ValueError(
                f"start_at={start_at.isoformat()} has no time zone: write "
                "datetime.now(UTC) + …, or take start_in, in seconds"
            )
        if start_in is not None:
            raise ValueError("start_at and start_in are both there: give one of them")
        start_at = start_at.astimezone(UTC)
    if key is not None and not (
        0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()
    ):
        raise ValueError(f"key={key!r}: it must have 1 to {MAX_KEY_LENGTH} letters of ASCII")
    fallback = given.get("fallback")
    if fallback not in (None, "inline"):
        raise ValueError(f'fallback={fallback!r}: it may be "inline", or be left out')
    inline = fallback is not None
    if inline and key is not None:
        raise ValueError(
            'a task with a key never runs inside the request: leave out key or fallback="inline"'
        )
    tags = given.get("tags") or ()
    if isinstance(tags, str):
        raise ValueError(f'tags={tags!r} is a text: give a list, as in ["{tags}"]')
    return Options(
        key=key,
        start_at=start_at,
        start_in=start_in,
        max_retries=given.get("max_retries"),
        tags=tuple(tags),
        headers=given.get("headers"),
        inline=inline,
        default_retries=DEFAULT_MAX_RETRIES if kind is None else kind.max_retries,
    )


@dataclass(frozen=True)
class Kind:
    """A task type as a submit names it."""

    name: str
    read: Read
    max_retries: int = DEFAULT_MAX_RETRIES
    handler: TaskType[Any, Any] | None = None

    def encode(self, payload: Any) -> bytes:
        """The payload as JSON. Raises InvalidPayload if the handler would refuse it."""
        # Here, for the handlers' package takes long to import, and only a submit needs it.
        from headrace.handlers import PayloadInvalid
        from headrace.handlers.results import encode_result

        if self.handler is None:
            return encode_result(payload)
        try:
            return self.handler.encode_payload(payload)
        except PayloadInvalid as error:
            raise InvalidPayload(problem_reply(INVALID_PAYLOAD, str(error))) from None


def kind_of(task_type: TaskType[Any, Any] | str) -> Kind:
    """What a submit needs to know of a task type, or of its name."""
    if isinstance(task_type, str):
        return Kind(task_type, as_it_is)
    from headrace.handlers import TaskType

    if not isinstance(task_type, TaskType):
        raise TypeError(
            f"{task_type!r} is no task type: give a function decorated with @handler, or a name"
        )
    return Kind(task_type.name, _reader(task_type), task_type.max_retries, task_type)


def as_it_is(task: TaskReply) -> Any:
    """The result as JSON has it."""
    return task.result


def _reader(task_type: TaskType[Any, Any]) -> Read:
    from headrace.handlers.results import encode_result

    def read(task: TaskReply) -> Any:
        try:
            return task_type.decode_result(encode_result(task.result))
        except ValidationError as error:
            raise ResultInvalid(task, error) from None

    return read

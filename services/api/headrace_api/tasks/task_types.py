"""The task types that can be submitted, and the check of their payloads: as published, else ours.

Workers publish each type with its payload's JSON Schema when they register, so a user's package
need not be installed beside the API. Types stay known while no worker is alive.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import msgspec

from headrace.client.opening import type_info
from headrace.contract.problems import INVALID_PAYLOAD, QUEUE_UNAVAILABLE, TASK_TYPE_UNKNOWN
from headrace.handlers import PayloadInvalid
from headrace.hints import did_you_mean
from headrace.logs import get_logger
from headrace.taskqueue import QueueError, QueueUnavailable
from headrace_api.http.problems import RETRY_AFTER_SECONDS, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.handlers import Registry, TaskType
    from headrace.taskqueue import TaskQueue, TypeInfo
    from headrace_api.tasks.availability import Availability

log = get_logger(__name__)

REFRESH_SECONDS = 5.0
"""How soon a new version of a known type is noticed. An unknown type is asked for at once."""
MAX_ERRORS = 20
"""A reply names so many mistakes of a payload, and no more."""
MAX_LISTED_BYTES = 8_192
"""Of a larger payload the first mistake alone is named: all are looked for, some 30 µs each."""
MAX_MESSAGE = 300
"""Characters. A message quotes the value that it is about."""


@dataclass(frozen=True)
class TaskTypeEntry:
    """A task type as a submit needs it."""

    info: TypeInfo
    """As a worker published it; of a type that none has, as this process would."""
    handler: TaskType[Any, Any] | None
    """The handler in this process, if it has one: it can run a task inside a request."""
    validator: jsonschema_rs.Draft202012Validator | None
    """Of the schema that a worker published."""

    @property
    def name(self) -> str:
        """The type's name, which is its queue's too."""
        return self.info.name

    @property
    def max_retries(self) -> int:
        """How often a task is retried unless its submit says otherwise."""
        return self.info.max_retries

    def check(self, payload: bytes, pointer: str) -> None:
        """Raise the 422 problem unless the payload, a JSON document, fits.

        The published schema is asked first, for that worker is going to run it.
        """
        errors = [
            (_shortened(message), pointer + json_pointer(path))
            for path, message in self._errors(payload)[:MAX_ERRORS]
        ]
        if errors:
            raise Problem(
                INVALID_PAYLOAD,
                f"the payload does not fit the task type {self.name!r}: "
                + "; ".join(message for message, _ in errors),
                errors=[{"detail": message, "pointer": place} for message, place in errors],
            )

    def _errors(self, payload: bytes) -> list[tuple[Sequence[Any], str]]:
        if self.validator is not None:
            value = msgspec.json.decode(payload)
            found = _errors_of(self.validator, value, every=len(payload) <= MAX_LISTED_BYTES)
            return [(error.instance_path, error.message) for error in found]
        return _handler_errors(self.handler, payload) if self.handler is not None else []


def _errors_of(
    validator: jsonschema_rs.Draft202012Validator, value: Any, *, every: bool
) -> Iterable[jsonschema_rs.ValidationError]:
    """Every error, or the first one."""
    if every:
        return validator.iter_errors(value)
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return [error]
    return []


def _shortened(message: str) -> str:
    """A message without the rest of the value that it quotes."""
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…"


def json_pointer(path: Sequence[Any]) -> str:
    """RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _handler_errors(handler: TaskType[Any, Any], payload: bytes) -> list[tuple[Sequence[Any], str]]:
    try:
        handler.validate(payload)
    except PayloadInvalid as error:
        return [(found["loc"], found["msg"]) for found in error.errors]
    except Exception as error:
        # Code of the payload's own model failed. It will again when the task runs, and there the
        # error stands in the task's record.
        log.warning("task_types.check_failed", type=handler.name, error=repr(error))
    return []


class TaskTypes:
    """All types known to this process, each with its validator made once."""

    def __init__(
        self, registry: Registry, queue: TaskQueue | None, availability: Availability
    ) -> None:
        self._registry = registry
        self._queue = queue
        self._availability = availability
        self._infos: dict[str, TypeInfo] = {}
        self._entries = {handler.name: _unpublished(handler) for handler in registry.types()}
        self._refreshing = asyncio.Lock()

    def names(self) -> tuple[str, ...]:
        """The names of all known types, sorted."""
        return tuple(sorted(self._entries))

    async def all(self) -> list[TaskTypeEntry]:
        """All types, sorted by name; while Redis is away, those that are known already."""
        queue = self._queue
        if queue is not None:
            try:
                await self._availability.call(lambda: self.refresh(queue))
            except QueueUnavailable as error:
                log.debug("task_types.not_read", error=str(error))
        return [self._entries[name] for name in self.names()]

    async def get(self, name: str, by: float) -> TaskTypeEntry:
        """A type by its name. Raises the 501 problem for an unknown one, and as `find` does."""
        entry = await self.find(name, by)
        if entry is None:
            raise Problem(
                TASK_TYPE_UNKNOWN,
                f"no worker has ever published a task type {name!r} and this API has no handler "
                f"for it: start a worker that has it. Known are: {', '.join(self.names())}"
                + did_you_mean(name, self._entries),
                task_type=name,
            )
        return entry

    async def find(self, name: str, by: float) -> TaskTypeEntry | None:
        """A type by its name, or None. Asks Redis once for an unknown one.

        Raises the 503 problem when Redis cannot tell in time: see `Availability.call`.
        """
        entry = self._entries.get(name)
        if entry is None and self._queue is not None:
            await self._refresh_for(name, self._queue, by)
            entry = self._entries.get(name)
        return entry

    async def refresh(self, queue: TaskQueue) -> None:
        """Read what workers publish. Raises QueueError."""
        for name, info in (await queue.types()).items():
            if self._infos.get(name) == info:
                continue
            self._infos[name] = info
            self._entries[name] = _published(info, self._registry.get(name))

    async def run(self) -> None:
        """Refresh for ever."""
        queue = self._queue
        while queue is not None:
            try:
                await self._availability.call(lambda: self.refresh(queue))
            except QueueUnavailable as error:
                log.debug("task_types.not_read", error=str(error))
            except QueueError as error:
                log.warning("task_types.unreadable", error=str(error))
            except Exception:
                # It is read again: one defect must not leave what is known old for ever.
                log.exception("task_types.unreadable")
            await asyncio.sleep(REFRESH_SECONDS)

    async def _refresh_for(self, name: str, queue: TaskQueue, by: float) -> None:
        """Many requests for one unknown type ask Redis once at a time."""

        async def refresh() -> None:
            async with self._refreshing:
                if name not in self._entries:
                    await self.refresh(queue)

        try:
            await self._availability.call(refresh, by)
        except QueueUnavailable:
            raise Problem(
                QUEUE_UNAVAILABLE,
                f"this API has no handler for the task type {name!r}, and Redis, which knows the "
                "workers' types, cannot be reached now: try again",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from None


def _unpublished(handler: TaskType[Any, Any]) -> TaskTypeEntry:
    return TaskTypeEntry(type_info(handler), handler, None)


def _published(info: TypeInfo, handler: TaskType[Any, Any] | None) -> TaskTypeEntry:
    """A schema that cannot be used is logged and checks nothing: the worker checks again.

    Formats are not asserted: pydantic takes more date-times than RFC 3339 does, and the API must
    not refuse what the handler would accept.
    """
    try:
        validator = jsonschema_rs.Draft202012Validator(info.payload_schema, retriever=_no_retrieval)
    except (ValueError, jsonschema_rs.ReferencingError) as error:  # ValidationError is the former
        log.warning("task_types.schema_unusable", type=info.name, error=str(error))
        validator = None
    return TaskTypeEntry(info, handler, validator)


def _no_retrieval(uri: str) -> Any:
    """A published schema must not make the API call other hosts."""
    raise ValueError(f"the schema refers to {uri}, which is not looked up")

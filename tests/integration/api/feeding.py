"""What generated requests are filled with: ids of tasks in every state, real names, real payloads.

A generator that knows only the schema sends ids that nothing stands for, and meets 404s. So path
parameters are drawn as marks such as `<failed>`, and a mark becomes a task in that state just
before the request leaves: a cancel or a retry uses a state up.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

from headrace.taskqueue import (
    Completed,
    Failed,
    NewTask,
    TaskQueue,
    TypeInfo,
    WorkerInfo,
    new_id,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from schemathesis import Case
    from schemathesis.schemas import APIOperation

    from headrace.taskqueue import ClaimedTask, Consumer

LEASE_SECONDS = 3600.0
"""Nothing that is claimed here is renewed."""

ROLES = ("admin", "read", "submit", "manager", "events", "operator", None)
"""None: without a key."""
KEYS = {role: f"key-of-{role}" for role in ROLES if role is not None}
API_KEYS = ",".join(
    f"{role}:{hashlib.sha256(key.encode()).hexdigest()}" for role, key in KEYS.items()
)

STATES = ("pending", "queued", "running", "completed", "failed", "cancelled")
WORKFLOWS = ("my-workflow", "my_workflow", "failing")
FITTING = "resize_image"
ANYTHING = "anything"
STATES_TYPE = "states"
"""Only what stands here for a state is of this type, so that a claim brings the task asked for."""

_TYPES = {
    FITTING: {
        "type": "object",
        "properties": {"url": {"type": "string"}, "width": {"type": "integer", "minimum": 1}},
        "required": ["url"],
    },
    ANYTHING: True,
    STATES_TYPE: {"type": "integer"},
}
_UNKNOWN_TASK = "550e8400-e29b-41d4-a716-446655440000"


def type_infos() -> list[TypeInfo]:
    """The task types that the worker of the test publishes."""
    return [
        TypeInfo(
            name=name,
            payload_schema=schema if isinstance(schema, dict) else {},
            max_retries=3,
            timeout_seconds=60.0,
            version="1.0",
        )
        for name, schema in _TYPES.items()
    ]


class Supply:
    """Brings tasks into each state, by the queue itself. A context manager."""

    def __init__(self, redis_url: str) -> None:
        self._runner = asyncio.Runner()
        self._queue = TaskQueue(redis_url, lease_seconds=LEASE_SECONDS)
        self._worker: Consumer = self._queue.consumer(
            _worker("claims", [STATES_TYPE]), type_infos()
        )
        self._idle = [
            self._queue.consumer(_worker(name, [FITTING, ANYTHING])) for name in ("w1", "w2")
        ]
        self._runner.run(self._register())

    async def _register(self) -> None:
        for worker in (self._worker, *self._idle):
            await worker.register()

    def task(self, state: str) -> str:
        """The id of a new task in this state."""
        return self._runner.run(self._task(state))

    async def _task(self, state: str) -> str:
        start_at = datetime.now(UTC) + timedelta(hours=1) if state == "pending" else None
        task = NewTask(type=STATES_TYPE, payload=b"1", id=new_id(), start_at=start_at)
        await self._queue.submit(task)
        if state == "cancelled":
            await self._queue.cancel(task.id)
        if state in ("running", "completed", "failed"):
            claimed = await self._claimed(task.id)
            if state == "completed":
                await self._worker.settle([Completed(claimed, b'{"done": true}', 5)])
            elif state == "failed":
                await self._worker.settle([Failed(claimed, "ValueError: no", None, 5)])
        return task.id

    async def _claimed(self, task_id: str) -> ClaimedTask:
        """Claim it; what stands before it has been left over, and is completed."""
        while True:
            for task in (await self._worker.claim(1)).tasks:
                if task.id == task_id:
                    return task
                await self._worker.settle([Completed(task, b"null", 5)])

    async def _close(self) -> None:
        for worker in (self._worker, *self._idle):
            await worker.close()
        await self._queue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.run(self._close())
        self._runner.close()


def _worker(name: str, queues: list[str]) -> WorkerInfo:
    return WorkerInfo(
        id=name,
        host="test",
        pod=None,
        pid=1,
        version="1.0",
        queues=queues,
        concurrency=10,
        started_at_ms=int(time.time() * 1000),
    )


def fed(
    operation: APIOperation, cases: st.SearchStrategy[Case], roles: Sequence[str | None]
) -> st.SearchStrategy[Case]:
    """The same cases with real names, fitting payloads, and one of these roles."""

    @st.composite
    def feed(draw: st.DrawFn) -> Case:
        case = draw(cases)
        role = draw(st.sampled_from(_roles_for(operation, roles)))
        case.headers.pop("X-API-Key", None)
        if role is not None:
            case.headers["Authorization"] = f"Bearer {KEYS[role]}"
        if not _negated(case, ParameterLocation.PATH):
            for name in case.path_parameters:
                case.path_parameters[name] = draw(_names(operation.label, name))
        if not _negated(case, ParameterLocation.QUERY):
            _feed_query(draw, operation.label, case)
        if not _negated(case, ParameterLocation.BODY):
            _feed_body(draw, case)
        return case

    return feed()


def _roles_for(operation: APIOperation, roles: Sequence[str | None]) -> list[str | None]:
    """Each of these roles, those that may use this address more often."""
    described = operation.definition.raw.get("description", "").partition("Roles: ")[2]
    keys = [role for role in roles if role is not None]
    return [*([role for role in keys if role in described] or keys) * 3, *roles]


def _negated(case: Case, location: ParameterLocation) -> bool:
    component = case.meta.components.get(location) if case.meta else None
    return component is not None and component.mode.is_negative


def _names(label: str, parameter: str) -> st.SearchStrategy[str]:
    if parameter == "workflow_id":
        return st.sampled_from([*WORKFLOWS * 3, "broken", "no-such-workflow"])
    if parameter == "worker_id":
        return st.sampled_from(["w1", "w2", "w1", "w2", "no-such-worker"])
    if parameter == "task_type":
        real = [FITTING, ANYTHING, "workflow_execute"]
        return st.sampled_from([*real * 3, STATES_TYPE, "no_such_type"])
    useful = {
        "/cancel": ("pending", "queued"),
        "/retry": ("failed", "cancelled"),
        "/run-now": ("pending",),
        "PATCH /api/tasks/{task_id}": ("pending", "queued"),
        "DELETE /api/tasks/{task_id}": ("completed", "failed", "cancelled"),
    }
    likely = useful.get(label) or useful.get(label[label.rfind("/") :], STATES)
    marks = [f"<{state}>" for state in (*likely * 8, *STATES)]
    return st.sampled_from([*marks, _UNKNOWN_TASK, "no-uuid"])


def _feed_query(draw: st.DrawFn, label: str, case: Case) -> None:
    if label.endswith("/dead-letters") and "offset" in case.query:
        case.query["offset"] = draw(st.sampled_from([0, 1, 2, 10_000_000]))
    if label.endswith("/history") and "type" in case.query:
        case.query["type"] = draw(st.sampled_from([FITTING, "chat_process", "no_such_type"]))
    case.query.pop("cursor", None)  # one that was made up is refused
    if label == "GET /api/tasks":
        _feed_filter(draw, case)


def _feed_filter(draw: st.DrawFn, case: Case) -> None:
    """A filter that some task may fit. Which parts of it exclude each other, its text says."""
    texts = st.text(min_size=1, max_size=20)
    real = {
        "type": st.sampled_from([FITTING, STATES_TYPE, "no_such_type"]),
        "tag": st.sampled_from(["nightly", "no-such-tag"]),
        "q": texts,
        "error": texts,
        "worker": st.sampled_from(["w1", "no-such-worker"]),
    }
    for name in real.keys() & case.query.keys():
        case.query[name] = draw(real[name])
    for name in ("created_before", "ended_before"):
        case.query.pop(name, None)
    if "worker" in case.query:
        case.query.pop("ended_after", None)
    if "worker" in case.query or "ended_after" in case.query:
        case.query.pop("status", None)


def _feed_body(draw: st.DrawFn, case: Case) -> None:
    """Payloads as their type wants them, and start times that somebody would ask for."""
    body: Any = case.body
    if not isinstance(body, dict):
        return
    inside = str(case.query.get("async_execute")).lower() == "false"
    for item in body["tasks"] if isinstance(body.get("tasks"), list) else [body]:
        # What the text says, and a schema cannot: one of them, and none for a run inside.
        if item.get("start_in") is not None or inside:
            item.pop("start_at", None)
        if inside:
            item.pop("start_in", None)
        if isinstance(item.get("start_at"), str):
            item["start_at"] = draw(
                st.sampled_from(["2026-01-01T10:00:00Z", "2040-06-01T08:00:00+02:00"])
            )
        if "Idempotency-Key" in case.headers:
            item.pop("task_id", None)
        if isinstance(item.get("max_retries"), float):
            # To JSON Schema 3.0 is a whole number; no client writes one so, and the API refuses it.
            item["max_retries"] = int(item["max_retries"])
        task_type = case.path_parameters.get("task_type")
        if task_type == "workflow_execute":
            item["payload"] = {"workflow_id": "my-workflow", "variables": {"a": [1, None]}}
        elif task_type == FITTING:
            item["payload"] = {"url": draw(st.text(max_size=20)), "width": 1}
        elif task_type == STATES_TYPE:
            item["payload"] = 1


def fill(supply: Supply, case: Case) -> None:
    """Turn the marks into tasks."""
    for name, value in case.path_parameters.items():
        if isinstance(value, str) and value[:1] == "<" and value[1:-1] in STATES:
            case.path_parameters[name] = supply.task(value[1:-1])
    if "Idempotency-Key" in case.headers and not _negated(case, ParameterLocation.HEADER):
        # A key that a shorter example has used already would be a conflict each time.
        case.headers["Idempotency-Key"] = uuid.uuid4().hex

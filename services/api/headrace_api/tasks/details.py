"""What a record shows if it is asked for: payload, attempts, state, and a workflow's run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headrace.client.records import task_detail
from headrace.contract import KeptState, RunStart
from headrace_api.tasks.executions import TASK_TYPE
from headrace_api.tasks.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from headrace.contract import TaskDetail
    from headrace.taskqueue import Task, TaskQueue
    from headrace_api.tasks.availability import Availability
    from headrace_api.tasks.definitions import Definitions
    from headrace_api.tasks.live_workers import LiveWorkers
    from headrace_api.tasks.sight import Sight

PARTS = ("payload", "attempts", "state")
MAX_STATE_SHOWN = 1_048_576


class Details:
    """Makes the replies to whoever asks for a task's record."""

    def __init__(
        self, availability: Availability, live_workers: LiveWorkers, definitions: Definitions
    ) -> None:
        self._availability = availability
        self._live_workers = live_workers
        self._definitions = definitions

    async def reply(
        self, queue: TaskQueue, task: Task, parts: AbstractSet[str], by: float, sight: Sight
    ) -> TaskDetail:
        """A task's record with these parts, as far as whoever asks may see it."""
        call = self._availability.call
        attempts = await call(lambda: queue.attempts(task.id), by) if "attempts" in parts else None
        state = await call(lambda: queue.state(task.id), by) if "state" in parts else None
        more: dict[str, Any] = sight.of_result(task)
        if "payload" in parts:
            more["payload"] = redacted(_decoded(task.payload))
        if state is not None:
            more["state"] = _kept(state)
        if task.type == TASK_TYPE and sight.payloads_are_hidden:
            more["hidden"] = (*more.get("hidden", ()), "workflow")
        elif task.type == TASK_TYPE:
            more["workflow"] = self._workflow(task)
        return task_detail(task, self._live_workers.count(task.type), attempts).model_copy(
            update=more
        )

    def _workflow(self, task: Task) -> RunStart | None:
        payload = _decoded(task.payload)
        if not isinstance(payload, dict) or not isinstance(payload.get("workflow_id"), str):
            return None
        return RunStart(
            workflow_id=payload["workflow_id"],
            version=self._definitions.version_of(payload.get("definition")),
            variables=redacted(payload.get("variables")),
        )


def _kept(state: bytes) -> KeptState:
    value = _decoded(state) if len(state) <= MAX_STATE_SHOWN else None
    return KeptState(bytes=len(state), value=redacted(value))


def _decoded(document: bytes) -> Any:
    try:
        return msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

"""What both kinds of calls have: over HTTP (http_calls.py) and to Redis (redis_calls.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from headrace.client.asks import Ask, TaskFilters
from headrace.client.errors import ApiError, Unavailable
from headrace.client.retries import repeated
from headrace.client.steps import Program, Rules
from headrace.client.submissions import Options
from headrace.contract import Reply, TaskDetail, TaskListReply, TaskReply
from headrace.limits import MAX_BATCH
from headrace.status import TaskStatus

R = TypeVar("R", bound=Reply)

BATCH_BYTES = 1_048_576
"""A batch has so many bytes and the payload that goes beyond: the API refuses larger bodies."""
AFTER_CANCEL = (TaskStatus.CANCELLED,)
AFTER_RETRY = (TaskStatus.QUEUED, TaskStatus.RUNNING)


@dataclass(frozen=True)
class Accepted:
    """A task that was taken in. `record`: it has run inside the request."""

    task_id: str
    record: TaskReply | None = None


@dataclass(frozen=True)
class Ended:
    """Which tasks have ended, and which have no record."""

    tasks: Sequence[TaskReply]
    not_found: Sequence[str]


class Calls(Protocol):
    """What a client can be asked for, as programs."""

    def submit(self, task_type: str, payload: bytes, options: Options) -> Program[Accepted]:
        """Submit a task: once, however often it has to be sent."""
        ...

    def submit_many(
        self, task_type: str, payloads: Sequence[bytes], options: Options
    ) -> Program[list[Accepted]]:
        """Submit tasks of a type, in batches of up to 1000 that are taken in as a whole."""
        ...

    def execute(
        self, workflow_id: str, variables: Mapping[str, Any], options: Options
    ) -> Program[Accepted]:
        """Execute a workflow through its queue."""
        ...

    def get(self, task_id: str, include: Sequence[str] = ()) -> Program[TaskDetail]:
        """A task's record."""
        ...

    def cancel(self, task_id: str, *, running: bool) -> Program[TaskStatus]:
        """Cancel a task, or ask a running one to stop."""
        ...

    def retry(self, task_id: str) -> Program[TaskStatus]:
        """Queue a failed or cancelled task again."""
        ...

    def run_now(self, task_id: str) -> Program[TaskStatus]:
        """Queue a pending task before its time."""
        ...

    def delete(self, task_id: str) -> Program[None]:
        """Remove a task that has ended."""
        ...

    def list_tasks(
        self, filters: TaskFilters, cursor: str | None, limit: int
    ) -> Program[TaskListReply]:
        """A page of the list."""
        ...

    def ask(self, ask: Ask[R]) -> Program[R]:
        """What only the API can say or do. Raises NotSupported without it."""
        ...

    def wait(self, task_id: str, timeout: float | None) -> Program[TaskReply]:
        """Wait until a task has ended. Raises WaitTimeout, which cancels nothing."""
        ...

    def wait_any(self, task_ids: Sequence[str], timeout: float | None) -> Program[Ended]:
        """Wait until at least one of these tasks has ended. Raises WaitTimeout."""
        ...


def moved(
    attempt: Callable[[], Program[TaskStatus]], after: Sequence[TaskStatus], rules: Rules
) -> Program[TaskStatus]:
    """Move a task. A refusal because it is there already, after a lost reply, is none."""
    lost = False

    def attempt_noted() -> Program[TaskStatus]:
        nonlocal lost
        try:
            return (yield from attempt())
        except Unavailable as error:
            lost |= not error.not_done
            raise

    try:
        return (yield from repeated(attempt_noted, rules))
    except ApiError as error:
        status = error.member("task_status")
        if not (lost and status in after):
            raise
        return TaskStatus(status)


def batches(payloads: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Payloads in as few parts as may be sent at once."""
    batch: list[bytes] = []
    size = 0
    for payload in payloads:
        if batch and (len(batch) == MAX_BATCH or size + len(payload) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(payload)
        size += len(payload)
    if batch:
        yield batch


def batch_key(key: str, number: int) -> str:
    """The idempotency key of one of the batches that a submit was parted into."""
    return f"{key}/{number}" if number else key


def batch_keys(key: str | None, number: int, size: int) -> list[str]:
    """What the API makes of it: the keys of the tasks in a batch."""
    return [] if key is None else [f"{batch_key(key, number)}\0{place}" for place in range(size)]

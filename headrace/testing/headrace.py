"""What the fixture `headrace` gives: a client, and a worker that runs when it is told to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any, TypeVar, Unpack

from headrace.client.errors import TaskFailed
from headrace.client.handles import TaskHandle
from headrace.client.steps import Program, run
from headrace.client.submissions import SubmitOptions, kind_of
from headrace.client.sync_client import Client
from headrace.handlers import TaskType
from headrace.taskqueue import Task, TaskFilter, TaskStatus
from headrace.testing.installation import TestedInstallation
from headrace.testing.rounds import WORKFLOW_EXECUTE, Rounds

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
MAX_ROUNDS = 1000
"""`run_until_empty` moves the clock so often: a task that always parks again never ends."""


class Headrace(Client):
    """A client of this test's own Headrace, with the means to run what was submitted.

    Tests that are `async def` use it as others do: the worker has a thread and an event loop of its
    own, and a call takes milliseconds. `AsyncClient()` leads here too.
    """

    def __init__(self, installation: TestedInstallation) -> None:
        super().__init__(installation.url)
        self._installation = installation
        self._rounds = Rounds(installation)
        self._reported: set[str] = set()

    @property
    def url(self) -> str:
        """What `Client(url)` and `TaskQueue(url)` take; HEADRACE_URL and REDIS_URL have it too."""
        return self._installation.url

    def serve(self, *handlers: TaskType[Any, Any] | ModuleType) -> None:
        """Name handlers that the worker runs: functions with `@handler`, or modules that have some.

        Those of installed packages (entry points of `headrace.handlers`) are there already.
        """
        for given in handlers:
            found = [given] if isinstance(given, TaskType) else vars(given).values()
            types = [it for it in found if isinstance(it, TaskType)]
            if not types:
                raise TypeError(f"{given!r} has no function that is decorated with @handler")
            for task_type in types:
                self._rounds.serve(task_type)

    def execute(
        self,
        workflow_id: str,
        variables: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[Any]:
        """Execute a workflow by its definition in WORKFLOWS_DIR, as it is when it runs."""
        payload = {"workflow_id": workflow_id, "variables": variables or {}}
        return self.submit(WORKFLOW_EXECUTE, payload, **options)

    def run_pending(self, *, timeout: float = TIMEOUT_SECONDS, raises: bool = True) -> None:
        """Run everything that is due, and what that submits, until nothing is due.

        What waits for a later time stays: a start time, a back-off, a parked run. See `advance`.

        Args:
            timeout: in seconds, for all.
            raises: whether a task that failed for good raises TaskFailed here. Its cause is what
                the handler has raised.

        Raises TaskFailed, TimeoutError, and LookupError for a task that no handler is there for.
        """
        self._installation.run(self._rounds.run(timeout))
        if raises:
            self._raise_failures()

    def run_until_empty(self, *, timeout: float = TIMEOUT_SECONDS, raises: bool = True) -> None:
        """`run_pending`, then `advance` to the next time when something is due, until nothing is.

        So back-offs, start times and waits of workflows take no time. What waits for its inbox
        alone stays. Raises as `run_pending` does.
        """
        for _ in range(MAX_ROUNDS):
            self.run_pending(timeout=timeout, raises=raises)
            due_at = self._installation.run(self._rounds.next_due())
            if due_at is None:
                return
            self._installation.advance(due_at - self._installation.now())
        raise TimeoutError(
            f"something was due again after {MAX_ROUNDS} rounds: does a handler park until a time "
            "by a clock of its own?"
        )

    def advance(self, by: float | timedelta) -> None:
        """Put the clock of the queue and of workflows on, by seconds or a timedelta.

        The next `run_pending` runs what becomes due by that. Python's own clock does not move, nor
        do the times at which records expire.
        """
        by = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if by < timedelta():
            raise ValueError(f"by={by}: time does not go back")
        self._installation.advance(by)

    def assert_submitted(
        self,
        task_type: TaskType[Any, Any] | str,
        payload: Any = None,
        *,
        count: int | None = None,
        tags: Sequence[str] = (),
    ) -> list[Task]:
        """Check that tasks were submitted in this test, whatever has become of them; returns them.

        Args:
            task_type: a function with `@handler`, or a name.
            payload: what they have; None: any.
            count: how many there must be; None: at least one.
            tags: all of these they have.

        Raises AssertionError, which shows what was submitted instead.
        """
        __tracebackhide__ = True
        kind = kind_of(task_type)
        submitted = self._installation.run(self._submitted(kind.name))
        wanted = None if payload is None else json.loads(kind.encode(payload))
        found = [
            task
            for task in submitted
            if (wanted is None or _fits(task, kind.handler, wanted)) and {*tags} <= {*task.tags}
        ]
        if len(found) == count or (count is None and found):
            return found
        what = kind.name if wanted is None else f"{kind.name} {json.dumps(wanted)}"
        what += f" with the tags {', '.join(tags)}" if tags else ""
        lines = [f"  {it.payload.decode()} {' '.join(it.tags)}".rstrip() for it in submitted]
        raise AssertionError(
            f"{len(found)} tasks were submitted, and not {count or 'any'}: {what}\n"
            f"Submitted of this type: {len(submitted)}\n" + "\n".join(lines[:20])
        )

    def run(self, program: Program[T]) -> T:
        """As `Client.run`; here a call may hold up an event loop."""
        return run(program, self._transport.perform)

    def _raise_failures(self) -> None:
        filter = TaskFilter(status=TaskStatus.FAILED)
        page = self._installation.run(self._installation.queue.list_tasks(filter, limit=200))
        failed = [task.id for task in page.tasks if task.id not in self._reported]
        self._reported.update(failed)
        for task_id in failed:
            try:
                self.handle(task_id).result()
            except TaskFailed as error:
                if len(failed) > 1:
                    error.add_note(f"{len(failed) - 1} more tasks have failed")
                cause = self._rounds.errors.get(task_id)
                if cause is None and error.traceback:
                    error.add_note(str(error.traceback))
                raise error from cause

    async def _submitted(self, task_type: str) -> list[Task]:
        """All tasks of a type, the oldest first."""
        queue, cursor, found = self._installation.queue, None, list[Task]()
        while True:
            page = await queue.list_tasks(TaskFilter(type=task_type), cursor=cursor, limit=200)
            ids = [task.id for task in page.tasks]
            found += [task for task in await queue.get_many(ids) if task is not None]
            cursor = page.cursor
            if cursor is None:
                return sorted(found, key=lambda task: task.created_at)


def _fits(task: Task, handler: TaskType[Any, Any] | None, wanted: Any) -> bool:
    """Whether a task has this payload, with the defaults of the handler's model filled in."""
    payload = task.payload
    if handler is not None:
        payload = handler.encode_payload(handler.validate(payload))
    return bool(json.loads(payload) == wanted)

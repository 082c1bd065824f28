"""The queue for programs without an event loop: submit, look up, cancel. The fastest of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from headrace.taskqueue.attempts import AttemptRecord, decode_attempts
from headrace.taskqueue.base import QueueBase, status_after_cancel
from headrace.taskqueue.errors import QueueError, TaskNotFound
from headrace.taskqueue.listing import ALL_TASKS, TaskFilter, TaskPage, task_pages
from headrace.taskqueue.records import decode_tasks
from headrace.taskqueue.redis.connection import ReplyError
from headrace.taskqueue.scripts import script
from headrace.taskqueue.submits import Submitted
from headrace.taskqueue.task import NewTask, Task, TaskStatus


class BlockingTaskQueue(QueueBase):
    """As `TaskQueue`, and each call returns when it is done: for scripts, threads and web workers.

        with BlockingTaskQueue("redis://localhost:6379/0") as queue:
            submitted = queue.submit(NewTask(type="resize", payload=b'{"id": 7}', id=new_id()))
            task = queue.get(submitted.id)

    Threads may share one: their calls follow each other on one connection. A forked process makes a
    connection of its own. Its arguments, and what every call raises, stand at QueueBase. On an
    event loop take TaskQueue: a call here would hold everything else up.
    """

    def _open(self) -> None:
        self._link = self.installation.blocking_link()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect, and check that the server can do what the settings ask of it.

        Calls connect by themselves; this is to fail early. Raises NotSent, ServerUnsuitable,
        LayoutTooNew.
        """
        self.get_many([])
        if self._submits.question is not None:
            self._submits.check_server(self._link.call(*self._submits.question))

    def close(self) -> None:
        """Close the connection for good."""
        self._link.close()

    def submit(self, task: NewTask) -> Submitted:
        """Add a task. The same id again makes no second task. Raises as TaskQueue.submit does."""
        return self.submit_many((task,))[0]

    def submit_many(self, tasks: Sequence[NewTask]) -> list[Submitted]:
        """Add up to 1000 tasks, all or none of them. Raises as `submit` does."""
        self._submits.check(tasks)
        replies = self._link.call_together(self._submits.commands((tasks,)))
        [result] = self._submits.results((tasks,), replies)
        self.epoch = self._submits.epoch
        if isinstance(result, Exception):
            raise result
        return result

    def get(self, task_id: str) -> Task:
        """A task's record. Raises TaskNotFound."""
        [task] = self.get_many([task_id])
        if task is None:
            raise TaskNotFound(task_id)
        return task

    def get_many(self, task_ids: Sequence[str]) -> list[Task | None]:
        """Records by id; None where there is none."""
        replies = self._run("get", self.installation.retention_seconds, *task_ids)
        return decode_tasks(task_ids, replies)

    def list_tasks(
        self, filter: TaskFilter = ALL_TASKS, *, cursor: str | None = None, limit: int = 50
    ) -> TaskPage:
        """A page of the tasks that a filter asks for. As TaskQueue.list_tasks."""
        calls = task_pages(filter, cursor, limit)
        try:
            args = next(calls)
            while True:
                args = calls.send(self._run("list", *args))
        except StopIteration as end:
            page: TaskPage = end.value
            return page

    def cancel(self, task_id: str, *, running: bool = False) -> TaskStatus:
        """Cancel a task that has not begun; with `running`, ask one that runs to stop.

        Returns CANCELLED, or RUNNING if it was asked to stop. Raises TaskNotFound, NotAllowed.
        """
        args = (task_id, int(running), self.installation.retention_seconds)
        return status_after_cancel(self._run("cancel", *args, subject=task_id))

    def retry(self, task_id: str) -> TaskStatus:
        """Queue a failed or cancelled task again. As TaskQueue.retry."""
        rules = self.installation
        args = (task_id, self.max_length, rules.retention_seconds, rules.lease_ms)
        return TaskStatus(self._run("retry", *args, subject=task_id).decode())

    def run_now(self, task_id: str) -> TaskStatus:
        """Queue a pending task before its time. As TaskQueue.run_now."""
        args = (task_id, self.installation.retention_seconds)
        return TaskStatus(self._run("run_now", *args, subject=task_id).decode())

    def delete(self, task_id: str) -> None:
        """Remove an ended task and everything that is kept of it. As TaskQueue.delete."""
        self._run("delete", task_id, self.installation.retention_seconds, subject=task_id)

    def attempts(self, task_id: str) -> list[AttemptRecord]:
        """What became of a task's attempts. As TaskQueue.attempts."""
        reply = self._link.call("LRANGE", self._keys.attempts(task_id), 0, -1)
        return decode_attempts(reply or [])

    def statuses(self, task_ids: Sequence[str]) -> dict[str, TaskStatus | None]:
        """How tasks are, without their records; None: there is none."""
        replies = self._link.call_together(
            [("HGET", self._keys.task(task_id), "s") for task_id in task_ids]
        )
        found: dict[str, TaskStatus | None] = {}
        for task_id, reply in zip(task_ids, replies, strict=True):
            if isinstance(reply, QueueError):
                raise reply
            found[task_id] = None if reply is None else TaskStatus(reply.decode())
        return found

    def _run(self, name: str, *args: Any, subject: str = "") -> Any:
        try:
            return self._link.evalsha(script(name), (self._keys.meta,), args)
        except ReplyError as error:
            raise self._script_error(error, name, subject) from None

"""The backend: Django's tasks become tasks of Headrace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone

from headrace.client.errors import TaskNotFound
from headrace.client.sync_client import Client
from headrace.contract import AttemptReply, TaskDetail
from headrace.contract.tasks import is_task_id
from headrace.django.finding import find_task, import_tasks
from headrace.django.names import (
    BaseTaskBackend,
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from headrace.django.running import TASK_TYPE, DjangoCall
from headrace.limits import MAX_RETRIES_LIMIT
from headrace.status import TaskStatus
from headrace.taskqueue import idempotent_id, new_id

OPTIONS = ("URL", "API_KEY", "PROFILE", "MAX_RETRIES", "AFTER_COMMIT", "DATABASE")

STATUSES = {
    TaskStatus.PENDING: TaskResultStatus.READY,
    TaskStatus.QUEUED: TaskResultStatus.READY,
    TaskStatus.RUNNING: TaskResultStatus.RUNNING,
    TaskStatus.COMPLETED: TaskResultStatus.SUCCESSFUL,
    TaskStatus.FAILED: TaskResultStatus.FAILED,
    TaskStatus.CANCELLED: TaskResultStatus.FAILED,
}


class HeadraceBackend(BaseTaskBackend):
    """Enqueues Django's tasks as tasks of the type `django_task`.

    OPTIONS: URL, API_KEY and PROFILE as `headrace.Client` has them; MAX_RETRIES after a failure
    (0); AFTER_COMMIT, whether to wait for the end of the transaction (False), and of which
    DATABASE.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = False  # a queue is served in order

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.options: dict[str, Any] = params.get("OPTIONS", {})
        unknown = sorted(set(self.options) - set(OPTIONS))
        if unknown:
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]: there is no option {', '.join(unknown)}: there are "
                f"{', '.join(OPTIONS)}"
            )
        self._max_retries: int = self.options.get("MAX_RETRIES", 0)
        if not 0 <= self._max_retries <= MAX_RETRIES_LIMIT:
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]: MAX_RETRIES must be 0 to {MAX_RETRIES_LIMIT}"
            )

    @cached_property
    def client(self) -> Client:
        """What it speaks to Headrace by."""
        return Client(
            self.options.get("URL"),
            self.options.get("API_KEY"),
            profile=self.options.get("PROFILE"),
        )

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Submit a task. Raises InvalidTask, TypeError for what is no JSON, HeadraceError."""
        self.validate_task(task)
        key = new_id()
        result = TaskResult(
            task=task,
            id=idempotent_id(TASK_TYPE, key),
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        if self.options.get("AFTER_COMMIT", False):
            transaction.on_commit(
                partial(self._submit, result, key), using=self.options.get("DATABASE")
            )
        else:
            self._submit(result, key)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """A task's result so far. Raises TaskResultDoesNotExist, HeadraceError."""
        if not is_task_id(str(result_id)):
            raise TaskResultDoesNotExist(result_id)
        try:
            record = self.client.handle(str(result_id)).get(include=["payload", "attempts"])
        except TaskNotFound as error:
            raise TaskResultDoesNotExist(result_id) from error
        if record.type != TASK_TYPE:
            raise TaskResultDoesNotExist(result_id)
        call = DjangoCall.model_validate(record.payload)
        task = find_task(call.task)
        if task is None:
            import_tasks()
            task = find_task(call.task)
        if task is None:
            raise TaskResultDoesNotExist(
                f"{result_id}: no module that is imported here has the task {call.task}"
            )
        return self._result(record, call, task)

    def _submit(self, result: TaskResult, key: str) -> None:
        task = result.task
        run_after = task.run_after
        if run_after is not None and timezone.is_naive(run_after):  # USE_TZ=False
            run_after = timezone.make_aware(run_after)
        call = DjangoCall(
            task=task.module_path,
            args=result.args,
            kwargs=result.kwargs,
            backend=self.alias,
            queue_name=task.queue_name,
            max_retries=self._max_retries,
        )
        self.client.submit(
            TASK_TYPE,
            call.model_dump(),
            key=key,
            start_at=run_after,
            max_retries=self._max_retries,
        )
        object.__setattr__(result, "enqueued_at", timezone.now())
        task_enqueued.send(type(self), task_result=result)

    def _result(self, record: TaskDetail, call: DjangoCall, task: Task) -> TaskResult:
        attempts = record.attempts or []
        workers = [attempt.worker for attempt in attempts]
        if record.worker and len(workers) < record.attempt:
            workers.append(record.worker)
        result = TaskResult(
            task=task.using(backend=self.alias, queue_name=call.queue_name),
            id=record.task_id,
            status=STATUSES[record.status],
            enqueued_at=_local(record.created_at),
            started_at=_local(attempts[0].started_at if attempts else record.started_at),
            finished_at=_local(record.completed_at),
            last_attempted_at=_local(record.started_at),
            args=call.args,
            kwargs=call.kwargs,
            backend=self.alias,
            errors=[_error(attempt) for attempt in attempts if attempt.error is not None],
            worker_ids=workers,
        )
        if record.status is TaskStatus.COMPLETED:
            object.__setattr__(result, "_return_value", record.result)
        return result


def _error(attempt: AttemptReply) -> TaskError:
    name = attempt.error_type or "Exception"
    path = name if "." in name else f"builtins.{name}"
    return TaskError(exception_class_path=path, traceback=attempt.traceback or attempt.error or "")


def _local(moment: Any) -> Any:
    """A time as Django has them: without a time zone if USE_TZ is off."""
    if moment is None or settings.USE_TZ:
        return moment
    return timezone.make_naive(moment)

"""The task type that runs Django's tasks."""

from __future__ import annotations

import os
import socket
import traceback
from datetime import UTC, datetime
from typing import Any

from django.db import close_old_connections
from pydantic import BaseModel

from headrace.django.finding import find_task
from headrace.django.names import (
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from headrace.handlers import Context, Fatal, handler
from headrace.limits import MAX_RETRIES_LIMIT

TASK_TYPE = "django_task"
TIMEOUT_SECONDS = 3600.0

WORKER = f"{socket.gethostname()}-{os.getpid()}"


class DjangoCall(BaseModel):
    """Which function to call, with what."""

    task: str
    """Module and name of the function."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    backend: str = "default"
    queue_name: str = "default"
    max_retries: int = 0


@handler(TASK_TYPE, max_retries=0, timeout_seconds=TIMEOUT_SECONDS)
def django_task(ctx: Context, call: DjangoCall) -> Any:
    """Call a function decorated with Django's `@task`, and no other one."""
    task = find_task(call.task)
    if task is None:
        raise Fatal(
            f"{call.task} is no function decorated with @task in a module that this worker has "
            "imported: put it into the module `tasks` of an installed app, or import it in the "
            "app's ready()"
        )
    close_old_connections()
    try:
        return _run(ctx, call, task)
    finally:
        close_old_connections()


def _run(ctx: Context, call: DjangoCall, task: Task) -> Any:
    task = task.using(backend=call.backend, queue_name=call.queue_name)
    now = datetime.now(UTC)
    result = TaskResult(
        task=task,
        id=ctx.task_id,
        status=TaskResultStatus.RUNNING,
        enqueued_at=None,
        started_at=now,
        finished_at=None,
        last_attempted_at=now,
        args=call.args,
        kwargs=call.kwargs,
        backend=call.backend,
        errors=[],
        worker_ids=[WORKER] * ctx.attempt,
    )
    sender = type(task.get_backend())
    task_started.send(sender=sender, task_result=result)
    before = (TaskContext(task_result=result),) if task.takes_context else ()
    try:
        returned = normalize_json(task.call(*before, *call.args, **call.kwargs))
    except Exception as error:
        path = f"{type(error).__module__}.{type(error).__qualname__}"
        text = "".join(traceback.format_exception(error))
        result.errors.append(TaskError(exception_class_path=path, traceback=text))
        if ctx.attempt > min(call.max_retries, MAX_RETRIES_LIMIT):
            _finish(result, TaskResultStatus.FAILED)
            task_finished.send(sender=sender, task_result=result)
        raise
    object.__setattr__(result, "_return_value", returned)
    _finish(result, TaskResultStatus.SUCCESSFUL)
    task_finished.send(sender=sender, task_result=result)
    return returned


def _finish(result: TaskResult, status: Any) -> None:
    # The class is frozen: Django's own backends write it so, too.
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", datetime.now(UTC))

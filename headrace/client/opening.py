"""Opens the queue that the settings name, and describes task types as they are published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from headrace.handlers import FurtherTask, TaskType
from headrace.limits import DEFAULT_MAX_RETRIES
from headrace.settings import QueueSettings
from headrace.taskqueue import (
    BlockingTaskQueue,
    NewTask,
    QueueUnavailable,
    TaskQueue,
    TypeInfo,
)

Queue = TypeVar("Queue", TaskQueue, BlockingTaskQueue)


def new_queue(settings: QueueSettings, client_name: str) -> TaskQueue:
    """A client of the queue; nothing is connected yet.

    Raises ValueError for a REDIS_URL that cannot be understood.
    """
    return _new_queue(TaskQueue, settings, client_name)


def new_blocking_queue(settings: QueueSettings, client_name: str) -> BlockingTaskQueue:
    """The same for programs without an event loop."""
    return _new_queue(BlockingTaskQueue, settings, client_name)


def _new_queue(cls: type[Queue], settings: QueueSettings, client_name: str) -> Queue:
    ca_file = settings.redis_tls_ca_file
    return cls(
        settings.redis_url,
        namespace=settings.namespace,
        lease_seconds=settings.lease_seconds,
        retention_seconds=settings.result_retention_seconds,
        max_length=settings.max_length,
        max_payload_bytes=settings.max_payload_bytes,
        max_depth=settings.max_depth,
        timeout_seconds=settings.redis_timeout_seconds,
        client_name=client_name,
        tls_ca_file=None if ca_file is None else str(ca_file),
        wait_replicas=settings.redis_wait_replicas,
        wait_fsync=settings.redis_wait_fsync,
    )


def type_info(task_type: TaskType[Any, Any]) -> TypeInfo:
    """A task type as it is published."""
    return TypeInfo(
        name=task_type.name,
        payload_schema=task_type.payload_schema(),
        max_retries=task_type.max_retries,
        timeout_seconds=task_type.timeout_seconds,
        version=task_type.version,
    )


def new_task(task: FurtherTask, types: Mapping[str, TaskType[Any, Any]]) -> NewTask:
    """A task that a handler submits, as the queue takes it. `types`: those of this process.

    Raises PayloadInvalid for a payload that the handler of such a type would refuse.
    """
    task_type = types.get(task.type)
    max_retries = task.max_retries
    if task_type is not None:
        task_type.validate(task.payload)
        max_retries = task_type.max_retries if max_retries is None else max_retries
    return NewTask(
        id=task.id,
        type=task.type,
        payload=task.payload,
        max_retries=DEFAULT_MAX_RETRIES if max_retries is None else max_retries,
        start_at=task.start_at,
        headers=task.headers,
    )


async def check_server(settings: QueueSettings, client_name: str) -> None:
    """Look whether Redis, if it is there now, can be used as the settings want it.

    Raises ServerUnsuitable or LayoutTooNew.
    """
    queue = new_queue(settings, client_name)
    try:
        await queue.connect()
    except QueueUnavailable:
        return  # it will be asked again, by whoever needs it
    finally:
        await queue.close()

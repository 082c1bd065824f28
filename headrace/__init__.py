"""Headrace: background workflows with a queue that sizes its own workers.

What a package with task types of its own imports:

    from headrace import Context, handler

    @handler("resize_image")
    async def resize(ctx: Context, payload: Resize) -> dict[str, int]: ...

what a program that submits tasks does:

    from headrace import Client

    with Client() as client:
        print(client.submit(resize, Resize(url="...")).result())

and `TaskQueue`, `NewTask`, `new_id`, which take bytes. The names are resolved when first used, so
that each process loads only what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncClient as AsyncClient
    from headrace.client.errors import ApiError as ApiError
    from headrace.client.errors import ConfigInvalid as ConfigInvalid
    from headrace.client.errors import HeadraceError as HeadraceError
    from headrace.client.errors import ResultHidden as ResultHidden
    from headrace.client.errors import ResultInvalid as ResultInvalid
    from headrace.client.errors import TaskCancelled as TaskCancelled
    from headrace.client.errors import TaskFailed as TaskFailed
    from headrace.client.errors import Unavailable as Unavailable
    from headrace.client.errors import WaitTimeout as WaitTimeout
    from headrace.client.handles import AsyncTaskHandle as AsyncTaskHandle
    from headrace.client.handles import TaskHandle as TaskHandle
    from headrace.client.sync_client import Client as Client
    from headrace.handlers import Backoff as Backoff
    from headrace.handlers import CallNext as CallNext
    from headrace.handlers import CancelSignal as CancelSignal
    from headrace.handlers import Context as Context
    from headrace.handlers import Fatal as Fatal
    from headrace.handlers import Function as Function
    from headrace.handlers import Handled as Handled
    from headrace.handlers import Park as Park
    from headrace.handlers import PayloadInvalid as PayloadInvalid
    from headrace.handlers import SubmitFailed as SubmitFailed
    from headrace.handlers import TaskType as TaskType
    from headrace.handlers import function as function
    from headrace.handlers import handler as handler
    from headrace.taskqueue import NewTask as NewTask
    from headrace.taskqueue import Task as Task
    from headrace.taskqueue import TaskQueue as TaskQueue
    from headrace.taskqueue import TaskStatus as TaskStatus
    from headrace.taskqueue import new_id as new_id
    from headrace.workflows import WorkflowError as WorkflowError

__version__ = "0.3.0"

_HOMES = {
    "headrace.client.async_client": ("AsyncClient",),
    "headrace.client.errors": (
        "ApiError",
        "ConfigInvalid",
        "HeadraceError",
        "ResultHidden",
        "ResultInvalid",
        "TaskCancelled",
        "TaskFailed",
        "Unavailable",
        "WaitTimeout",
    ),
    "headrace.client.handles": (
        "AsyncTaskHandle",
        "TaskHandle",
    ),
    "headrace.client.sync_client": ("Client",),
    "headrace.handlers": (
        "Backoff",
        "CallNext",
        "CancelSignal",
        "Context",
        "Fatal",
        "Function",
        "Handled",
        "Park",
        "PayloadInvalid",
        "SubmitFailed",
        "TaskType",
        "function",
        "handler",
    ),
    "headrace.taskqueue": ("NewTask", "Task", "TaskQueue", "TaskStatus", "new_id"),
    "headrace.workflows": ("WorkflowError",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncTaskHandle",
    "Backoff",
    "CallNext",
    "CancelSignal",
    "Client",
    "ConfigInvalid",
    "Context",
    "Fatal",
    "Function",
    "Handled",
    "HeadraceError",
    "NewTask",
    "Park",
    "PayloadInvalid",
    "ResultHidden",
    "ResultInvalid",
    "SubmitFailed",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskHandle",
    "TaskQueue",
    "TaskStatus",
    "TaskType",
    "Unavailable",
    "WaitTimeout",
    "WorkflowError",
    "__version__",
    "function",
    "handler",
    "new_id",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)

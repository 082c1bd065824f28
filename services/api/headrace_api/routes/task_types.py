"""/api/task-types: what can be submitted."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from headrace.contract import TaskTypeReply, TaskTypesReply
from headrace_api.context import api_of
from headrace_api.http.auth import Permission
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.routes import documentation as docs

router = APIRouter(prefix="/api/task-types", tags=["tasks"], route_class=GuardedRoute)


@router.get("", **docs.TASK_TYPES)
@needs(Permission.READ)
async def task_types(request: HttpRequest) -> TaskTypesReply:
    """All task types, with their payloads' schemas, their defaults, and their live workers.

    A type stays in the list when its last worker is gone. While Redis is away the list is as it
    was read last.
    """
    api = api_of(request)
    return TaskTypesReply(
        task_types=[
            TaskTypeReply(
                name=task_type.name,
                payload_schema=task_type.info.payload_schema,
                max_retries=task_type.max_retries,
                timeout_seconds=task_type.info.timeout_seconds,
                version=task_type.info.version,
                live_workers=api.live_workers.count(task_type.name),
                runs_inline=task_type.handler is not None,
            )
            for task_type in await api.types.all()
        ]
    )

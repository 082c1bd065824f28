"""/api/task-types: what can be submitted."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from services.api import documentation as docs
from services.api.auth import Permission
from services.api.context import api_of
from services.api.models import TaskTypeReply, TaskTypesReply
from services.api.routing import GuardedRoute, needs

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
                name=known.name,
                payload_schema=known.info.payload_schema,
                max_retries=known.max_retries,
                timeout_seconds=known.info.timeout_seconds,
                version=known.info.version,
                live_workers=api.live_workers.count(known.name),
                runs_inline=known.own is not None,
            )
            for known in await api.types.all()
        ]
    )

"""/api/audit: who has changed what."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest

from headrace.contract import AuditEntryReply, AuditReply
from headrace_api.context import api_of
from headrace_api.http.auth import Permission
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.routes import documentation as docs
from headrace_api.routes.tasks import required_queue

router = APIRouter(prefix="/api/audit", tags=["audit"], route_class=GuardedRoute)


@router.get("", **docs.AUDIT)
@needs(Permission.AUDIT)
async def audit(
    request: HttpRequest,
    *,
    key: Annotated[str, Query(description="Changes by the API key of this name.")] = "",
    action: Annotated[str, Query(description="Changes of this kind.")] = "",
    subject: Annotated[
        str, Query(description="Changes to the task, worker or bulk operation of this id.")
    ] = "",
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before this one.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AuditReply:
    """The last 10,000 changes, the newest first, with the name of the key that made each.

    Submits are not among them: a task's own headers name its submitter's key.
    """
    api = api_of(request)
    queue = required_queue(api, "the list of changes needs the queue")
    page = await api.availability.call(
        lambda: queue.audit.newest(
            key=key, action=action, subject=subject, cursor=cursor, limit=limit
        )
    )
    entries = [AuditEntryReply(**msgspec.structs.asdict(entry)) for entry in page.entries]
    return AuditReply(items=entries, next_cursor=page.cursor)

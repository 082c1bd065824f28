"""/healthz and /readyz for probes, and `/` for people."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from headrace.contract import HealthReply, ReadyReply
from headrace_api.context import api_of
from headrace_api.http.auth import Permission
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.routes import documentation as docs

router = APIRouter(tags=["health"], route_class=GuardedRoute)


@router.get("/", include_in_schema=False)
@needs(Permission.OPEN)
async def root(request: HttpRequest) -> Response:
    """The documentation."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


@router.get("/healthz", **docs.HEALTH)
@needs(Permission.OPEN)
async def healthz() -> HealthReply:
    """The process answers."""
    return HealthReply()


@router.get("/readyz", response_model=ReadyReply, **docs.READY)
@needs(Permission.OPEN)
async def readyz(request: HttpRequest) -> Response:
    """Whether requests should be sent here.

    First 200 when Redis has answered once, or 10 s after the start. From then on Redis's state is
    only told: an API taken away with Redis could not run workflows inside requests.
    """
    api = api_of(request)
    status: Literal["ready", "starting", "stopping"] = "starting"
    if api.lifecycle.stopping:
        status = "stopping"
    elif api.availability.ready:
        status = "ready"
    reply = ReadyReply(status=status, redis=api.availability.state.value)
    return Response(
        reply.model_dump_json(),
        200 if status == "ready" else 503,
        media_type="application/json",
    )

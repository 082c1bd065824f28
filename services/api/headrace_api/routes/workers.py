"""/api/workers: who works, and the operator's drain mark."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from headrace.contract import DrainReply, WorkersReply
from headrace.taskqueue import WorkerNotFound
from headrace_api.context import api_of
from headrace_api.http.auth import Permission
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.routes import documentation as docs
from headrace_api.tasks.replies import worker_reply

router = APIRouter(prefix="/api/workers", tags=["workers"], route_class=GuardedRoute)


@router.get("", **docs.WORKERS)
@needs(Permission.OBSERVE)
async def workers(request: HttpRequest) -> WorkersReply:
    """All live workers and what each runs."""
    api = api_of(request)
    queue = api.queue
    if queue is None:
        return WorkersReply(workers=[])
    stats = await api.availability.call(lambda: queue.stats(api.queue_names()))
    return WorkersReply(workers=[worker_reply(worker) for worker in stats.workers])


@router.post("/{worker_id}/drain", **docs.DRAIN)
@needs(Permission.OPERATE, action="drain-worker")
async def drain(request: HttpRequest, worker_id: str) -> DrainReply:
    """Mark a worker: from this moment it claims nothing more, and finishes what it runs.

    The mark is a lease of 60 s: repeat it, or the worker claims again by itself.
    """
    api = api_of(request)
    queue = api.queue
    if queue is None:
        raise WorkerNotFound(worker_id)
    await api.availability.call(lambda: queue.drain(worker_id))
    return DrainReply(id=worker_id, draining=True)


@router.post("/{worker_id}/undrain", **docs.DRAIN)
@needs(Permission.OPERATE, action="undrain-worker")
async def undrain(request: HttpRequest, worker_id: str) -> DrainReply:
    """Take a worker's mark away: it claims again at once."""
    api = api_of(request)
    queue = api.queue
    if queue is None:
        raise WorkerNotFound(worker_id)
    await api.availability.call(lambda: queue.undrain(worker_id))
    return DrainReply(id=worker_id, draining=False)

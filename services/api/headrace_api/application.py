"""Builds the API: its parts, its routes, and what runs beside the requests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from headrace import __version__
from headrace.client.opening import new_queue, new_task
from headrace.client.runtimes import new_runtime
from headrace.contract.problems import STREAMS_BUSY, WAITS_BUSY
from headrace.handlers import (
    SubmitFailed,
    load_functions,
    load_lifespans,
    load_middleware,
    load_registry,
)
from headrace.handlers.builtin import builtin_types
from headrace.logs import get_logger
from headrace.taskqueue import IdempotencyConflict, QueueError
from headrace.workflows import Catalog
from headrace_api import metrics
from headrace_api.context import Api
from headrace_api.document import swagger
from headrace_api.document.openapi import openapi_of
from headrace_api.http import errors
from headrace_api.http.anonymous import Anonymous
from headrace_api.http.auth import KeyRing
from headrace_api.http.held import Held
from headrace_api.http.lifecycle import Lifecycle
from headrace_api.http.metrics import HttpMetrics
from headrace_api.http.middleware import Edge
from headrace_api.http.routing import GuardedRoute
from headrace_api.metrics import ApiCollector
from headrace_api.routes import ROUTERS
from headrace_api.tasks.availability import Availability
from headrace_api.tasks.changes import Changes
from headrace_api.tasks.definitions import Definitions
from headrace_api.tasks.executions import Executions
from headrace_api.tasks.inline import InlineRunner, no_queue
from headrace_api.tasks.live import LiveFeed, stats_event
from headrace_api.tasks.live_workers import LiveWorkers
from headrace_api.tasks.submission import Submission
from headrace_api.tasks.task_types import TaskTypes
from headrace_api.tasks.waits import Waits
from headrace_api.tend import LEASE, BulkWork, Tend, Trimming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable
    from typing import Any

    from starlette.types import ASGIApp

    from headrace.handlers import FurtherTask, Registry, TaskType
    from headrace.settings import ApiSettings
    from headrace.taskqueue import TaskQueue

log = get_logger(__name__)

CLIENT_NAME = "headrace-api"
"""Shown by Redis's CLIENT LIST."""
REQUEST_HEADERS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer"),
    *("Traceparent", "X-API-Key", "X-Request-ID"),
)
"""What a page of another origin may send, beside what browsers always let it."""


def new_api(settings: ApiSettings, own_types: Iterable[TaskType[Any, Any]] = ()) -> Api:
    """All parts. Nothing is connected yet.

    `own_types` are task types beside the built-in ones and those of installed packages.
    Raises RegistrationError for an installed package whose task types cannot be used, ValueError
    for a setting that cannot.
    """
    queue = new_queue(settings.queue, CLIENT_NAME) if settings.queue.enabled else None
    catalog = Catalog.load(settings.workflows.dir, load_functions())
    definitions = Definitions(catalog)
    runtime = new_runtime(settings.workflows, settings.workflow_limits, settings.evaluation)
    registry = load_registry([*builtin_types(catalog, runtime, __version__), *own_types])
    live_workers = LiveWorkers()
    availability = Availability(queue, lambda: api.queue_names(), on_reading=live_workers.note)
    inline = InlineRunner(
        max_running=settings.inline_max,
        timeout_seconds=settings.inline_timeout_seconds,
        max_result_bytes=settings.queue.max_payload_bytes,
        middleware=load_middleware(),
        lifespans=load_lifespans(),
        submit=no_queue if queue is None else partial(_submit_further, queue, registry),
        types=registry.by_name,
        max_depth=settings.queue.max_depth,
    )
    lifecycle = Lifecycle()
    held = Held("wait", lifecycle, settings.max_waits, WAITS_BUSY, "MAX_WAITS")
    watch = feed = None
    if queue is not None:
        watch = queue.end_watch()
        feed = LiveFeed(watch, lambda: stats_event(availability.stats, api.queue_names()))
    submission = Submission(queue, availability, inline, settings.queue.max_payload_bytes)
    api = Api(
        settings=settings,
        queue=queue,
        availability=availability,
        live_workers=live_workers,
        types=TaskTypes(registry, queue, availability),
        definitions=definitions,
        inline=inline,
        submission=submission,
        executions=Executions(queue, availability, definitions, submission, runtime),
        waits=Waits(queue, watch, held, settings.max_waited_tasks),
        streams=Held("stream", lifecycle, settings.max_streams, STREAMS_BUSY, "MAX_STREAMS"),
        feed=feed,
        keys=KeyRing(
            settings.api_keys,
            settings.api_keys_file,
            open_to=Anonymous(settings.host, settings.allowed_hosts, settings.cors_origins),
        ),
        runtime=runtime,
        lifecycle=lifecycle,
        http_metrics=HttpMetrics(),
    )
    return api


async def _submit_further(queue: TaskQueue, registry: Registry, task: FurtherTask) -> None:
    """Submit what a handler submits that runs inside a request."""
    try:
        await queue.submit(new_task(task, registry.by_name))
    except IdempotencyConflict:
        return  # it is there already: the handler has submitted it twice
    except (QueueError, ValueError) as error:
        raise SubmitFailed(str(error)) from error


def new_app(api: Api) -> FastAPI:
    """The FastAPI application around the parts."""
    app = FastAPI(
        title="Headrace",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        # Starlette's redirect leads to whatever `Host` says, and never to https: see errors.py.
        redirect_slashes=False,
    )
    app.state.api = api
    app.state.keys = api.keys
    app.state.note_change = Changes(api.queue, api.availability).note
    errors.install(app)
    swagger.install(app)
    routes = [route for router in ROUTERS for route in router.routes]
    guarded = [route for route in routes if isinstance(route, GuardedRoute)]
    # Each route stands in the application itself: FastAPI would match an included router's routes
    # twice, once to find the router and once more within it.
    app.router.routes.extend(guarded)
    app.openapi = openapi_of(app, guarded, api.settings.root_path)  # type: ignore[method-assign]
    return app


def edge(api: Api, app: FastAPI) -> Edge:
    """What the server serves: the application, and what happens to every request."""
    settings = api.settings
    return Edge(
        app,
        api.lifecycle,
        api.http_metrics,
        settings.max_body_bytes,
        settings.root_path,
        cors=partial(_cors, settings.cors_origins),
    )


def _cors(origins: tuple[str, ...], app: ASGIApp) -> ASGIApp:
    """Let pages of these origins use what is served; without any, nothing is added.

    Keys are sent in a header that a page sets by itself, so no credentials of the browser's.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("DELETE", "GET", "HEAD", "PATCH", "POST"),
        allow_headers=REQUEST_HEADERS,
        expose_headers=("Preference-Applied", "Retry-After", "X-Request-ID"),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What runs beside the requests: probe, types, definitions, metrics."""
    api: Api = app.state.api
    tasks = [
        _background(api.availability.run(), "probe"),
        _background(api.types.run(), "task types"),
        _background(api.definitions.run(), "definitions"),
    ]
    tend = None if api.queue is None else _new_tend(api.queue, api.settings)
    if tend is not None:
        tasks.append(_background(tend.run(), "tend"))
    collector = ApiCollector(
        api.http_metrics, api.availability, api.inline, [api.waits.held, api.streams], tend
    )
    served = metrics.serve(collector, api.settings.metrics_host, api.settings.metrics_port)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if served is not None:
            server, thread = served
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()
        await api.waits.close()
        await api.inline.close()
        await api.runtime.close()
        if api.queue is not None:
            await api.queue.close()


def _new_tend(queue: TaskQueue, settings: ApiSettings) -> Tend:
    """The loop that does what is periodic."""
    trimming = Trimming(settings.ended_index_max, settings.ended_index_max_total)
    return Tend(queue.fenced_lease(LEASE), [trimming, BulkWork(queue.bulks)])


def _background(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run beside the requests. It should never end by itself: if it does, that is logged."""
    task = asyncio.create_task(work, name=name)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background.ended", name=name, exc_info=error)

    task.add_done_callback(ended)
    return task

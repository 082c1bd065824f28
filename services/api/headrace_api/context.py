"""Everything that the routes share, made once for the process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from headrace.handlers.builtin import BUILTIN_QUEUES

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from headrace.settings import ApiSettings
    from headrace.taskqueue import TaskQueue
    from headrace.workflows import Runtime
    from headrace_api.http.auth import KeyRing
    from headrace_api.http.held import Held
    from headrace_api.http.lifecycle import Lifecycle
    from headrace_api.http.metrics import HttpMetrics
    from headrace_api.tasks.availability import Availability
    from headrace_api.tasks.definitions import Definitions
    from headrace_api.tasks.executions import Executions
    from headrace_api.tasks.inline import InlineRunner
    from headrace_api.tasks.live import LiveFeed
    from headrace_api.tasks.live_workers import LiveWorkers
    from headrace_api.tasks.submission import Submission
    from headrace_api.tasks.task_types import TaskTypes
    from headrace_api.tasks.waits import Waits


@dataclass(frozen=True)
class Api:
    """The parts of the API, wired up in application.py."""

    settings: ApiSettings
    queue: TaskQueue | None
    """None: switched off."""
    availability: Availability
    live_workers: LiveWorkers
    types: TaskTypes
    definitions: Definitions
    inline: InlineRunner
    submission: Submission
    executions: Executions
    waits: Waits
    streams: Held
    """The live streams."""
    feed: LiveFeed | None
    """What `/api/live` sends. None: the queue is switched off."""
    keys: KeyRing
    runtime: Runtime
    """What the workflows that run here share."""
    lifecycle: Lifecycle
    http_metrics: HttpMetrics

    def queue_names(self) -> tuple[str, ...]:
        """The queues that stand in every reply: the built-in ones as in the guide, then others."""
        return tuple(dict.fromkeys((*BUILTIN_QUEUES, *self.types.names())))


def api_of(request: HTTPConnection) -> Api:
    """The parts, for a route."""
    return cast("Api", request.scope["app"].state.api)

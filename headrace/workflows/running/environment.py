"""What a run needs from the process that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx2

from headrace.workflows.expressions.evaluator import Evaluator
from headrace.workflows.steps.http.client import HttpClient
from headrace.workflows.steps.http.policy import HttpPolicy


class Runtime:
    """What all runs of one process share: the HTTP client and the process that evaluates jq.

    Belongs to one event loop; both are started when they are first needed. `transport` takes the
    network's place in tests.
    """

    def __init__(
        self,
        policy: HttpPolicy | None = None,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        evaluator: Evaluator | None = None,
    ) -> None:
        self.http = HttpClient(policy or HttpPolicy(), transport=transport)
        self.evaluator = evaluator or Evaluator()

    async def close(self) -> None:
        """Close connections and end the evaluating process."""
        await self.http.close()
        await self.evaluator.close()


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


async def _keep_nothing(_state: bytes) -> None:
    """For runs whose progress is not stored: those inside a request."""


def _ignore(*_: object) -> None:
    """For runs that nobody follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One run's surroundings.

    run_id: what the run is known as; expressions see it as `$workflow.id`. The task's id.
    checkpoint: stores the state that a later `execute` can go on from. Whatever it raises ends
        this attempt.
    can_park: whether a wait may end the attempt with `Waiting`; if not, it sleeps in place.
    progress: told the percentage of top-level tasks done, and a message, before calls and waits.
    on_task: told the reference of each task that begins, computed-again ones included.
    """

    runtime: Runtime
    run_id: str
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    checkpoint: Callable[[bytes], Awaitable[None]] = _keep_nothing
    can_park: bool = False
    progress: Callable[[int, str], None] = _ignore
    on_task: Callable[[str], None] = _ignore

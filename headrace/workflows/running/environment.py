"""What a run needs from its process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.workflows.expressions import Evaluator
from headrace.workflows.model import HttpSender
from headrace.workflows.running.clock import utc_now
from headrace.workflows.steps.http import HttpPolicy

if TYPE_CHECKING:
    import httpx2

    from headrace.workflows.steps.http.client import HttpClient


class Runtime:
    """What all runs of one process share: the HTTP client and the process that evaluates jq.

    Belongs to one event loop. Both are loaded and started when they are first needed. `transport`
    takes the network's place in tests.
    """

    def __init__(
        self,
        policy: HttpPolicy | None = None,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        evaluator: Evaluator | None = None,
    ) -> None:
        self.evaluator = evaluator or Evaluator()
        self._policy = policy or HttpPolicy()
        self._transport = transport
        self._http: HttpClient | None = None

    @property
    def http(self) -> HttpSender:
        """The client of `call: http`."""
        if self._http is None:
            # Imported here: a process whose workflows call nothing never needs the HTTP library.
            from headrace.workflows.steps.http.client import HttpClient

            self._http = HttpClient(self._policy, transport=self._transport)
        return self._http

    async def close(self) -> None:
        """Close connections and end the evaluating process."""
        if self._http is not None:
            await self._http.close()
        await self.evaluator.close()


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
    can_park: whether the run may end the attempt with `RunParked`; if not, it sleeps in place.
    progress: told the percentage of top-level steps done, and a message, before calls and waits.
    on_step: told the reference of each step that begins, computed-again ones included.
    """

    runtime: Runtime
    run_id: str
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    checkpoint: Callable[[bytes], Awaitable[None]] = _keep_nothing
    can_park: bool = False
    progress: Callable[[int, str], None] = _ignore
    on_step: Callable[[str], None] = _ignore

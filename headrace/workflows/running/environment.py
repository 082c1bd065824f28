"""What a run needs from its process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from headrace.workflows.expressions import Evaluator
from headrace.workflows.limits import RunLimits
from headrace.workflows.model import ChildEnd, ChildRun, ChildTask, HttpSender, Scope
from headrace.workflows.running.clock import utc_now
from headrace.workflows.secrets import SecretSource
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
        limits: RunLimits | None = None,
        secrets: SecretSource | None = None,
    ) -> None:
        self.secrets = secrets or SecretSource()
        self.limits = limits or RunLimits()
        """Of each run, unless its environment has others."""
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


class Children(Protocol):
    """The tasks that a run starts, and waits for."""

    async def start(self, child_id: str, task: ChildTask | ChildRun) -> ChildEnd | None:
        """Start a task, unless it has been started; its end, if it has ended.

        Its end wakes a run that has parked with `wakes`. Inside a request it is run in place.
        Raises WorkflowError when it cannot be started.
        """

    async def cancel(self, child_id: str) -> None:
        """Cancel a child, if it has not ended."""


async def _keep_nothing(_: object) -> None:
    """For runs whose progress is not stored: those inside a request."""


def _ignore(*_: object) -> None:
    """For runs that nobody follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One run's surroundings.

    run_id: what the run is known as; expressions see it as `$workflow.id`. The task's id.
    append: stores entries of the run's journal, behind those that are stored.
    checkpoint: stores a snapshot in place of the one before, and empties the journal. A later
        `execute` goes on from the snapshot and the journal. Whatever the two raise ends this
        attempt.
    children: the tasks that the run starts; None: it can start none.
    limits: what the run may use at most.
    random: gives numbers from 0 to 1, for the jitter of retries.
    can_park: whether the run may end the attempt with `RunParked`; if not, it sleeps in place.
    progress: told the percentage of top-level steps done, and a message, before calls and waits.
    on_step: told the reference of each step that begins, computed-again ones included.
    on_end: told each step that has ended without an error.
    """

    runtime: Runtime
    run_id: str
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    append: Callable[[Sequence[bytes]], Awaitable[None]] = _keep_nothing
    checkpoint: Callable[[bytes], Awaitable[None]] = _keep_nothing
    children: Children | None = None
    limits: RunLimits = RunLimits()  # noqa: RUF009 - frozen
    random: Callable[[], float] = random.random
    can_park: bool = False
    progress: Callable[[int, str], None] = _ignore
    on_step: Callable[[str], None] = _ignore
    on_end: Callable[[Scope], None] = _ignore

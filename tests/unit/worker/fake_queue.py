"""An in-memory consumer, for the logic of the worker's loop alone."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec

from headrace import taskqueue as tq

_fences = itertools.count(1)


def claimed_task(
    task_id: str, task_type: str = "work", *, retry_count: int = 0, fence: int | None = None
) -> tq.ClaimedTask:
    return tq.ClaimedTask(
        id=task_id,
        type=task_type,
        payload=b"null",
        fence=next(_fences) if fence is None else fence,
        created_at_ms=0,
        started_at_ms=5,
        retry_count=retry_count,
        crash_count=0,
        max_retries=3,
    )


class Renewer:
    """Answers every renewal at once, and never signals."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def wait_for_signal(self, timeout_seconds: float) -> bool:
        self._consumer.ended.wait(min(timeout_seconds, 0.01))
        return False

    def renew(self, held: Any, running: Any, settled_request: int) -> tq.Renewal:
        return self._consumer.on_renew([task.id for task in held])

    def close(self) -> None:
        """Nothing is open."""


class Consumer:
    """Hands out what lies in `waiting`; keeps every call in `calls`.

    A call that is in `gates` waits for its event, so that a test decides when Redis answers.
    """

    def __init__(self, info: tq.WorkerInfo) -> None:
        self.info = info
        self.epoch = "one"
        self.settled_request = 0
        self.waiting: deque[tq.ClaimedTask] = deque()
        self.calls: list[tuple[str, list[str], int]] = []
        self.ahead: list[tq.Ahead] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.failing: list[tq.QueueError] = []
        self.claiming = 0
        self.most_claims = 0
        self.wake = asyncio.Event()
        self.ended = threading.Event()
        self.draining = False
        self.restored: list[list[str]] = []
        self.on_renew: Callable[[list[str]], tq.Renewal] = lambda ids: tq.Renewal(
            [], [], False, False
        )

    async def register(self) -> None:
        await self._answer("register", [], 0)

    async def deregister(self) -> None:
        await self._answer("deregister", [], 0)

    async def close(self) -> None:
        self.ended.set()

    def renewer(self) -> Renewer:
        return Renewer(self)

    async def settle(
        self,
        settlements: Sequence[tq.Settlement],
        claim_limit: int = 0,
        ahead: tq.Ahead | None = None,
    ) -> tuple[list[tq.TaskStatus | None], tq.Claim | None]:
        await self._answer(
            "settle", [f"{type(o).__name__} {o.task.id}" for o in settlements], claim_limit
        )
        statuses: list[tq.TaskStatus | None] = [tq.TaskStatus.COMPLETED for _ in settlements]
        if not claim_limit:
            return statuses, None
        claim = self._take(claim_limit)
        if ahead is not None:
            self.ahead.append(ahead)
            beyond = [self.waiting.popleft() for _ in range(min(ahead.limit, len(self.waiting)))]
            claim = msgspec.structs.replace(claim, tasks=[*claim.tasks, *beyond])
        return statuses, claim

    async def claim(self, limit: int) -> tq.Claim:
        await self._answer("claim", [], limit)
        return self._take(limit)

    async def wait_and_claim(self, limit: int, timeout_seconds: float) -> tq.Claim:
        assert 0 < timeout_seconds <= 1
        self.claiming += 1
        self.most_claims = max(self.most_claims, self.claiming)
        self.calls.append(("wait", [], limit))
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.wake.wait()
        except TimeoutError:
            pass
        self.wake.clear()
        self.claiming -= 1
        return self._take(limit)

    async def unblock(self) -> None:
        self.wake.set()

    async def progress(self, task: tq.ClaimedTask, percent: float, message: str) -> bool:
        await self._answer("progress", [task.id], 0)
        return True

    async def renew(self, held: Any, running: Any, settled_request: int) -> tq.Renewal:
        return tq.Renewal([], [], False, False)

    async def restore(self, tasks: Sequence[tq.ClaimedTask]) -> list[bool]:
        await self._answer("restore", [task.id for task in tasks], 0)
        self.epoch = "two"
        self.restored.append([task.id for task in tasks])
        return [True for _ in tasks]

    async def _answer(self, name: str, what: list[str], limit: int) -> None:
        self.calls.append((name, what, limit))
        self.claiming += limit > 0
        self.most_claims = max(self.most_claims, self.claiming)
        try:
            await asyncio.sleep(0)
            if name in self.gates:
                await self.gates[name].wait()
            if self.failing:
                raise self.failing.pop(0)
        finally:
            self.claiming -= limit > 0

    def _take(self, limit: int) -> tq.Claim:
        if self.draining:
            return tq.Claim([], bool(self.waiting), True, None)
        tasks = [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]
        return tq.Claim(tasks, bool(self.waiting), False, None)

    def called(self, name: str) -> list[tuple[list[str], int]]:
        return [(what, limit) for call, what, limit in self.calls if call == name]


class Queue:
    """What a worker needs of the queue."""

    installation = SimpleNamespace(lease_ms=15_000)

    def __init__(self) -> None:
        self.made: Consumer | None = None

    def consumer(self, info: tq.WorkerInfo, types: Sequence[tq.TypeInfo] = ()) -> Consumer:
        self.made = Consumer(info)
        return self.made

    async def get_definition(self, sha256: str) -> bytes | None:
        return None


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so, at most 10 s."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it asks for many things
            await asyncio.sleep(0.001)

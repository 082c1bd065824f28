"""HTTP clients that never rest, and a record of every answer that they get."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2

CLIENTS = 8
PATIENCE_SECONDS = 20.0
WORK_SECONDS = 0.2


@dataclass(frozen=True)
class Answer:
    """One request and what became of it."""

    at: float
    """When it was sent, by the monotonic clock."""
    seconds: float
    call: str
    status: int
    body: dict[str, Any]


class Load:
    """Clients that submit, look up and read stats, each with a connection of its own."""

    def __init__(self, url: str, seed: int) -> None:
        self.answers: list[Answer] = []
        self.acknowledged: list[str] = []
        """Ids that were replied as queued."""
        self._url = url
        self._seed = seed

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Clients run while the block does; the requests under way at its end are waited for."""
        over = asyncio.Event()
        clients = [asyncio.create_task(self._client(number, over)) for number in range(CLIENTS)]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*clients)

    def between(self, begin: float, end: float) -> list[Answer]:
        """The answers to what was sent in a span of time."""
        return [answer for answer in self.answers if begin <= answer.at < end]

    @property
    def slowest(self) -> Answer:
        """The answer that took longest."""
        return max(self.answers, key=lambda answer: answer.seconds)

    async def _client(self, number: int, over: asyncio.Event) -> None:
        dice = random.Random(self._seed + number)
        async with httpx2.AsyncClient(base_url=self._url, timeout=PATIENCE_SECONDS) as client:
            while not over.is_set():
                await self._ask(client, dice)
                await asyncio.sleep(dice.uniform(0.05, 0.25))

    async def _ask(self, client: httpx2.AsyncClient, dice: random.Random) -> None:
        calls = ["execute", "work", "stats", "ready"] + ["task"] * bool(self.acknowledged)
        call = dice.choice(calls)
        began = time.monotonic()
        match call:
            case "execute":
                reply = await client.post("/api/workflows/hello/execute?async_execute=true")
            case "work":
                work = {"payload": {"seconds": WORK_SECONDS}}
                reply = await client.post("/api/tasks/work", json=work)
            case "stats":
                reply = await client.get("/api/workflows/queue/stats")
            case "task":
                reply = await client.get(f"/api/tasks/{dice.choice(self.acknowledged)}")
            case _:
                reply = await client.get("/readyz")
        seconds = time.monotonic() - began
        answer = Answer(began, seconds, call, reply.status_code, reply.json())
        self.answers.append(answer)
        if answer.status == 202:
            self.acknowledged.append(answer.body["task_id"])


def counted(answers: list[Answer]) -> str:
    """How often each call was answered by which status."""
    counts = Counter(f"{answer.call} {answer.status}" for answer in answers)
    return ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()))

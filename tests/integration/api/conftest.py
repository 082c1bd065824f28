"""An API on a real Redis, and a worker that the test moves by hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from headrace.taskqueue import (
    Claim,
    ClaimedTask,
    Completed,
    Consumer,
    Failed,
    TaskQueue,
    TypeInfo,
    WorkerInfo,
)
from tests.unit.api.harness import ApiUnderTest, api_settings, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers import RedisServer

RESIZE = TypeInfo(
    name="resize_image",
    payload_schema={
        "type": "object",
        "properties": {"url": {"type": "string"}, "width": {"type": "integer", "minimum": 1}},
        "required": ["url"],
    },
    max_retries=7,
    timeout_seconds=60.0,
    version="2.0",
)


class HandWorker:
    """A registered worker whose every move the test makes."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.id = "hand-worker"

    async def claim(self) -> ClaimedTask:
        """The next task; it must be there."""
        claim: Claim = await self.consumer.claim(1)
        assert claim.tasks, "nothing could be claimed"
        return claim.tasks[0]

    async def complete(self, result: bytes = b"null") -> ClaimedTask:
        """Claim the next task and finish it."""
        task = await self.claim()
        await self.consumer.settle([Completed(task, result, 5)])
        return task

    async def fail(self, error: str) -> ClaimedTask:
        """Claim the next task and fail it for good."""
        task = await self.claim()
        await self.consumer.settle([Failed(task, error, None, 5)])
        return task


@pytest.fixture
async def queue(server: RedisServer) -> AsyncIterator[TaskQueue]:
    """The test's own client of the queue."""
    queue = TaskQueue(server.url)
    yield queue
    await queue.close()


@pytest.fixture
async def api(server: RedisServer, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    async with running(api_settings(tmp_path, server.url)) as found:
        yield found


@pytest.fixture
async def worker(queue: TaskQueue) -> AsyncIterator[HandWorker]:
    """A worker of the workflows and of a type that only it knows."""
    info = WorkerInfo(
        id="hand-worker",
        host="test",
        pod="pod-1",
        pid=1,
        version="0.1.0",
        queues=["workflow_execute", RESIZE.name],
        concurrency=2,
        started_at_ms=int(time.time() * 1000),
    )
    consumer = queue.consumer(info, [RESIZE])
    await consumer.register()
    yield HandWorker(consumer)
    await consumer.close()

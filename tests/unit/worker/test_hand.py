"""What the worker makes of a task that it has claimed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from headrace.handlers import Context, Resources, handler
from headrace.taskqueue.task import Options
from headrace_worker.ahead import Pace
from headrace_worker.running import Hand
from tests.unit.handlers.recording_host import RecordingHost
from tests.unit.worker.fake_queue import claimed_task


@handler("work")
async def work(ctx: Context, payload: Any) -> None: ...


@pytest.fixture
def hand() -> Iterator[Hand]:
    resources = Resources()
    yield Hand(
        {"work": work},
        resources,
        log_payloads=False,
        pace=Pace(),
        ended=lambda _: None,
        changed=lambda: None,
    )
    resources.threads.shutdown()


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        (b"", {}),
        (Options(headers={"tenant": "blue"}).pack(), {"tenant": "blue"}),
        (Options(tags=("a",)).pack(), {}),
        (b"\xc1 no MessagePack", {}),
    ],
)
def test_a_context_shows_the_headers_that_can_be_read(
    hand: Hand, options: bytes, headers: dict[str, str]
) -> None:
    task = msgspec.structs.replace(claimed_task("a"), options=options)
    assert dict(hand.begin(task, RecordingHost()).ctx.headers) == headers

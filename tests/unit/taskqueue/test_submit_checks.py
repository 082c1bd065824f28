"""Tasks that no queue would take are refused before Redis is asked."""

from __future__ import annotations

import pytest

from headrace.taskqueue import NewTask, PayloadTooLarge, TaskQueue, new_id
from headrace.taskqueue.submitter import MAX_RETRIES_LIMIT

NOWHERE = "redis://127.0.0.1:1/0"


def task(task_type: str = "report", payload: bytes = b"{}", max_retries: int = 3) -> NewTask:
    return NewTask(type=task_type, payload=payload, id=new_id(), max_retries=max_retries)


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a:b", "{a}", "报告", "a/b", ".a", "-a", "_a", "a" * 65, "a\n", "a\0", "*", "a'b"],
)
async def test_odd_names_of_task_types_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 64 letters, digits"):
        await TaskQueue(NOWHERE).submit(task(name))


@pytest.mark.parametrize("max_retries", [-1, MAX_RETRIES_LIMIT + 1])
async def test_retries_out_of_bounds_are_refused(max_retries: int) -> None:
    with pytest.raises(ValueError, match=f"max_retries is {max_retries}, allowed is 0 to 100"):
        await TaskQueue(NOWHERE).submit(task(max_retries=max_retries))


async def test_a_payload_over_the_limit_is_refused() -> None:
    queue = TaskQueue(NOWHERE, max_payload_bytes=10)
    with pytest.raises(PayloadTooLarge, match=r"11 bytes, the limit is 10.*MAX_PAYLOAD_BYTES"):
        await queue.submit(task(payload=b"x" * 11))
    # Bytes count, not letters.
    with pytest.raises(PayloadTooLarge, match="12 bytes"):
        await queue.submit(task(payload="水水水水".encode()))

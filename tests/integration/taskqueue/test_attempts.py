"""What is kept of a task's attempts, unless it simply succeeds at its first one."""

from __future__ import annotations

import pytest

from headrace.limits import MAX_ATTEMPTS, MAX_TRACEBACK_BYTES
from headrace.taskqueue import (
    MAX_CRASHES,
    AttemptOutcome,
    Cancelled,
    ClaimedTask,
    Completed,
    Consumer,
    Failed,
    Parked,
    Released,
    Settlement,
    TaskStatus,
    utc,
)
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import (
    TYPE,
    Rig,
    claim_one,
    complete,
    renew,
    settle,
)
from tests.servers import RedisServer

FAILED, COMPLETED, CRASHED = AttemptOutcome.FAILED, AttemptOutcome.COMPLETED, AttemptOutcome.CRASHED
WEEK, MONTH = 7 * 24 * 3600, 30 * 24 * 3600
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: 水'


async def fail(
    rig: Rig, worker: Consumer, error: str = "ValueError: 水", *, retry: bool = True
) -> ClaimedTask:
    """Claim the one task there is and let it fail; a retry is due at once."""
    task = await claim_one(worker)
    delay = 60_000 if retry else None
    [status] = await settle(worker, Failed(task, error, delay, 5, "ValueError", TRACEBACK))
    if status is TaskStatus.PENDING:
        rig.make_due(task.id)
    return task


def seconds_kept(rig: Rig, task_id: str) -> int:
    seconds: int = rig.raw.ttl(rig.key(f"attempts:{task_id}"))
    return seconds


async def outcomes(rig: Rig, task_id: str) -> list[tuple[int, AttemptOutcome]]:
    return [(attempt.number, attempt.outcome) for attempt in await rig.queue.attempts(task_id)]


@pytest.mark.parametrize("payload", [b"{}", b'"' + b"x" * 100 + b'"'])
async def test_nothing_is_kept_of_a_task_that_succeeds_at_its_first_attempt(
    rig: Rig, payload: bytes
) -> None:
    task_id = await rig.submit(payload)
    worker = await rig.worker()
    assert await rig.queue.attempts(task_id) == []
    task = await claim_one(worker)
    await settle(worker, Parked(task, rig.now_ms() - 1, b"state", 1))
    assert await complete(worker, await claim_one(worker)) is TaskStatus.COMPLETED
    assert await rig.queue.attempts(task_id) == []
    assert rig.raw.exists(rig.key(f"attempts:{task_id}")) == 0
    assert rig.field(task_id, "at") is None


async def test_each_attempt_says_who_when_and_why(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    task = await fail(any_rig, worker)
    again = await claim_one(worker)
    await complete(worker, again)
    first, second = await any_rig.queue.attempts(task_id)
    assert (first.number, first.outcome, first.worker, first.worker_version) == (
        1,
        FAILED,
        "w1",
        "1",
    )
    assert first.started_at == utc(task.started_at_ms)
    assert first.ended_at >= first.started_at
    assert (first.error, first.error_type) == ("ValueError: 水", "ValueError")
    assert first.traceback == TRACEBACK
    assert (second.number, second.outcome, second.error) == (2, COMPLETED, None)
    assert second.started_at == utc(again.started_at_ms)
    assert (second.error_type, second.traceback) == (None, None)


async def test_the_list_expires_with_the_record_and_lives_as_long_as_its_task(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await fail(rig, worker)
    assert seconds_kept(rig, task_id) == pytest.approx(WEEK + MONTH, abs=2)
    await fail(rig, worker, retry=False)
    assert seconds_kept(rig, task_id) == pytest.approx(WEEK, abs=2)

    await rig.queue.retry(task_id)
    assert seconds_kept(rig, task_id) == pytest.approx(WEEK + MONTH, abs=2)
    assert await outcomes(rig, task_id) == [(1, FAILED), (2, FAILED)]
    await fail(rig, worker)
    await rig.queue.cancel(task_id)
    assert seconds_kept(rig, task_id) == pytest.approx(WEEK, abs=2)
    # A retry by hand counts from 1 again, and what was before it stays.
    assert await outcomes(rig, task_id) == [(1, FAILED), (2, FAILED), (1, FAILED)]


async def test_of_many_attempts_the_newest_are_kept(rig: Rig) -> None:
    task_id = await rig.submit(max_retries=MAX_ATTEMPTS + 5)
    worker = await rig.worker()
    for n in range(MAX_ATTEMPTS + 5):
        await fail(rig, worker, f"error {n}")
    attempts = await rig.queue.attempts(task_id)
    assert [attempt.number for attempt in attempts] == list(range(6, MAX_ATTEMPTS + 6))
    assert attempts[-1].error == (await rig.queue.get(task_id)).error


async def test_a_lost_worker_leaves_a_crash(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    for _ in range(MAX_CRASHES + 1):
        any_rig.expire_lease(await claim_one(worker))
        await any_rig.queue.reap([TYPE])
    assert await any_rig.status(task_id) is TaskStatus.FAILED
    attempts = await any_rig.queue.attempts(task_id)
    assert [(attempt.number, attempt.outcome) for attempt in attempts] == [
        (n, CRASHED) for n in (1, 2, 3, 4)
    ]
    assert {attempt.worker for attempt in attempts} == {"w1"}
    assert {attempt.error for attempt in attempts} == {None}


async def test_the_same_report_twice_keeps_one_attempt(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    for _ in range(2):
        assert await settle(worker, Failed(task, "E", None, 1, "E")) == [TaskStatus.FAILED]
    assert await outcomes(rig, task_id) == [(1, FAILED)]


@pytest.mark.parametrize("how", ["stopped", "failed", "finished", "parked", "handed back"])
async def test_a_task_cancelled_while_it_runs_leaves_an_attempt(rig: Rig, how: str) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    await rig.queue.cancel(task_id, running=True)
    settlements: dict[str, Settlement] = {
        "stopped": Cancelled(task, 1),
        "failed": Failed(task, "E: late", 0, 1, "E"),
        "finished": Completed(task, b"1", 1),
        "parked": Parked(task, 0, b"state", 1),
        "handed back": Released(task, 1),
    }
    assert await settle(worker, settlements[how]) == [TaskStatus.CANCELLED]
    [attempt] = await rig.queue.attempts(task_id)
    assert (attempt.number, attempt.outcome) == (1, AttemptOutcome.CANCELLED)
    assert attempt.error == ("E: late" if how == "failed" else None)
    assert seconds_kept(rig, task_id) == pytest.approx(WEEK, abs=2)


async def test_handing_back_counts_once_it_happens_too_often(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    for _ in range(11):
        await settle(worker, Released(await claim_one(worker), 1))
    [attempt] = await rig.queue.attempts(task_id)
    assert attempt.outcome is AttemptOutcome.HANDED_BACK
    assert attempt.error == (await rig.queue.get(task_id)).error
    assert "handed back 11 times" in (attempt.error or "")


async def test_a_task_given_back_by_a_heartbeat_leaves_none(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await worker.claim(1)
    await worker.claim(1)
    await renew(rig, worker, [])
    assert await rig.status(task_id) is TaskStatus.QUEUED
    assert await rig.queue.attempts(task_id) == []


async def test_a_long_traceback_keeps_its_beginning_and_its_end(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    traceback = "first\n" + "水" * 10_000 + "\nlast"
    await settle(worker, Failed(task, "E", None, 1, "x" * 300, traceback))
    [attempt] = await rig.queue.attempts(task_id)
    assert attempt.traceback is not None
    assert len(attempt.traceback.encode()) <= MAX_TRACEBACK_BYTES
    assert attempt.traceback.startswith("first\n水")
    assert "\n  …\n" in attempt.traceback
    assert attempt.traceback.endswith("水\nlast")
    assert attempt.error_type == "x" * 200


async def test_odd_texts_of_a_handler_are_kept(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    odd = "a\nb\0c\ud800"
    await settle(worker, Failed(task, odd, None, 1, odd, odd))
    [attempt] = await rig.queue.attempts(task_id)
    assert attempt.error == "a\nb\0c?"
    assert (attempt.error_type, attempt.traceback) == ("a\nb\0c\\ud800", "a\nb\0c\\ud800")


async def test_a_damaged_count_hinders_no_end(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await fail(rig, worker)
    task = await claim_one(worker)
    rig.raw.hset(rig.key(f"task:{task_id}"), "rc", "many")
    assert await settle(worker, Completed(task, b"1", 1)) == [TaskStatus.COMPLETED]
    assert await outcomes(rig, task_id) == [(1, FAILED), (1, COMPLETED)]


async def test_an_entry_that_cannot_be_read_is_left_out(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await fail(rig, worker, retry=False)
    rig.raw.lpush(rig.key(f"attempts:{task_id}"), b"", b"1\nw\n\nx\n1\nfailed\n0\n", b"\xff" * 9)
    assert await outcomes(rig, task_id) == [(1, FAILED)]


async def test_a_list_of_another_type_is_set_aside_by_the_next_attempt(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    rig.raw.set(rig.key(f"attempts:{task_id}"), "x", ex=60)
    assert await rig.queue.attempts(task_id) == []
    await fail(rig, worker, retry=False)
    assert await outcomes(rig, task_id) == [(1, FAILED)]


async def test_a_finish_of_a_first_attempt_costs_no_command_more(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server)
    await rig.submit_many(10)
    worker = await rig.worker()
    tasks = (await worker.claim(10)).tasks
    rig.raw.config_resetstat()
    await settle(worker, *(Completed(task, b"1", 1) for task in tasks))
    calls = {
        name.removeprefix("cmdstat_"): row["calls"]
        for name, row in rig.raw.info("commandstats").items()
    }
    assert calls["hset"] == 10
    assert not {"hget", "rpush", "ltrim"} & set(calls)

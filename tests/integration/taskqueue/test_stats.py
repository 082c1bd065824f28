"""What the queue says of itself: exact, at the same cost at any depth."""

from __future__ import annotations

import time

import pytest

from headrace.taskqueue import (
    BOUNDS_SECONDS,
    MAX_CRASHES,
    Cancelled,
    Completed,
    Failed,
    Histogram,
    Parked,
    Released,
    RunningTask,
    TypeInfo,
)
from headrace.taskqueue.task import utc
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, renew, running, settle
from tests.servers import RedisServer


async def test_known_and_used_queues_stand_in_it(any_rig: Rig) -> None:
    await any_rig.submit(task_type="used")
    await any_rig.worker(queues=("served",))
    stats = await any_rig.queue.stats(["known", "used"])
    assert set(stats.queues) == {"known", "used", "served"}
    assert stats.version == 1
    empty = stats.queues["known"]
    assert (empty.queue_length, empty.running, empty.delayed, empty.due_soon) == (0, 0, 0, 0)
    assert (empty.oldest_age_seconds, empty.failure_rate, empty.service_seconds_mean) == (None,) * 3
    assert stats.at.timestamp() == pytest.approx(time.time(), abs=2)


async def test_rates_and_totals_count_each_kind_of_end(any_rig: Rig) -> None:
    await any_rig.submit_many(6, max_retries=1)
    worker = await any_rig.worker()
    a, b, c, d, e, f = (await worker.claim(6)).tasks
    await settle(
        worker,
        Completed(a, b"1", 100),
        Completed(b, b"1", 300),
        Completed(c, b"1", 200),
        Failed(d, "again", 60_000, 400),
        Failed(e, "never", None, 500),
        Released(f),
    )
    stats = await any_rig.stats()
    # The oldest 5 seconds of the sliding minute count in proportion, and hold nothing of this.
    assert (stats.arrivals_per_minute, stats.completions_per_minute) == (6, 3)
    assert (stats.failures_per_minute, stats.retries_per_minute) == (1, 1)
    assert (stats.crashes_per_minute, stats.failure_rate) == (0, 0.25)
    assert stats.service_seconds_mean == pytest.approx(1.5 / 5)
    assert (stats.arrivals_total, stats.completions_total, stats.failures_total) == (6, 3, 1)
    assert (stats.retries_total, stats.crashes_total) == (1, 0)
    assert stats.service_seconds_total == pytest.approx(1.5)

    *_, last_minute, minute = await any_rig.queue.history(TYPE)
    ends = last_minute.completions + minute.completions
    assert (ends, last_minute.arrivals + minute.arrivals) == (3, 6)
    assert last_minute.service_seconds + minute.service_seconds == pytest.approx(1.5)


async def test_the_history_has_sixty_minutes_the_oldest_first(any_rig: Rig) -> None:
    now = any_rig.now_ms()
    minute = now // 60_000
    for back, arrivals in ((59, 7), (60, 9), (1, 3)):
        key = any_rig.key(f"rates:{TYPE}:{minute - back}")
        any_rig.raw.hset(key, mapping={"a0": arrivals, "a11": 1, "x3": 2, "s5": 1500})
        any_rig.raw.expire(key, 3000)
    history = await any_rig.queue.history(TYPE)
    if any_rig.now_ms() // 60_000 != minute:
        pytest.skip("a minute began during the test")
    assert len(history) == 60
    assert history[-1].minute == utc(minute * 60_000)
    assert (history[0].arrivals, history[58].arrivals, history[59].arrivals) == (8, 4, 0)
    assert (history[58].crashes, history[58].service_seconds) == (2, 1.5)


async def test_the_oldest_waiting_task_gives_the_age(any_rig: Rig) -> None:
    [cancelled, oldest, _] = await any_rig.submit_many(3)
    now = any_rig.now_ms()
    for task_id, age in ((cancelled, 90_000), (oldest, 50_000)):
        any_rig.raw.hset(any_rig.key(f"task:{task_id}"), "c", now - age)
    assert (await any_rig.stats()).oldest_age_seconds == pytest.approx(90, abs=1)
    await any_rig.queue.cancel(cancelled)
    assert (await any_rig.stats()).oldest_age_seconds == pytest.approx(50, abs=1)


async def test_a_task_that_came_back_to_the_front_does_not_hide_older_ones(any_rig: Rig) -> None:
    [first, second] = await any_rig.submit_many(2)
    now = any_rig.now_ms()
    for task_id in (first, second):
        any_rig.raw.hset(any_rig.key(f"task:{task_id}"), "c", now - 50_000)
    worker = await any_rig.worker()
    await settle(worker, Released(await claim_one(worker)))
    assert (await any_rig.stats()).oldest_age_seconds == pytest.approx(50, abs=1)


async def test_due_and_expired_tasks_have_an_age_too(any_rig: Rig) -> None:
    task_id = await any_rig.submit(delay_seconds=60)
    due = any_rig.now_ms() - 30_000
    any_rig.raw.zadd(any_rig.key(f"delayed:{TYPE}"), {task_id: due})
    assert (await any_rig.stats()).oldest_age_seconds == pytest.approx(30, abs=1)
    worker = await any_rig.worker()
    task = await claim_one(worker)
    assert (await any_rig.stats()).oldest_age_seconds is None
    any_rig.expire_lease(task)
    assert (await any_rig.stats()).oldest_age_seconds == pytest.approx(0, abs=1)


async def test_waiting_and_run_times_stand_in_histograms(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    any_rig.raw.hset(any_rig.key(f"task:{task_id}"), "c", any_rig.now_ms() - 7_000)
    worker = await any_rig.worker()
    await settle(worker, Completed(await claim_one(worker), b"1", 4_000_000))
    await any_rig.submit()
    await settle(worker, Failed(await claim_one(worker), "no", None, 20))
    stats = await any_rig.queue.stats()

    waiting = stats.waiting[TYPE]
    assert waiting.counts[BOUNDS_SECONDS.index(10.0)] == 1
    assert sum(waiting.counts) == 2
    assert waiting.sum_seconds == pytest.approx(7, abs=0.5)
    counts = [0] * (len(BOUNDS_SECONDS) + 1)
    counts[-1] = counts[BOUNDS_SECONDS.index(0.02)] = 1
    assert stats.run[TYPE] == Histogram(counts, 4000.02)


async def test_a_park_adds_to_the_service_time_but_ends_nothing(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    await settle(worker, Parked(await claim_one(worker), rig.now_ms(), b"", 700))
    stats = await rig.stats()
    assert (stats.service_seconds_total, stats.service_seconds_mean) == (0.7, None)
    await settle(worker, Completed(await claim_one(worker), b"1", 300))
    stats = await rig.stats()
    assert (stats.service_seconds_total, stats.service_seconds_mean) == (1.0, 0.3)
    *_, last_minute, minute = await rig.queue.history(TYPE)
    assert last_minute.service_seconds + minute.service_seconds == pytest.approx(1.0)


async def test_attempts_that_end_cancelled_count_in_the_mean_run_time(rig: Rig) -> None:
    await rig.submit_many(5)
    worker = await rig.worker()
    a, b, c, d, e = (await worker.claim(5)).tasks
    for task in (b, c, d):
        await rig.queue.cancel(task.id, running=True)
    await settle(
        worker,
        Completed(a, b"1", 1000),
        Completed(b, b"1", 1000),
        Failed(c, "no", 0, 1000),
        Parked(d, rig.now_ms(), b"", 1000),
        Cancelled(e, 1000),
    )
    stats = await rig.stats()
    assert (stats.completions_total, stats.failures_total, stats.retries_total) == (1, 0, 0)
    assert (stats.service_seconds_total, stats.service_seconds_mean) == (5.0, 1.0)


async def test_a_task_failed_for_its_lost_workers_is_no_attempt_of_no_time(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    for _ in range(MAX_CRASHES + 1):
        rig.expire_lease(await claim_one(worker))
    await rig.submit()
    await settle(worker, Completed(await claim_one(worker), b"1", 1000))
    stats = await rig.stats()
    assert (stats.failures_total, stats.service_seconds_mean) == (1, 1.0)


async def test_a_worker_is_shown_with_what_it_runs(any_rig: Rig) -> None:
    await any_rig.submit_many(2)
    worker = await any_rig.worker("w1", queues=(TYPE, "other"))
    a, b = (await worker.claim(2)).tasks
    await renew(any_rig, worker, [a, b])
    [shown] = (await any_rig.queue.stats()).workers
    assert (shown.id, shown.host, shown.pod, shown.pid, shown.version) == (
        *("w1", "host", None, 1, "1"),
    )
    assert (shown.queues, shown.concurrency) == ([TYPE, "other"], 10)
    assert shown.started_at == utc(1_700_000_000_000)
    assert shown.last_seen_at.timestamp() == pytest.approx(time.time(), abs=2)
    assert shown.running == [running(a), running(b)]
    assert (shown.busy_slots, shown.draining, shown.drained) == (2, False, False)
    assert shown.oldest_started_at == utc(min(a.started_at_ms, b.started_at_ms))
    assert shown.expected_free_seconds is None

    # What ended since the heartbeat is not shown, and now a mean run time is known.
    await settle(worker, Completed(a, b"1", 60_000))
    [shown] = (await any_rig.queue.stats()).workers
    assert (shown.running, shown.busy_slots) == ([running(b)], 1)
    assert shown.expected_free_seconds == pytest.approx(60, abs=1)


async def test_what_a_worker_runs_is_shown_from_the_claim_on(any_rig: Rig) -> None:
    """Not from the next heartbeat, up to a third of the lease later."""
    await any_rig.submit_many(3)
    worker = await any_rig.worker()
    [a] = (await worker.claim(1)).tasks
    await renew(any_rig, worker, [a])
    b, c = (await worker.claim(2)).tasks
    [shown] = (await any_rig.queue.stats()).workers
    assert (shown.running, shown.busy_slots) == ([running(a), running(b), running(c)], 3)

    # A second attempt by the same worker is another hold than the one that the heartbeat named.
    await settle(worker, Failed(a, "again", 0, 1), Completed(b, b"1", 1), Completed(c, b"1", 1))
    [again] = (await worker.claim(1)).tasks
    [shown] = (await any_rig.queue.stats()).workers
    assert (again.id, again.attempt) == (a.id, 2)
    assert (shown.running, shown.busy_slots) == ([running(again)], 1)


async def test_a_parked_run_counts_from_its_present_part_on(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    rig.raw.hset(rig.key(f"task:{task.id}"), "b", rig.now_ms() - 3_600_000)
    await settle(worker, Parked(task, 0, b"state", 1))
    await claim_one(worker)
    [shown] = (await rig.queue.stats()).workers
    assert rig.now_ms() - shown.running[0].started_at_ms < 10_000


async def test_a_thread_past_its_time_out_keeps_its_slot(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    await settle(worker, Failed(task, "too slow", None, 1))
    stuck: RunningTask = running(task, timed_out=True)
    await renew(rig, worker, [], busy=[stuck])
    [shown] = (await rig.queue.stats()).workers
    assert (shown.running, shown.busy_slots) == ([stuck], 1)


async def test_a_worker_silent_for_two_leases_is_gone_unless_redis_was(
    any_server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(any_server, lease_seconds=10)
    worker = await rig.worker()
    silent = rig.now_ms() - 20_500
    rig.raw.hset(rig.key("worker:w1"), "seen", silent)
    rig.redis_was_away(30_000)
    assert len((await rig.queue.stats()).workers) == 1
    rig.raw.hset(rig.key("meta"), "grace", 0)
    assert (await rig.queue.stats()).workers == []
    assert rig.raw.zcard(rig.key("workers")) == 0
    await renew(rig, worker)
    assert len((await rig.queue.stats()).workers) == 1


async def test_task_types_stay_known_when_no_worker_is_left(any_rig: Rig) -> None:
    info = TypeInfo(
        name=TYPE,
        payload_schema={"type": "object", "title": "报告"},
        max_retries=5,
        timeout_seconds=None,
        version="1.2",
    )
    worker = await any_rig.worker(types=[info])
    assert await any_rig.queue.types() == {TYPE: info}
    await worker.deregister()
    assert await any_rig.queue.types() == {TYPE: info}


async def test_stats_cost_the_same_commands_at_any_depth(rig: Rig) -> None:
    async def cost() -> dict[str, int]:
        rig.raw.config_resetstat()
        await rig.queue.stats([TYPE])
        calls = {name: value["calls"] for name, value in rig.raw.info("commandstats").items()}
        calls.pop("cmdstat_hset", None)  # that leases are looked after: not at every call
        return calls

    await rig.worker()
    for _ in range(5):
        await rig.submit(delay_seconds=600)
    await rig.submit_many(10)
    shallow = await cost()
    await rig.submit_many(20_000)
    await rig.submit_many(1000, delay_seconds=600)
    # A hundred thousand ids more; the list's head has the records that stats look at.
    rig.raw.rpush(rig.key(f"queue:{TYPE}"), *(f"filler-{n}" for n in range(80_000)))
    assert await rig.length() == 100_010
    assert await cost() == shallow
    whole = {"cmdstat_lrange", "cmdstat_zrange", "cmdstat_keys", "cmdstat_scan"} & shallow.keys()
    assert whole <= {"cmdstat_zrange"}  # of the workers


async def test_the_age_is_looked_for_among_a_bounded_number(rig: Rig) -> None:
    for task_id in await rig.submit_many(300):
        await rig.queue.cancel(task_id)
    await rig.submit()
    rig.raw.config_resetstat()
    assert await rig.length() == 1
    assert rig.raw.info("commandstats")["cmdstat_lindex"]["calls"] <= 100


async def test_what_a_gone_worker_seems_to_hold_is_forgotten_once_no_lease_stands_for_it(
    any_rig: Rig,
) -> None:
    """After Redis lost its last second, two workers can hold a task by the same fence."""
    await any_rig.submit_many(2)
    worker, _ = await any_rig.worker("w1"), await any_rig.worker("w2")
    ended, runs = (await worker.claim(2)).tasks
    any_rig.raw.zrem(any_rig.key(f"leases:{TYPE}"), f"{ended.id}:{ended.fence}")
    any_rig.raw.hset(any_rig.key("worker:w1"), "seen", 0)
    assert [listed.id for listed in (await any_rig.queue.stats()).workers] == ["w2"]
    assert any_rig.raw.hkeys(any_rig.key("held:w1")) == [f"{runs.id}:{runs.fence}".encode()]
    any_rig.expire_lease(runs)
    assert await any_rig.queue.reap([TYPE]) == 1
    await any_rig.queue.stats()
    assert not any_rig.raw.exists(any_rig.key("held:w1"))
    assert any_rig.raw.zrange(any_rig.key("workers"), 0, -1) == [b"w2"]

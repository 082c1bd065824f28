"""The list of tasks: what a filter finds, in which order, page by page."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headrace.taskqueue import (
    BlockingTaskQueue,
    Failed,
    FilterInvalid,
    Task,
    TaskFilter,
    TaskStatus,
    TooManyTypes,
    utc,
)
from tests.integration.taskqueue.rig import PREFIX, Rig, complete, new_task, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ALL_TASKS = TaskFilter()
TYPES = ("crawl", "report", "thumb")
SEEDS = 40


async def pages(rig: Rig, filter: TaskFilter, limit: int) -> AsyncIterator[list[Task]]:
    cursor = None
    while True:
        page = await rig.queue.list_tasks(filter, cursor=cursor, limit=limit)
        yield page.tasks
        cursor = page.cursor
        if cursor is None:
            return
        assert len(page.tasks) == limit or not page.complete


async def listed(rig: Rig, filter: TaskFilter = ALL_TASKS, limit: int = 200) -> list[str]:
    return [task.id async for page in pages(rig, filter, limit) for task in page]


async def populate(rig: Rig, seed: int, count: int = 240) -> None:
    """Tasks of three types in every state, by the moves that lead there."""
    draw = random.Random(seed)
    workers = [await rig.worker(f"w{n}", TYPES) for n in range(2)]
    for _ in range(count // 40):
        await rig.queue.submit_many(
            [
                new_task(
                    draw.choice([b'{"city":"Bonn"}', b'{"city":"Ulm"}', b'"' + b"x" * 300 + b'"']),
                    task_type=draw.choice(TYPES),
                    delay_seconds=draw.choice([None, None, None, draw.randint(60, 90)]),
                    max_retries=draw.choice([0, 3]),
                    tags=draw.choice([(), (), ("red",), ("red", "blue")]),
                )
                for _ in range(40)
            ]
        )
        for worker in workers:
            claim = await worker.claim(12)
            for task in claim.tasks[: draw.randint(6, 11)]:
                if draw.random() < 0.5:
                    await complete(worker, task)
                else:
                    await settle(
                        worker, Failed(task, draw.choice(["no city", "no map"]), 90_000, 1)
                    )
        for page in (await rig.queue.list_tasks(limit=200)).tasks:
            if page.status in (TaskStatus.QUEUED, TaskStatus.PENDING) and draw.random() < 0.05:
                await rig.queue.cancel(page.id)


def everything(rig: Rig) -> list[dict[Any, Any]]:
    """All tasks as they lie in Redis, in the order of a list, read by nothing of the queue's."""
    raw, rows = rig.raw, []

    def section(order: list[tuple[Any, bytes]], status: str) -> None:
        for _, member in order:
            task_id = member.decode().partition(":")[0]
            record = raw.hgetall(f"{PREFIX}task:{task_id}")
            if record[b"s"].decode() == status:
                payload = record.get(b"p") or raw.get(f"{PREFIX}payload:{task_id}")
                rows.append({"id": task_id, "payload": payload, **record})

    def scored(name: str) -> list[tuple[float, bytes]]:
        return [(score, i) for i, score in raw.zrange(PREFIX + name, 0, -1, withscores=True)]

    section(sorted(itertools.chain(*(scored(f"leases:{t}") for t in TYPES))), "running")
    for t in TYPES:
        section([(0, i) for i in raw.lrange(f"{PREFIX}queue:{t}", 0, -1)], "queued")
    names = [f"{index}:{t}" for t in TYPES for index in ("delayed", "retries")]
    section(sorted(itertools.chain(*map(scored, names))), "pending")
    ends = {
        f"{index}:{t}{suffix}": status
        for t in TYPES
        for index, suffix, status in (
            ("dead", "", "failed"),
            ("ended", ":completed", "completed"),
            ("ended", ":cancelled", "cancelled"),
        )
    }
    ended = [(score, i, status) for name, status in ends.items() for score, i in scored(name)]
    for score, i, status in sorted(ended, reverse=True):
        section([(score, i)], status)
    return rows


def fits(row: dict[Any, Any], wanted: TaskFilter) -> bool:
    status, final = row[b"s"].decode(), row[b"s"] in (b"completed", b"failed", b"cancelled")
    created, ended = utc(int(row[b"c"])), utc(int(row[b"e"])) if final else None
    by_end = wanted.ended_after or wanted.ended_before
    return all(
        (
            wanted.type in (None, row[b"t"].decode()),
            wanted.status in (None, status),
            not by_end or ended is not None,
            ended is None or not wanted.ended_after or ended >= wanted.ended_after,
            ended is None or not wanted.ended_before or ended < wanted.ended_before,
            not wanted.created_after or created >= wanted.created_after,
            not wanted.created_before or created < wanted.created_before,
            not wanted.tag or wanted.tag.encode() in row.get(b"o", b""),
            not wanted.q or wanted.q.encode() in row["payload"],
            not wanted.error or wanted.error.encode() in row.get(b"er", b""),
            not wanted.worker or (status == "running" and row[b"w"].decode() == wanted.worker),
        )
    )


def drawn_filter(draw: random.Random, rows: list[dict[Any, Any]]) -> TaskFilter:
    """A filter that can be asked for, its times around those of the tasks."""

    def moment(field: bytes) -> datetime:
        times = sorted(int(row[field]) for row in rows if field in row)
        return utc(draw.choice(times))

    choices: dict[str, Any] = {
        "type": lambda: draw.choice(TYPES),
        "status": lambda: draw.choice(list(TaskStatus)),
        "ended_after": lambda: moment(b"e"),
        "ended_before": lambda: moment(b"e"),
        "created_after": lambda: moment(b"c"),
        "created_before": lambda: moment(b"c"),
        "tag": lambda: draw.choice(["red", "blue"]),
        "q": lambda: draw.choice(["Ulm", "city", "xxx"]),
        "error": lambda: draw.choice(["no", "map"]),
        "worker": lambda: draw.choice(["w0", "w1"]),
    }
    while True:
        names = draw.sample(list(choices), draw.choice([0, 1, 1, 2, 2, 3]))
        drawn = TaskFilter(**{name: choices[name]() for name in names})
        try:
            drawn.check()
        except FilterInvalid:
            continue
        return drawn


@pytest.mark.parametrize("seed", range(1))
async def test_the_pages_together_are_exactly_the_tasks_in_order(any_rig: Rig, seed: int) -> None:
    rig, draw = any_rig, random.Random(seed)
    await populate(rig, seed)
    rows = everything(rig)
    assert set(Counter(row[b"s"] for row in rows)) == {status.encode() for status in TaskStatus}
    assert len(rows) == 240
    for _ in range(SEEDS):
        wanted = drawn_filter(draw, rows)
        expected = [row["id"] for row in rows if fits(row, wanted)]
        limit = draw.choice([1, 3, 7, 50, 200]) if len(expected) < 40 else draw.choice([7, 50, 200])
        worker = wanted.worker is not None
        found = await listed(rig, wanted, limit)
        assert (sorted(found) if worker else found) == (sorted(expected) if worker else expected), (
            wanted,
            limit,
        )
        page = await rig.queue.find_ids(wanted, limit=1000)
        assert page.ids == found


async def test_tasks_that_ended_in_the_same_millisecond_are_listed_once_each(rig: Rig) -> None:
    ids = await rig.submit_many(300)
    rig.raw.delete(rig.key("queue:report"))
    for task_id in ids:
        rig.raw.hset(rig.key(f"task:{task_id}"), mapping={"s": "completed", "e": 1})
        rig.raw.zadd(rig.key("ended:report:completed"), {task_id: 1})
    assert await listed(rig, limit=7) == sorted(ids, reverse=True)
    rig.raw.delete(rig.key("ended:report:completed"), *(rig.key(f"task:{i}") for i in ids))


async def test_claims_and_submits_meanwhile_cost_waiting_tasks_no_place(rig: Rig) -> None:
    await rig.submit_many(600)
    worker = await rig.worker()
    before = await listed(rig, TaskFilter(status=TaskStatus.QUEUED))
    page = await rig.queue.list_tasks(TaskFilter(status=TaskStatus.QUEUED), limit=200)
    await rig.submit_many(2000)
    await worker.claim(150)
    after = await rig.queue.list_tasks(
        TaskFilter(status=TaskStatus.QUEUED), cursor=page.cursor, limit=200
    )
    assert [task.id for task in after.tasks] == before[200:400]
    # And when the last task of the page has gone, too.
    await worker.claim(250)
    again = await rig.queue.list_tasks(
        TaskFilter(status=TaskStatus.QUEUED), cursor=page.cursor, limit=200
    )
    assert [task.id for task in again.tasks] == before[400:600]


async def test_what_is_looked_for_says_when_it_has_not_looked_at_all(rig: Rig) -> None:
    needle = await rig.submit(b'{"n":"needle"}')
    await rig.submit_many(10_500)
    last = await rig.submit(b'{"n":"needle"}')
    wanted = TaskFilter(q="needle")
    page = await rig.queue.list_tasks(wanted)
    assert [task.id for task in page.tasks] == [needle]
    assert (page.scanned, page.complete) == (10_000, False)
    page = await rig.queue.list_tasks(wanted, cursor=page.cursor)
    assert [task.id for task in page.tasks] == [last]
    assert (page.scanned, page.complete, page.cursor) == (502, True, None)


async def test_large_payloads_are_looked_through_in_slices(rig: Rig) -> None:
    large = b'"' + b"x" * 1_000_000 + b'"'
    ids = [await rig.submit(large) for _ in range(8)]
    rig.raw.config_resetstat()
    page = await rig.queue.list_tasks(TaskFilter(q="xxx"))
    assert [task.id for task in page.tasks] == ids
    assert all(task.payload == b"null" for task in page.tasks)
    assert rig.raw.info("commandstats")["cmdstat_evalsha"]["calls"] >= 3


async def test_records_that_cannot_be_used_are_set_aside_and_break_no_page(any_rig: Rig) -> None:
    rig = any_rig
    ids = await rig.submit_many(9)
    worker = await rig.worker()
    for task in (await worker.claim(3)).tasks:
        await complete(worker, task)
    spoilt, wrong, odd, newer = ids[0], ids[4], ids[5], ids[6]
    rig.raw.hset(rig.key(f"task:{spoilt}"), "c", "yesterday")
    rig.raw.delete(rig.key(f"task:{wrong}"))
    rig.raw.lpush(rig.key(f"task:{wrong}"), "no record")
    rig.raw.hset(rig.key(f"task:{odd}"), "s", "sleeping")
    rig.raw.hset(rig.key(f"task:{newer}"), "v", "99")
    good = [ids[3], *ids[7:], *sorted(ids[1:3], reverse=True)]
    assert sorted(await listed(rig, limit=2)) == sorted(good)
    assert sorted(await listed(rig, TaskFilter(tag="red", q="x"))) == []
    for task_id in (spoilt, wrong, odd):
        assert rig.raw.exists(rig.key(f"aside:task:{task_id}"))
    rig.raw.delete(*rig.raw.keys("*"))


async def test_a_list_of_all_types_has_at_most_a_hundred_of_them(rig: Rig) -> None:
    for n in range(100):
        await rig.submit(task_type=f"type{n}")
    assert len(await listed(rig)) == 100
    await rig.submit(task_type="another")
    with pytest.raises(TooManyTypes, match="name one"):
        await rig.queue.list_tasks()
    assert len(await listed(rig, TaskFilter(type="another"))) == 1


@pytest.mark.parametrize(
    ("wanted", "parameter"),
    [
        (TaskFilter(type="No Name"), "type"),
        (TaskFilter(tag="two words"), "tag"),
        (TaskFilter(q=""), "q"),
        (TaskFilter(error="x" * 201), "error"),
        (TaskFilter(worker="w1", status=TaskStatus.FAILED), "worker"),
        (TaskFilter(status=TaskStatus.QUEUED, ended_after=datetime.now(UTC)), "status"),
        (
            TaskFilter(
                created_after=datetime.now(UTC),
                created_before=datetime.now(UTC) - timedelta(days=1),
            ),
            "created_after",
        ),
    ],
)
async def test_a_filter_that_nothing_can_fit_says_what_to_do(
    rig: Rig, wanted: TaskFilter, parameter: str
) -> None:
    with pytest.raises(FilterInvalid) as caught:
        await rig.queue.list_tasks(wanted)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("cursor", ["", "x", "é", "lqZxdWV1ZWQ", "A" * 2000])
async def test_a_cursor_of_nobodys_is_refused(rig: Rig, cursor: str) -> None:
    with pytest.raises(FilterInvalid, match="leave it out"):
        await rig.queue.list_tasks(cursor=cursor)


async def test_the_blocking_client_lists_the_same(rig: Rig) -> None:
    ids = await rig.submit_many(5)
    with BlockingTaskQueue(rig.server.url) as queue:
        page = queue.list_tasks(limit=2)
        rest = queue.list_tasks(cursor=page.cursor)
    assert [task.id for task in (*page.tasks, *rest.tasks)] == ids


async def test_counts_say_when_older_ends_were_cut(rig: Rig) -> None:
    await rig.submit_many(5)
    worker = await rig.worker()
    for task in (await worker.claim(5)).tasks:
        await complete(worker, task)
    assert (await rig.queue.count_tasks())["report"].capped is False
    lease = rig.queue.fenced_lease("trim")
    assert await lease.take()
    assert await lease.trim_ended(3, 100) == (2, False)
    counts = (await rig.queue.count_tasks())["report"]
    assert (counts.completed, counts.capped) == (3, True)

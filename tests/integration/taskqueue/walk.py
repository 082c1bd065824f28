"""What a random walk through the queue's moves stands on, and what is looked at after each step."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from headrace.taskqueue import ClaimedTask, Consumer, TaskStatus
from tests.integration.taskqueue.model import FINAL_STATES, Model, ModelWorker
from tests.integration.taskqueue.rig import Rig
from tests.keyspace import unexpected_keys
from tests.servers import RedisServer

T = TypeVar("T")

QUEUES = {"w1": ["a", "b"], "w2": ["b", "a"], "w3": ["a"]}
TYPES = ("a", "b")
INDEXES = ("queue", "delayed", "retries", "leases")
LEASE_SECONDS = 3600.0
"""So long that none ends by itself during a walk."""


def ended_index(task_type: str, status: TaskStatus) -> str:
    """Where a type's tasks that ended so are found."""
    if status is TaskStatus.FAILED:
        return f"dead:{task_type}"
    return f"ended:{task_type}:{status}"


class Walk(RuleBasedStateMachine):
    """A queue on a server, the model beside it, and what must always be the same in both."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.server.flush()
        self.loop = asyncio.new_event_loop()
        self.rig = Rig(self.server, lease_seconds=LEASE_SECONDS)
        self.model = Model()
        self.consumers: dict[str, Consumer] = {}
        self.hands: dict[str, list[ClaimedTask]] = {worker: [] for worker in QUEUES}
        self.past: list[tuple[str, ClaimedTask]] = []
        """Attempts that their worker has reported, or was told to be lost."""
        self.moments = itertools.count(1_000_000)
        """Times long ago, one after the other."""

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    @initialize()
    def begin(self) -> None:
        for worker, queues in QUEUES.items():
            self.consumers[worker] = self.do(self.rig.worker(worker, queues))
            self.model.workers[worker] = ModelWorker(queues)

    def teardown(self) -> None:
        try:
            assert unexpected_keys(self.server) == []
        finally:
            self.do(self.rig.close())
            self.loop.close()

    # What always holds

    def redis_list(self, task_type: str) -> list[str]:
        return [i.decode() for i in self.rig.raw.lrange(self.rig.key(f"queue:{task_type}"), 0, -1)]

    @invariant()
    def records_are_as_in_the_model(self) -> None:
        tasks = list(self.model.tasks.values())
        for task, record in zip(
            tasks, self.do(self.rig.queue.get_many([task.id for task in tasks])), strict=True
        ):
            assert record is not None
            assert (record.status, record.payload) == (task.status, task.payload)
            assert (record.retry_count, record.crash_count) == (task.retries, task.crashes)
            assert record.cancel_requested is task.stop
            assert (record.started_at is not None) is task.started
            assert (record.completed_at is not None) is task.status.final
            has_time = task.status is TaskStatus.PENDING and task.has_time
            assert (record.due_at is not None) is has_time

    @invariant()
    def counts_are_exact(self) -> None:
        stats = self.do(self.rig.queue.stats(TYPES))
        for task_type in TYPES:
            queue, totals = stats.queues[task_type], self.model.totals[task_type]
            live = [self.model.tasks[i] for i in self.model.live(task_type)]
            delayed = [
                *self.model.timed(task_type, retries=False),
                *self.model.timed(task_type, retries=True),
            ]
            due = [task for task in delayed if task.due is not None]
            expired = self.model.expired(task_type)
            leased = [i for i, _ in self.model.leases if self.model.tasks[i].type == task_type]
            assert queue.queue_length == len(live) + len(due) + len(expired)
            assert queue.running == len(leased) - len(expired)
            assert queue.delayed == len(delayed) - len(due)
            retries = [task for task in (*live, *due) if task.is_retry]
            assert queue.queue_length_retries == len(retries) + len(expired)
            for name in ("arrivals", "completions", "failures", "retries", "crashes"):
                assert getattr(queue, f"{name}_total") == totals[name], name

    @invariant()
    def each_live_task_stands_in_one_index(self) -> None:
        keys = [f"{index}:{task_type}" for index in INDEXES for task_type in TYPES]
        keys += [f"held:{worker}" for worker in QUEUES]
        keys += [ended_index(task_type, status) for task_type in TYPES for status in FINAL_STATES]
        pipe = self.rig.raw.pipeline(transaction=False)
        for key in keys:
            if key.startswith("queue:"):
                pipe.lrange(self.rig.key(key), 0, -1)
            elif key.startswith("held:"):
                pipe.hkeys(self.rig.key(key))
            else:
                pipe.zrange(self.rig.key(key), 0, -1)
        found = {
            key: [member.decode() for member in members]
            for key, members in zip(keys, pipe.execute(), strict=True)
        }
        model, seen = self.model, Counter[str]()
        for task_type in TYPES:
            waiting = found[f"queue:{task_type}"]
            assert waiting == model.lists[task_type]
            seen.update(i for i in waiting if model.tasks[i].status is TaskStatus.QUEUED)
            for index, retries in (("delayed", False), ("retries", True)):
                delayed = found[f"{index}:{task_type}"]
                assert set(delayed) == {t.id for t in model.delayed(task_type, retries=retries)}
                seen.update(delayed)
            leased = [member.rpartition(":")[0] for member in found[f"leases:{task_type}"]]
            assert all(model.tasks[i].type == task_type for i in leased)
            seen.update(leased)
            for status in FINAL_STATES:
                assert set(found[ended_index(task_type, status)]) == {
                    task.id
                    for task in model.tasks.values()
                    if task.type == task_type and task.status is status
                }
        assert seen == Counter(t.id for t in model.tasks.values() if not t.status.final)

        leases = {
            f"{task_id}:{fence}": lease.worker for (task_id, fence), lease in model.leases.items()
        }
        assert {member for t in TYPES for member in found[f"leases:{t}"]} == leases.keys()
        for worker in QUEUES:
            assert set(found[f"held:{worker}"]) == {m for m, w in leases.items() if w == worker}

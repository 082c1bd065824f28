"""The queue as a few lines of plain Python: what the rules of the design say, without Redis.

Time does not pass here. A delayed task becomes due, and a lease ends, when `make_due` and
`expire` say so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.taskqueue import MAX_CRASHES, ClaimedTask, TaskStatus

PENDING, QUEUED, RUNNING = TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RUNNING
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED

FINAL_STATES = (COMPLETED, FAILED, CANCELLED)

REPEATED = {
    "complete": {COMPLETED, FAILED, CANCELLED},
    "cancelled": {COMPLETED, FAILED, CANCELLED},
    "fail": {PENDING, QUEUED, FAILED, CANCELLED},
    "park": {PENDING, QUEUED, CANCELLED},
    "park_on_inbox": {PENDING, QUEUED, CANCELLED},
    "park_on_both": {PENDING, QUEUED, CANCELLED},
    "release": {QUEUED, CANCELLED},
}
"""In which states a report of the attempt that was the last to run is taken for a repeated one."""


@dataclass
class ModelTask:
    """One task."""

    id: str
    type: str
    payload: bytes
    max_retries: int
    status: TaskStatus = QUEUED
    fence: int = 0
    retries: int = 0
    crashes: int = 0
    state: bytes | None = None
    journal: list[bytes] = field(default_factory=list)
    stop: bool = False
    started: bool = False
    restored: bool = False
    """Put back after a loss of data: the hash of its payload is gone."""
    due: int | None = None
    """While pending: when it became due, in order; None: not yet."""
    inbox: list[bytes] = field(default_factory=list)
    seen: int = 0
    """How many of the items in its inbox the last attempt was given."""
    wakes: bool = False
    """While pending: an item in its inbox wakes it."""
    has_time: bool = True
    """While pending: it is due at some time."""

    @property
    def is_retry(self) -> bool:
        return self.retries + self.crashes > 0


@dataclass
class Lease:
    """A worker's hold on a task."""

    worker: str
    request: int
    ended: int | None = None
    """When it ended, in order; None: it holds."""


@dataclass
class ModelWorker:
    """One worker, as the queue knows it."""

    queues: list[str]
    requests: int = 0
    failed_request: int = 0
    """The last claim that brought an error."""
    draining: bool = False

    @property
    def settled_request(self) -> int:
        """Up to which claim all have ended, as far as the worker can say."""
        return self.requests if self.requests == self.failed_request else self.requests - 1


@dataclass
class Model:
    """All of it."""

    tasks: dict[str, ModelTask] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    leases: dict[tuple[str, int], Lease] = field(default_factory=dict)
    workers: dict[str, ModelWorker] = field(default_factory=dict)
    totals: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def live(self, task_type: str) -> list[str]:
        """The ids in a list that are to be claimed, in order."""
        return [i for i in self.lists[task_type] if i in self.tasks and self._waits(i)]

    def _waits(self, task_id: str) -> bool:
        return self.tasks[task_id].status is QUEUED

    def delayed(self, task_type: str, *, retries: bool) -> list[ModelTask]:
        return [
            task
            for task in self.tasks.values()
            if task.type == task_type and task.status is PENDING and task.is_retry is retries
        ]

    def timed(self, task_type: str, *, retries: bool) -> list[ModelTask]:
        """The delayed ones that are due at some time."""
        return [task for task in self.delayed(task_type, retries=retries) if task.has_time]

    def lease_of(self, task: ModelTask) -> Lease:
        return self.leases[task.id, task.fence]

    def expired(self, task_type: str) -> list[ModelTask]:
        """Running tasks whose lease has ended, in the order of that."""
        found = [
            (lease.ended, self.tasks[task_id])
            for (task_id, _), lease in self.leases.items()
            if lease.ended is not None and self.tasks[task_id].type == task_type
        ]
        return [task for _, task in sorted(found, key=lambda pair: pair[0])]

    # Moves

    def submit(self, task: ModelTask, *, delayed: bool) -> None:
        self.tasks[task.id] = task
        self.totals[task.type]["arrivals"] += 1
        if delayed:
            task.status = PENDING
        else:
            self.lists[task.type].append(task.id)

    def look_after(self, task_types: Iterable[str]) -> None:
        """What a claim does first: due tasks enter their list, ended leases are taken back."""
        for task_type in task_types:
            for retries in (False, True):
                due = [t for t in self.delayed(task_type, retries=retries) if t.due is not None]
                for task in sorted(due, key=lambda t: t.due or 0):
                    self._to_the_end(task)
            self.reap(task_type)

    def reap(self, task_type: str) -> int:
        expired = self.expired(task_type)
        for task in expired:
            del self.leases[task.id, task.fence]
            task.crashes += 1
            self.totals[task_type]["crashes"] += 1
            if task.stop:
                self._end(task, CANCELLED)
            elif task.crashes > MAX_CRASHES:
                self._end(task, FAILED)
            else:
                self._to_the_front(task)
        return len(expired)

    def claim(self, worker_id: str, claimed: list[str]) -> None:
        """The worker was given these; the caller has checked that they were its due."""
        worker = self.workers[worker_id]
        for task_id in claimed:
            task = self.tasks[task_id]
            waiting = self.lists[task.type]
            # Whatever stood before it were cancelled ones.
            del waiting[: waiting.index(task_id) + 1]
            task.status, task.started, task.fence = RUNNING, True, task.fence + 1
            task.seen = len(task.inbox)
            self.leases[task.id, task.fence] = Lease(worker_id, worker.requests)

    def report(
        self, kind: str, task_id: str, fence: int, worker_id: str, state: bytes = b""
    ) -> TaskStatus | None:
        """An attempt ends. Returns what the worker is told."""
        task = self.tasks.get(task_id)
        if (task_id, fence) not in self.leases:
            if task is not None and task.fence == fence and task.status in REPEATED[kind]:
                return task.status
            return None
        assert task is not None
        del self.leases[task_id, fence]
        totals = self.totals[task.type]
        if task.stop or kind == "cancelled":
            self._end(task, CANCELLED)
        elif kind == "complete":
            self._end(task, COMPLETED)
            totals["completions"] += 1
        elif kind == "fail" and task.retries < task.max_retries:
            task.status = PENDING
            task.retries += 1
            totals["retries"] += 1
        elif kind == "fail":
            self._end(task, FAILED)
        elif kind in ("park", "park_on_inbox", "park_on_both"):
            task.status, task.crashes = PENDING, 0
            if kind == "park":
                task.journal.append(state)
            else:
                task.state, task.journal = state, []
            del task.inbox[: task.seen]
            task.wakes, task.has_time = kind != "park", kind != "park_on_inbox"
            if task.wakes and task.inbox:
                self._to_the_end(task)
        else:
            self._to_the_front(task)
        return task.status

    def wake(self, task: ModelTask, item: bytes) -> TaskStatus | None:
        """Returns what the caller is told; None: not allowed."""
        if task.status in FINAL_STATES:
            return None
        task.inbox.append(item)
        if task.status is PENDING and task.wakes:
            self._to_the_end(task)
        return task.status

    def cancel(self, task: ModelTask, *, running: bool) -> TaskStatus | None:
        """Returns what the caller is told; None: not allowed."""
        if task.status in (PENDING, QUEUED):
            self._end(task, CANCELLED)
            return CANCELLED
        if task.status is RUNNING and running:
            task.stop = True
            return RUNNING
        return None

    def retry(self, task: ModelTask) -> bool:
        if task.status not in (FAILED, CANCELLED):
            return False
        task.status = QUEUED
        task.retries = task.crashes = 0
        task.stop = task.started = False
        task.inbox = []
        self.totals[task.type]["arrivals"] += 1
        if task.id not in self.lists[task.type]:
            self.lists[task.type].append(task.id)
        return True

    def hand_back(self, worker_id: str, kept: set[tuple[str, int]], up_to: float) -> list[str]:
        """What a worker holds beside `kept` goes back. Returns the ids now at the front."""
        returned = []
        for key, lease in list(self.leases.items()):
            if lease.worker == worker_id and key not in kept and lease.request <= up_to:
                del self.leases[key]
                task = self.tasks[key[0]]
                if task.stop:
                    self._end(task, CANCELLED)
                else:
                    self._to_the_front(task)
                    returned.append(task.id)
        return returned

    def forget_everything(self) -> None:
        """Redis loses its data."""
        self.tasks.clear()
        self.lists.clear()
        self.leases.clear()
        self.totals.clear()
        for worker in self.workers.values():
            worker.draining = False

    def restore(self, worker_id: str, held: list[ClaimedTask]) -> list[bool]:
        """A worker puts back what it holds. Returns for each whether it holds it again."""
        request = self.workers[worker_id].requests
        for claimed in held:
            if claimed.id not in self.tasks:
                self.tasks[claimed.id] = ModelTask(
                    claimed.id,
                    claimed.type,
                    claimed.payload,
                    claimed.max_retries,
                    status=RUNNING,
                    fence=claimed.fence,
                    retries=claimed.retry_count,
                    crashes=claimed.crash_count,
                    state=claimed.state,
                    journal=list(claimed.journal),
                    inbox=list(claimed.inbox),
                    seen=len(claimed.inbox),
                    started=True,
                    restored=True,
                )
                self.leases[claimed.id, claimed.fence] = Lease(worker_id, request)
        return [
            (claimed.id, claimed.fence) in self.leases
            and self.leases[claimed.id, claimed.fence].worker == worker_id
            for claimed in held
        ]

    def _end(self, task: ModelTask, status: TaskStatus) -> None:
        task.status, task.due, task.state, task.journal = status, None, None, []
        task.wakes, task.has_time = False, True
        if status is FAILED:
            self.totals[task.type]["failures"] += 1

    def _to_the_end(self, task: ModelTask) -> None:
        task.status, task.due, task.wakes, task.has_time = QUEUED, None, False, True
        self.lists[task.type].append(task.id)

    def _to_the_front(self, task: ModelTask) -> None:
        task.status = QUEUED
        self.lists[task.type].insert(0, task.id)

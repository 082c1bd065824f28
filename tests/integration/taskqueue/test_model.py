"""Random walks through the queue's moves, on a real server and in the model, side by side.

A few seconds in a normal run, always the same walks; HEADRACE_THOROUGH=1 walks longer, again each
time and on every kind of server.
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from headrace.taskqueue import (
    Cancelled,
    Claim,
    ClaimedTask,
    Completed,
    EpochChanged,
    Failed,
    IdempotencyConflict,
    NotAllowed,
    Parked,
    Released,
    Settlement,
    Submitted,
    TaskStatus,
    consumer,
    idempotent_id,
)
from tests.integration.taskqueue.model import FINAL_STATES, ModelTask
from tests.integration.taskqueue.rig import new_task, running
from tests.integration.taskqueue.walk import QUEUES, TYPES, Walk
from tests.servers import KINDS, Kind, available, default_kind

THOROUGH = os.environ.get("HEADRACE_THOROUGH") == "1"
WALKS = settings(
    max_examples=150 if THOROUGH else 40,
    stateful_step_count=100 if THOROUGH else 50,
    derandomize=not THOROUGH,
    database=None,
    deadline=None,
    print_blob=True,
    # Making a failing walk shorter takes minutes.
    phases=tuple(Phase) if THOROUGH else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)

PAYLOADS = (b"[]", b'"' + b"x" * 100 + b'"')
workers = st.sampled_from(sorted(QUEUES))
types = st.sampled_from(TYPES)
picks = st.integers(0, 1000)
"""Which of those that there are."""
kinds = st.sampled_from(
    ["complete", "fail", "park", "park_on_inbox", "park_on_both", "release", "cancelled"]
)


class QueueMachine(Walk):
    """Each rule makes one call and holds its answer against the model's."""

    # Clients

    @rule(
        task_type=types,
        count=st.integers(1, 4),
        delayed=st.booleans(),
        max_retries=st.integers(0, 2),
        payload=st.sampled_from(PAYLOADS),
    )
    def submit(
        self, task_type: str, count: int, delayed: bool, max_retries: int, payload: bytes
    ) -> None:
        batch = [
            new_task(
                payload,
                task_type=task_type,
                max_retries=max_retries,
                delay_seconds=3600 if delayed else None,
            )
            for _ in range(count)
        ]
        submitted = self.do(self.rig.queue.submit_many(batch))
        status = TaskStatus.PENDING if delayed else TaskStatus.QUEUED
        assert submitted == [Submitted(task.id, status, True) for task in batch]
        for task in batch:
            added = ModelTask(task.id, task.type, payload, max_retries)
            self.model.submit(added, delayed=delayed)

    @rule(task_type=types, key=st.sampled_from("xy"), payload=st.sampled_from(PAYLOADS))
    def submit_by_key(self, task_type: str, key: str, payload: bytes) -> None:
        task = new_task(payload, task_type=task_type, task_id=idempotent_id(task_type, key))
        earlier = self.model.tasks.get(task.id)
        try:
            submitted = self.do(self.rig.queue.submit(task))
        except IdempotencyConflict:
            assert earlier is not None
            assert earlier.payload != payload
            return
        if earlier is None:
            assert submitted == Submitted(task.id, TaskStatus.QUEUED, True)
            self.model.submit(ModelTask(task.id, task_type, payload, 3), delayed=False)
        else:
            assert submitted == Submitted(task.id, earlier.status, False)
            assert earlier.restored or earlier.payload == payload

    @precondition(lambda self: self.model.tasks)
    @rule(pick=picks, running=st.booleans())
    def cancel(self, pick: int, running: bool) -> None:
        task = self.chosen(pick)
        before, refused = task.status, None
        expected = self.model.cancel(task, running=running)
        try:
            assert self.do(self.rig.queue.cancel(task.id, running=running)) is expected
        except NotAllowed as error:
            refused = error
            assert expected is None
        assert refused is None or refused.status == before

    @precondition(lambda self: self.model.tasks)
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        task = self.chosen(pick)
        ended = [t for t in self.model.tasks.values() if t.status in FINAL_STATES]
        if ended and pick % 4:
            task = ended[pick % len(ended)]
        allowed = self.model.retry(task)
        try:
            assert self.do(self.rig.queue.retry(task.id)) is TaskStatus.QUEUED
            assert allowed
        except NotAllowed:
            assert not allowed

    @precondition(lambda self: self.model.tasks)
    @rule(pick=picks, item=st.binary(max_size=100))
    def wake(self, pick: int, item: bytes) -> None:
        task = self.chosen(pick)
        likely = [t for t in self.model.tasks.values() if t.wakes or t.status is TaskStatus.RUNNING]
        if likely and pick % 4:
            task = likely[pick % len(likely)]
        self.put_into_the_inbox(task, item)

    def put_into_the_inbox(self, task: ModelTask | None, item: bytes) -> None:
        if task is None:
            return
        expected = self.model.wake(task, item)
        try:
            assert self.do(self.rig.queue.wake(task.id, item)) is expected
        except NotAllowed:
            assert expected is None

    def chosen(self, pick: int) -> ModelTask:
        tasks = list(self.model.tasks.values())
        return tasks[pick % len(tasks)]

    # Workers

    @rule(worker=workers, limit=st.integers(1, 4))
    def claim(self, worker: str, limit: int) -> None:
        self.model.workers[worker].requests += 1
        claim = self.do(self.consumers[worker].claim(limit))
        self.check_claim(worker, limit, claim)

    def check_claim(self, worker: str, limit: int, claim: Claim, *, tended: bool = True) -> None:
        """Hold a claim against the model. Not `tended`: a busy worker's, beside its reports."""
        modelled = self.model.workers[worker]
        claimable = {task_type: self.model.live(task_type) for task_type in modelled.queues}
        if tended or (not modelled.draining and sum(map(len, claimable.values())) < limit):
            for task_type in modelled.queues:
                if not tended:  # what waited is taken first
                    self.model.lists[task_type].clear()
            self.model.look_after(modelled.queues)
            later = self.something_is_to_come(modelled.queues)
            assert (claim.next_in_seconds is not None) is later
            for task_type, waiting in claimable.items():
                came = self.model.live(task_type)
                claimable[task_type] = came if tended else waiting + came
                if not tended:
                    self.model.lists[task_type][:0] = waiting
        else:
            assert claim.next_in_seconds is None
        assert claim.draining is modelled.draining
        wanted = min(limit, sum(map(len, claimable.values())))
        assert len(claim.tasks) == (0 if modelled.draining else wanted)
        for task_type, waiting in claimable.items():
            taken = [task.id for task in claim.tasks if task.type == task_type]
            assert taken == waiting[: len(taken)]
            others = [queue for queue in modelled.queues if queue != task_type]
            if tended and any(claimable[queue] for queue in others) and limit > 1 and waiting:
                assert taken or modelled.draining, "this queue was passed over"
        self.model.claim(worker, [task.id for task in claim.tasks])
        if not modelled.draining and len(claim.tasks) < limit:
            for task_type in modelled.queues:  # only cancelled ones were left, and are skipped
                self.model.lists[task_type].clear()
        else:
            self.skip_as_redis_did(modelled.queues)
        assert claim.more is any(self.model.lists[task_type] for task_type in modelled.queues)
        for task in claim.tasks:
            expected = self.model.tasks[task.id]
            assert (task.fence, task.retry_count) == (expected.fence, expected.retries)
            assert (task.crash_count, task.max_retries) == (expected.crashes, expected.max_retries)
            assert (task.payload, task.state) == (expected.payload, expected.state)
            assert task.journal == tuple(expected.journal)
            assert list(task.inbox) == expected.inbox
        self.hands[worker] += claim.tasks

    def something_is_to_come(self, queues: list[str]) -> bool:
        """Whether a task of these queues is delayed or runs."""
        delayed = any(
            self.model.timed(task_type, retries=retries)
            for task_type in queues
            for retries in (False, True)
        )
        return delayed or any(self.model.tasks[i].type in queues for i, _ in self.model.leases)

    def skip_as_redis_did(self, queues: list[str]) -> None:
        """A claim may also have skipped cancelled ones behind what it took."""
        for task_type in queues:
            waiting = self.model.lists[task_type]
            left = self.redis_list(task_type)
            skipped = waiting[: len(waiting) - len(left)]
            assert waiting[len(skipped) :] == left
            assert all(self.model.tasks[i].status is not TaskStatus.QUEUED for i in skipped)
            del waiting[: len(skipped)]

    @precondition(lambda self: any(self.hands.values()))
    @rule(pick=picks, kind=kinds, items=st.lists(st.binary(max_size=100), max_size=2))
    def report(self, pick: int, kind: str, items: list[bytes]) -> None:
        held = [(worker, task) for worker, tasks in self.hands.items() for task in tasks]
        worker, task = held[pick % len(held)]
        for item in items:  # what came while it ran
            self.put_into_the_inbox(self.model.tasks.get(task.id), item)
        self.hands[worker].remove(task)
        self.past.append((worker, task))
        self.settle(worker, task, kind)

    @precondition(lambda self: any(self.hands.values()))
    @rule(pick=picks, kind=kinds, limit=st.integers(1, 4))
    def report_and_claim(self, pick: int, kind: str, limit: int) -> None:
        held = [(worker, task) for worker, tasks in self.hands.items() for task in tasks]
        worker, task = held[pick % len(held)]
        self.hands[worker].remove(task)
        self.past.append((worker, task))
        expected = self.model.report(kind, task.id, task.fence, worker, b"state")
        self.model.workers[worker].requests += 1
        settlements = [self.settlement(kind, task)]
        statuses, claim = self.do(self.consumers[worker].settle(settlements, limit))
        assert statuses == [expected]
        assert claim is not None
        self.check_claim(worker, limit, claim, tended=False)

    @precondition(lambda self: self.past)
    @rule(pick=picks, kind=kinds)
    def report_again_or_too_late(self, pick: int, kind: str) -> None:
        worker, task = self.past[pick % len(self.past)]
        self.settle(worker, task, kind)

    def settle(self, worker: str, task: ClaimedTask, kind: str) -> None:
        expected = self.model.report(kind, task.id, task.fence, worker, b"state")
        statuses, _ = self.do(self.consumers[worker].settle([self.settlement(kind, task)]))
        assert statuses == [expected]

    def settlement(self, kind: str, task: ClaimedTask) -> Settlement:
        in_an_hour = self.rig.now_ms() + 3_600_000
        settlements: dict[str, Settlement] = {
            "complete": Completed(task, PAYLOADS[task.fence % 2], 5),
            "fail": Failed(task, "no", 3_600_000, 5),
            "park": Parked(task, in_an_hour, None, 5, entries=[b"state"]),
            "park_on_inbox": Parked(task, None, b"state", 5, wake_on="inbox"),
            "park_on_both": Parked(task, in_an_hour, b"state", 5, wake_on="inbox"),
            "release": Released(task),
            "cancelled": Cancelled(task, 5),
        }
        return settlements[kind]

    @precondition(lambda self: any(self.hands.values()) or self.past)
    @rule(pick=picks)
    def checkpoint_and_progress(self, pick: int) -> None:
        held = [(worker, task) for worker, tasks in self.hands.items() for task in tasks]
        worker, task = [*held, *self.past][pick % len([*held, *self.past])]
        holds = (task.id, task.fence) in self.model.leases
        holder, state = self.consumers[worker], b"checkpoint %d" % pick
        assert self.do(holder.checkpoint(task, state)) is holds
        assert self.do(holder.progress(task, 50, "half")) is holds
        if holds:
            self.model.tasks[task.id].state = state
            self.model.tasks[task.id].journal = []

    @precondition(lambda self: any(self.hands.values()) or self.past)
    @rule(pick=picks)
    def append(self, pick: int) -> None:
        held = [(worker, task) for worker, tasks in self.hands.items() for task in tasks]
        worker, task = [*held, *self.past][pick % len([*held, *self.past])]
        holds = (task.id, task.fence) in self.model.leases
        journal = self.model.tasks[task.id].journal if holds else []
        task = msgspec.structs.replace(task, journal=tuple(journal))
        assert self.do(self.consumers[worker].append(task, [b"%d" % pick])) is holds
        if holds:
            journal.append(b"%d" % pick)

    @precondition(lambda self: any(self.hands.values()))
    @rule(worker=workers)
    def crash(self, worker: str) -> None:
        """The worker forgets what it holds: it died, or a claim's reply was lost."""
        self.forget(worker)

    @rule(worker=workers, busy=st.booleans())
    def renew(self, worker: str, busy: bool) -> None:
        mine, modelled = self.consumers[worker], self.model.workers[worker]
        held = self.hands[worker]
        keys = {(task.id, task.fence) for task in held}
        settled = mine.settled_request
        assert settled == modelled.settled_request
        slots = [running(task) for task in held] if busy else []
        renewal = self.rig.renewer(mine).renew(held, slots, settled)

        lost = [task.hold for task in held if (task.id, task.fence) not in self.model.leases]
        assert renewal.lost == lost
        for key in keys & self.model.leases.keys():
            self.model.leases[key].ended = None
        assert renewal.cancelled == [
            task.hold for task in held if task.hold not in lost and self.model.tasks[task.id].stop
        ]
        self.hand_back(worker, keys, settled)
        still = any(lease.worker == worker for lease in self.model.leases.values())
        assert renewal.draining is modelled.draining
        assert renewal.drained is (modelled.draining and not slots and not still)
        self.past += [(worker, task) for task in held if task.hold in lost]
        self.hands[worker] = [task for task in held if task.hold not in lost]

    def hand_back(self, worker: str, kept: set[tuple[str, int]], up_to: float) -> None:
        """In the model; in which order they came to the front is left to Redis."""
        returned = self.model.hand_back(worker, kept, up_to)
        for task_type in TYPES:
            front = {i for i in returned if self.model.tasks[i].type == task_type}
            waiting, real = self.model.lists[task_type], self.redis_list(task_type)
            assert set(real[: len(front)]) == front
            waiting[: len(front)] = real[: len(front)]

    @rule(worker=workers)
    def leave_and_come_back(self, worker: str) -> None:
        leaving = self.consumers[worker]
        self.do(leaving.deregister())
        self.forget(worker)
        self.hand_back(worker, set(), float("inf"))
        self.model.workers[worker].draining = False
        self.do(leaving.register())

    def forget(self, worker: str) -> None:
        self.past += [(worker, task) for task in self.hands[worker]]
        self.hands[worker] = []

    @rule(worker=workers, marked=st.booleans())
    def drain(self, worker: str, marked: bool) -> None:
        queue = self.rig.queue
        self.do(queue.drain(worker) if marked else queue.undrain(worker))
        self.model.workers[worker].draining = marked

    # Time, and what befalls

    @precondition(lambda self: any(lease.ended is None for lease in self.model.leases.values()))
    @rule(pick=picks)
    def a_lease_ends(self, pick: int) -> None:
        holding = [key for key, lease in self.model.leases.items() if lease.ended is None]
        task_id, fence = holding[pick % len(holding)]
        self.model.leases[task_id, fence].ended = moment = next(self.moments)
        leases = self.rig.key(f"leases:{self.model.tasks[task_id].type}")
        self.rig.raw.zadd(leases, {f"{task_id}:{fence}": moment}, xx=True)

    @precondition(lambda self: self.not_due())
    @rule(pick=picks)
    def a_delayed_task_is_due(self, pick: int) -> None:
        waiting = self.not_due()
        task = waiting[pick % len(waiting)]
        task.due = next(self.moments)
        index = "retries" if task.is_retry else "delayed"
        self.rig.raw.zadd(self.rig.key(f"{index}:{task.type}"), {task.id: task.due}, xx=True)

    def not_due(self) -> list[ModelTask]:
        tasks = self.model.tasks.values()
        pending = [task for task in tasks if task.status is TaskStatus.PENDING and task.has_time]
        return [task for task in pending if task.due is None]

    @rule(task_type=types)
    def reap(self, task_type: str) -> None:
        assert self.do(self.rig.queue.reap([task_type])) == self.model.reap(task_type)

    @precondition(lambda self: len(self.model.tasks) > 8)
    @rule()
    def redis_loses_its_data(self) -> None:
        self.server.flush()
        self.model.forget_everything()
        # Fences begin again: who was told that a task is gone must report it no more.
        self.past.clear()
        for worker, holder in self.consumers.items():
            held = self.hands[worker]
            try:
                self.do(holder.settle([], 1))
                raise AssertionError("the loss was not noticed")
            except EpochChanged:
                modelled = self.model.workers[worker]
                modelled.requests += 1
                modelled.failed_request = modelled.requests
            kept = self.do(holder.restore(held))
            assert kept == self.model.restore(worker, held)
            self.hands[worker] = [task for task, ok in zip(held, kept, strict=True) if ok]


@pytest.mark.timeout(190 if THOROUGH else 120)
@pytest.mark.parametrize("kind", KINDS if THOROUGH else [default_kind()])
def test_the_queue_behaves_as_its_model(
    kind: Kind, shared_servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy worker's claim tends the queues by the clock: here never, unless it has to.
    monkeypatch.setattr(consumer, "TEND_SECONDS", float("inf"))

    class OnThisServer(QueueMachine):
        server = shared_servers.get(available(kind))

    run_state_machine_as_test(OnThisServer, settings=WALKS)

"""Large payloads, results and states: no call carries so much that it outlasts its time-out."""

from __future__ import annotations

import pytest

from headrace.taskqueue import ENOUGH_BYTES, Claim, ClaimedTask, Parked, TaskStatus
from tests.integration.taskqueue.rig import Rig, claim_one, complete, ids, new_task, settle

MIB = 1_048_576
LARGE = b'"' + b"x" * (MIB - 2) + b'"'


async def claim_all(rig: Rig, busy: bool) -> list[Claim]:
    """Claim as a worker does: again as long as more waits."""
    worker = await rig.worker()
    claims: list[Claim] = []
    while not claims or claims[-1].more:
        claim = (await worker.settle([], 1000))[1] if busy else await worker.claim(1000)
        assert claim is not None
        claims.append(claim)
    return claims


@pytest.mark.parametrize("busy", [False, True])
async def test_a_claim_takes_no_more_bytes_than_get_through(rig: Rig, busy: bool) -> None:
    submitted = await rig.submit_many(3)
    submitted += [await rig.submit(LARGE) for _ in range(9)]
    submitted += await rig.submit_many(3)
    claims = await claim_all(rig, busy)
    assert [len(claim.tasks) for claim in claims] == [7, 4, 4]
    assert [task_id for claim in claims for task_id in ids(claim)] == submitted
    assert [len(task.payload) for claim in claims for task in claim.tasks].count(MIB) == 9
    assert (await rig.stats()).running == 15


async def test_large_tasks_of_one_queue_leave_the_others_theirs(rig: Rig) -> None:
    large = [await rig.submit(LARGE, task_type="large") for _ in range(6)]
    small = await rig.submit_many(2, task_type="small")
    worker = await rig.worker(queues=("small", "large"))
    first, second = await worker.claim(100), await worker.claim(100)
    assert first.more
    assert not second.more
    assert sorted(ids(first) + ids(second)) == sorted(large + small)


async def test_kept_states_count_as_payloads_do(rig: Rig) -> None:
    await rig.submit_many(3)
    worker = await rig.worker()
    state = b"x" * ENOUGH_BYTES
    for task in (await worker.claim(3)).tasks:
        await settle(worker, Parked(task, rig.now_ms() - 1, state, 1))
    for more in (True, True, False):
        claim = await worker.claim(3)
        assert [task.state for task in claim.tasks] == [state]
        assert claim.more is more


async def test_what_a_worker_holds_is_put_back_in_calls_that_get_through(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(9):
        await rig.submit(LARGE)
    await rig.submit_many(2)
    worker = await rig.worker()
    held: list[ClaimedTask] = []
    while len(held) < 11:
        held += (await worker.claim(100)).tasks
    sizes: list[int] = []
    real = worker._call

    async def call(name: str, args: list[object]) -> object:
        if name == "restore":
            sizes.append(sum(len(arg) for arg in args if isinstance(arg, bytes)))
        return await real(name, args)

    monkeypatch.setattr(worker, "_call", call)
    rig.server.flush()
    assert await worker.restore(held) == [True] * 11
    assert len(sizes) == 3
    assert max(sizes) < ENOUGH_BYTES + 2 * MIB
    assert (await rig.stats()).running == 11
    assert await complete(worker, held[0]) is TaskStatus.COMPLETED
    assert [task.id for task in (await worker.claim(1)).tasks] == []


async def test_a_task_larger_than_all_that_is_claimed_at_once_is_still_claimed(rig: Rig) -> None:
    queue = rig.another_queue(max_payload_bytes=8 * MIB)
    payload = b'"' + b"x" * 6 * MIB + b'"'
    await queue.submit(new_task(payload))
    worker = await rig.worker()
    assert (await claim_one(worker)).payload == payload

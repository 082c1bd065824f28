"""The fallback's rules, with a fake queue that fails as it is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from headrace.client.opening import type_info
from headrace.contract.problems import QUEUE_DISABLED, QUEUE_UNAVAILABLE, SUBMIT_UNCONFIRMED
from headrace.handlers import Context, handler
from headrace.taskqueue import (
    NewTask,
    NoReply,
    NotConfirmed,
    NotSent,
    Submitted,
    Task,
    TaskNotFound,
    TaskQueue,
    TaskStatus,
    new_id,
)
from headrace_api.http.problems import Problem
from headrace_api.tasks import availability as availability_module
from headrace_api.tasks.availability import Availability, RedisState
from headrace_api.tasks.inline import InlineRunner
from headrace_api.tasks.submission import Admission, InlineRun, Submission
from headrace_api.tasks.task_types import TaskTypeEntry

if TYPE_CHECKING:
    from collections.abc import Iterator


@handler("echo")
async def echo(ctx: Context, payload: Any) -> Any:
    return payload


class FailingQueue:
    """Answers each submit with the next of these: an error, None for success, or never."""

    HANG = object()

    def __init__(self, *answers: Any) -> None:
        self._answers: Iterator[Any] = iter(answers)
        self.asked: list[str] = []

    async def submit(self, task: NewTask) -> Submitted:
        self.asked.append(task.id)
        answer = next(self._answers)
        if answer is self.HANG:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return Submitted(task.id, TaskStatus.QUEUED, created=task.id not in self.asked[:-1])

    async def get(self, task_id: str) -> Task:
        raise TaskNotFound(task_id)

    async def store_final(self, task: Task) -> bool:
        return bool(next(self._answers))


def parts(queue: FailingQueue | None) -> tuple[Submission, Availability]:
    taken = cast("TaskQueue | None", queue)
    availability = Availability(taken, tuple)
    inline = InlineRunner(max_running=2, timeout_seconds=5, max_result_bytes=1000)
    return Submission(taken, availability, inline, 1000), availability


def admission(**changes: Any) -> Admission:
    keyed = changes.pop("keyed", False)
    handler = changes.pop("handler", echo)
    task = NewTask(**{"type": "echo", "payload": b'{"a":1}', "id": new_id(), **changes})
    return Admission(task, TaskTypeEntry(type_info(echo), handler, None), keyed)


async def test_a_submit_that_was_provably_not_sent_runs_inside_the_request() -> None:
    queue = FailingQueue(NotSent("refused"))
    submit, availability = parts(queue)
    wanted = admission()
    outcome = await submit.enqueue(wanted)
    assert isinstance(outcome, InlineRun)
    assert outcome.task.status is TaskStatus.COMPLETED
    assert outcome.task.result == b'{"a":1}'
    assert not outcome.stored
    assert availability.state is RedisState.UNAVAILABLE


async def test_while_the_circuit_is_open_redis_is_not_asked() -> None:
    queue = FailingQueue()
    submit, availability = parts(queue)
    availability.lost(NotSent("refused"))
    assert isinstance(await submit.enqueue(admission()), InlineRun)
    assert queue.asked == []


async def test_after_a_time_out_the_same_id_is_sent_once_more() -> None:
    queue = FailingQueue(NoReply("no answer"), None)
    submit, _ = parts(queue)
    wanted = admission()
    outcome = await submit.enqueue(wanted)
    assert isinstance(outcome, Submitted)
    assert queue.asked == [wanted.task.id] * 2


@pytest.mark.parametrize("keyed", [False, True])
async def test_only_a_key_can_have_been_submitted_before(keyed: bool) -> None:
    submit, _ = parts(FailingQueue(NoReply("carried out all the same"), None))
    outcome = await submit.enqueue(admission(keyed=keyed))
    assert isinstance(outcome, Submitted)
    assert outcome.created is not keyed


async def test_a_submit_whose_copies_are_not_confirmed_is_a_503_and_no_outage() -> None:
    queue = FailingQueue(NotConfirmed("0 of 1 replicas"))
    submit, availability = parts(queue)
    wanted = admission()
    with pytest.raises(Problem) as caught:
        await submit.enqueue(wanted)
    assert caught.value.kind is SUBMIT_UNCONFIRMED
    assert caught.value.extensions == {"task_id": wanted.task.id}
    assert queue.asked == [wanted.task.id]
    assert availability.usable


async def test_a_submit_waits_for_the_run_under_the_same_key() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    @handler("waiting")
    async def waiting(ctx: Context, payload: Any) -> None:
        begun.set()
        await finish.wait()

    queue = FailingQueue(True, None)
    submit, _ = parts(queue)
    inside = asyncio.create_task(submit.run_inline(admission(handler=waiting, id="k", keyed=True)))
    await begun.wait()
    through = asyncio.create_task(submit.enqueue(admission(handler=waiting, id="k", keyed=True)))
    await asyncio.sleep(0.01)
    assert queue.asked == []
    finish.set()
    ran = await inside
    assert isinstance(ran, InlineRun)
    assert ran.stored
    assert isinstance(await through, Submitted)
    assert queue.asked == ["k"]


async def test_a_run_whose_record_was_not_taken_is_not_called_stored() -> None:
    submit, _ = parts(FailingQueue(False))
    ran = await submit.run_inline(admission(id="k", keyed=True))
    assert isinstance(ran, InlineRun)
    assert ran.task.status is TaskStatus.COMPLETED
    assert not ran.stored


@pytest.mark.parametrize("second", [NoReply("again"), NotSent("refused now"), FailingQueue.HANG])
async def test_a_submit_that_stays_unsure_is_a_503_that_names_the_task_and_never_runs(
    second: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability_module, "DECIDE_SECONDS", 0.1)
    queue = FailingQueue(NoReply("no answer"), second)
    submit, availability = parts(queue)
    wanted = admission()
    with pytest.raises(Problem) as caught:
        await submit.enqueue(wanted)
    assert caught.value.kind is SUBMIT_UNCONFIRMED
    assert caught.value.extensions == {"task_id": wanted.task.id}
    assert availability.state is RedisState.UNAVAILABLE


async def test_a_queue_that_never_answers_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(availability_module, "DECIDE_SECONDS", 0.05)
    submit, _ = parts(FailingQueue(FailingQueue.HANG))
    with pytest.raises(Problem) as caught:
        await submit.enqueue(admission())
    assert caught.value.kind is SUBMIT_UNCONFIRMED


@pytest.mark.parametrize(
    "changes",
    [
        {"keyed": True},
        {"start_at": datetime.now(UTC) + timedelta(hours=1)},
        {"handler": None},
    ],
    ids=["with an idempotency key", "with a start time", "without a handler here"],
)
async def test_some_requests_never_run_inside_the_request(changes: dict[str, Any]) -> None:
    submit, _ = parts(FailingQueue(NotSent("refused")))
    with pytest.raises(Problem) as caught:
        await submit.enqueue(admission(**changes))
    assert caught.value.kind is QUEUE_UNAVAILABLE
    assert int(caught.value.headers["Retry-After"]) >= 1

    switched_off, _ = parts(None)
    with pytest.raises(Problem) as caught:
        await switched_off.enqueue(admission(**changes))
    assert caught.value.kind is QUEUE_DISABLED

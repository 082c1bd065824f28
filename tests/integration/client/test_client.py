"""The client's calls, over the API and directly to Redis, with a worker as a process."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from headrace import (
    AsyncClient,
    Client,
    Context,
    Park,
    ResultInvalid,
    TaskCancelled,
    TaskFailed,
    WaitTimeout,
    handler,
)
from headrace.client import errors, sync_client
from headrace.status import TaskStatus
from tests.integration.client.conftest import System

SECONDS = 20.0


class Napped(BaseModel):
    """What `nap` returns, as a model."""

    attempt: int


# The worker has handlers of the same names: see tests/integration/worker/package.


@handler("nap")
async def nap(ctx: Context, seconds: float) -> Napped:
    raise NotImplementedError


@handler("act")
async def act(ctx: Context, steps: list[str]) -> dict[str, int] | Park:
    raise NotImplementedError


@handler("nap")
async def misread(ctx: Context, seconds: float) -> list[int]:
    raise NotImplementedError


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


def test_a_result_is_as_the_handlers_return_type_has_it(client: Client) -> None:
    handle = client.submit(nap, 0.01, tags=["nightly"])
    assert handle.result(SECONDS) == Napped(attempt=1)
    assert handle.get().status is TaskStatus.COMPLETED
    assert handle.get().tags == ("nightly",)
    assert client.submit("nap", 0).result(SECONDS) == {"attempt": 1}
    assert client.handle(handle.id, nap).result(0) == Napped(attempt=1)


def test_a_result_of_another_type_is_said_to_be_one(client: Client) -> None:
    with pytest.raises(ResultInvalid, match="may have another version"):
        client.submit(misread, 0).result(SECONDS)


def test_a_failed_task_says_why(client: Client) -> None:
    handle = client.submit(act, ["fail once"], max_retries=0)
    with pytest.raises(TaskFailed, match="ConnectionError: refused") as raised:
        handle.result(SECONDS)
    assert raised.value.error_type == "ConnectionError"
    assert "raise ConnectionError" in (raised.value.traceback or "")
    assert raised.value.task.task_id == handle.id
    assert handle.wait(0).status is TaskStatus.FAILED
    assert handle.retry() is TaskStatus.QUEUED
    assert handle.wait(SECONDS).status is TaskStatus.FAILED


def test_a_task_with_a_start_time_waits_and_can_be_cancelled(client: Client) -> None:
    later = client.submit(nap, 0, start_at=datetime.now(UTC) + timedelta(hours=1))
    soon = client.submit(nap, 0, start_in=timedelta(hours=1))
    assert later.get().status is soon.get().status is TaskStatus.PENDING
    with pytest.raises(WaitTimeout, match="has not ended within"):
        later.result(timeout=0.2)
    assert later.cancel() is TaskStatus.CANCELLED
    with pytest.raises(TaskCancelled):
        later.result()
    with pytest.raises(errors.NotAllowed):
        later.cancel()
    soon.cancel()


def test_a_running_task_can_be_asked_to_stop(client: Client) -> None:
    handle = client.submit(nap, 30)
    deadline = time.monotonic() + SECONDS
    while handle.get().status is not TaskStatus.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert handle.cancel(running=True) is TaskStatus.RUNNING
    with pytest.raises(TaskCancelled):
        handle.result(SECONDS)


def test_a_live_task_is_shown_at_each_change_until_its_end(client: Client) -> None:
    records = list(client.submit(nap, 1.5, start_in=0.5).live())
    seen = [record.status for record in records]
    assert (seen[0], seen[-2:]) == (TaskStatus.PENDING, [TaskStatus.RUNNING, TaskStatus.COMPLETED])
    assert len(set(seen)) == len(seen)
    assert records[-1].result == {"attempt": 1}
    [record] = client.handle(records[-1].task_id).live()
    assert record.status is TaskStatus.COMPLETED


def test_the_same_key_is_the_same_task(client: Client) -> None:
    key = str(uuid.uuid4())
    first = client.submit(nap, 0, key=key)
    assert client.submit(nap, 0, key=key).id == first.id
    with pytest.raises(errors.IdempotencyConflict):
        client.submit(nap, 1, key=key)
    many = client.submit_many(nap, [0, 0], key=key)
    again = client.submit_many(nap, [0, 0], key=key)
    assert [handle.id for handle in many] == [handle.id for handle in again]
    assert len({first.id, *(handle.id for handle in many)}) == 3


def test_both_ways_a_key_is_the_same_task(system: System) -> None:
    key = str(uuid.uuid4())
    with Client(system.url("http")) as over_http, Client(system.url("redis")) as direct:
        assert over_http.submit("nap", 0, key=key).id == direct.submit("nap", 0, key=key).id
        pairs = [client.submit_many("nap", [0, 0], key=key) for client in (over_http, direct)]
        ids = [[handle.id for handle in handles] for handles in pairs]
        assert ids[0] == ids[1]


def test_many_are_gathered_in_order_and_completed_as_they_end(client: Client) -> None:
    handles = client.submit_many(nap, [0.3, 0.0, 0.0])
    assert client.gather(handles, SECONDS) == [Napped(attempt=1)] * 3
    slow, quick = client.submit_many(nap, [0.5, 0.0])
    assert list(client.as_completed([slow, quick], SECONDS)) == [quick, slow]
    bad = client.submit(act, ["give up"])
    slow = client.submit(nap, 5)
    with pytest.raises(TaskFailed):
        client.gather([slow, bad], SECONDS)
    with pytest.raises(WaitTimeout) as raised:
        list(client.as_completed([slow, bad], 0.1))
    assert raised.value.task_ids == [slow.id]
    slow.cancel(running=True)


def test_what_is_not_there_is_said_so(client: Client) -> None:
    handle = client.handle(str(uuid.uuid4()))
    with pytest.raises(errors.TaskNotFound):
        handle.get()
    with pytest.raises(errors.TaskNotFound):
        handle.result(1)
    assert list(client.as_completed([handle], 1)) == [handle]


def test_a_payload_that_the_handler_would_refuse_is_not_sent(client: Client) -> None:
    with pytest.raises(errors.InvalidPayload, match="valid array"):
        client.submit(act, "no list")  # type: ignore[misc]


@pytest.mark.parametrize(
    "options",
    [
        {"start_at": datetime(2100, 1, 1)},  # noqa: DTZ001
        {"start_at": datetime(2100, 1, 1, tzinfo=UTC), "start_in": 1},
        {"key": "a", "fallback": "inline"},
        {"key": ""},
        {"key": "a\nb"},
        {"tags": "nightly"},
        {"fallback": "later"},
    ],
)
def test_options_that_make_no_sense_are_refused(client: Client, options: dict) -> None:
    with pytest.raises(ValueError, match=r"start_at|key|tags|fallback"):
        client.submit(nap, 0, **options)


def test_an_option_that_there_is_not_is_refused_not_ignored(client: Client) -> None:
    with pytest.raises(TypeError, match=r"takes no start_on: .*start_in.*Did you mean 'start_"):
        client.submit(nap, 0, start_on=60)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="takes no countdown"):
        client.submit_many(nap, [0], countdown=60)  # type: ignore[call-overload]


def test_threads_share_a_client(client: Client) -> None:
    found: list[object] = []

    def work() -> None:
        found.extend(client.submit(nap, 0).result(SECONDS) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Napped(attempt=1)] * 40


def test_a_forked_process_goes_on_with_connections_of_its_own(client: Client) -> None:
    client.submit(nap, 0)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
        child = os.fork()
    if child == 0:
        try:
            os.write(writing, client.submit("nap", 0).id.encode())
        finally:
            os._exit(0)
    ids = {client.submit("nap", 0).id for _ in range(20)}
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert theirs not in ids
    assert client.handle(theirs, nap).result(SECONDS) == Napped(attempt=1)


async def test_on_an_event_loop_the_same_calls_are_awaited(url: str) -> None:
    async with AsyncClient(url) as client:
        handle = await client.submit(nap, 0.01)
        assert await handle.result(SECONDS) == Napped(attempt=1)
        assert (await handle.get()).status is TaskStatus.COMPLETED
        handles = await client.submit_many(nap, [0.3, 0.0])
        ended = [handle async for handle in client.as_completed(handles, SECONDS)]
        assert ended == handles[::-1]
        assert await client.gather(handles) == [Napped(attempt=1)] * 2
        assert [record.status async for record in handles[0].live()] == [TaskStatus.COMPLETED]
        waiting = await client.submit(nap, 0, start_in=3600)
        with pytest.raises(WaitTimeout):
            await waiting.wait(0.1)
        assert await waiting.cancel() is TaskStatus.CANCELLED
        with pytest.raises(TaskCancelled):
            await waiting.result()
        assert await waiting.retry() is TaskStatus.QUEUED


async def test_a_blocking_call_on_an_event_loop_warns_once_and_names_the_other(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_client, "_warned", False)
    with Client(url) as client, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        handle = client.submit(nap, 0)
        handle.get()
        assert await asyncio.to_thread(handle.result, SECONDS) == Napped(attempt=1)
    [warning] = caught
    assert "await AsyncClient.submit" in str(warning.message)
    assert warning.filename == __file__


def test_a_workflow_is_executed(system: System) -> None:
    with Client(system.url("http")) as client:
        result = client.execute("hello", {"name": "Ada"}, tags=["t"]).result(SECONDS)
        assert result["variables"]["greeting"] == "Hello, Ada!"
        with pytest.raises(errors.WorkflowNotFound):
            client.execute("no-such-workflow")
    with Client(system.url("redis")) as client, pytest.raises(errors.NotSupported, match="http://"):
        client.execute("hello")

"""What the client says of all tasks, queues, workers, workflows and bulk operations."""

from __future__ import annotations

import inspect
import time
import uuid
from datetime import datetime, timedelta

import pytest

from headrace import AsyncClient, AsyncTaskHandle, Client, TaskHandle
from headrace.client import errors, parts
from headrace.status import TaskStatus
from tests.integration.client.conftest import System

SECONDS = 20.0


def test_tasks_are_listed_by_a_filter_and_page_by_page(url: str) -> None:
    tag = f"t:{uuid.uuid4()}"
    with Client(url) as client:
        handles = client.submit_many("nap", [0] * 5, tags=[tag], start_in=3600)
        page = client.tasks.list(type="nap", status="pending", tag=tag, limit=3)
        assert len(page.items) == 3
        rest = client.tasks.list(type="nap", status="pending", tag=tag, cursor=page.next_cursor)
        ids = [task.task_id for task in (*page.items, *rest.items)]
        assert sorted(ids) == sorted(handle.id for handle in handles)
        found = client.tasks.iter(type="nap", status=TaskStatus.PENDING, tag=tag)
        assert [task.task_id for task in found] == ids
        assert handles[0].run_now() in (TaskStatus.QUEUED, TaskStatus.RUNNING)
        handles[0].wait(SECONDS)
        handles[0].delete()
        with pytest.raises(errors.TaskNotFound):
            handles[0].get()
        with pytest.raises(errors.NotAllowed):
            handles[1].delete()
        with pytest.raises(errors.InvalidRequest, match="status"):
            client.tasks.list(worker="w", status="pending")
        with pytest.raises(ValueError, match="has no time zone"):
            client.tasks.list(ended_after=datetime(2026, 1, 1))  # noqa: DTZ001
        with pytest.raises(TypeError, match=r"takes no state: .*Did you mean 'status'"):
            client.tasks.list(state="pending")  # type: ignore[call-arg]


def test_a_task_that_waits_says_why_and_can_be_changed(system: System) -> None:
    with Client(system.url("http")) as client:
        handle = client.submit("nap", 0, start_in=3600)
        assert handle.why().status is TaskStatus.PENDING
        assert handle.edit(tags=["late"], start_in=timedelta(hours=2)) is TaskStatus.PENDING
        assert handle.get().tags == ("late",)
        handle.cancel()
        with pytest.raises(errors.NotAllowed):
            handle.edit(max_retries=1)


def test_the_api_says_how_the_installation_is(system: System) -> None:
    with Client(system.url("http")) as client:
        client.submit("nap", 0).result(SECONDS)
        assert client.tasks.counts().counts["nap"].completed >= 1
        assert client.queues.stats().queues["nap"].completions_total >= 1
        assert client.queues.history("nap").queues.keys() == {"nap"}
        [worker] = client.workers.list()
        assert client.workers.drain(worker.id).draining
        assert not client.workers.undrain(worker.id).draining
        assert "hello" in {it.workflow_id for it in client.workflows.list().workflows}
        assert client.workflows.get("hello").definition
        assert "nap" in {task_type.name for task_type in client.task_types.list()}
        with pytest.raises(errors.WorkerNotFound):
            client.workers.drain("nobody")


def test_many_tasks_are_cancelled_by_one_operation(system: System) -> None:
    tag = f"t:{uuid.uuid4()}"
    with Client(system.url("http")) as client:
        client.submit_many("nap", [0] * 5, tags=[tag], start_in=3600)
        dry = client.bulk.dry_run("cancel", type="nap", tag=tag)
        assert (dry.count, len(dry.samples)) == (5, 3)
        started = client.bulk.start("cancel", type="nap", tag=tag, name="by a test")
        deadline = time.monotonic() + SECONDS
        while (bulk := client.bulk.get(started.bulk_id)).status != "completed":
            assert time.monotonic() < deadline, bulk
            time.sleep(0.05)
        assert (bulk.total, bulk.done, bulk.failed) == (5, 5, 0)
        assert started.bulk_id in {it.bulk_id for it in client.bulk.list()}
        client.bulk.stop(started.bulk_id)


def test_redis_alone_does_not_know_all_and_says_so(system: System) -> None:
    with (
        Client(system.url("redis")) as client,
        pytest.raises(errors.NotSupported, match="/api/workers needs the API"),
    ):
        client.workers.list()


async def test_on_an_event_loop_they_are_the_same(system: System) -> None:
    tag = f"t:{uuid.uuid4()}"
    async with AsyncClient(system.url("http")) as client:
        handles = await client.submit_many("nap", [0] * 3, tags=[tag], start_in=3600)
        found = [task.task_id async for task in client.tasks.iter(type="nap", tag=tag)]
        assert sorted(found) == sorted(handle.id for handle in handles)
        assert (await client.bulk.dry_run("cancel", type="nap", tag=tag)).count == 3
        assert await client.workers.list()


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [
        (Client, AsyncClient),
        (TaskHandle, AsyncTaskHandle),
        *(
            (getattr(parts, name), getattr(parts, f"Async{name}"))
            for name in ("Bulk", "Queues", "TaskTypes", "Tasks", "Workers", "Workflows")
        ),
    ],
    ids=lambda cls: cls.__name__,
)
def test_both_clients_have_the_same_calls_with_the_same_parameters(
    blocking: type, awaited: type
) -> None:
    def calls(cls: type) -> dict[str, list[str]]:
        return {
            name: [str(it.replace(annotation=it.empty)) for it in _parameters(function)]
            for name, function in inspect.getmembers(cls, inspect.isfunction)
            if not name.startswith("_")
        }

    assert calls(blocking) == calls(awaited)


def _parameters(function: object) -> list[inspect.Parameter]:
    assert callable(function)
    return list(inspect.signature(function).parameters.values())

"""What runs beside the requests outlives every defect in what it reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from headrace.contract.problems import QUEUE_UNAVAILABLE, TASK_TYPE_UNKNOWN
from headrace.handlers import load_registry
from headrace.taskqueue import NoReply, TaskQueue, TypeInfo
from headrace_api.http.problems import Problem
from headrace_api.tasks import availability as availability_module
from headrace_api.tasks import definitions, task_types
from headrace_api.tasks.availability import Availability, decide_by
from headrace_api.tasks.definitions import Definitions
from headrace_api.tasks.task_types import TaskTypes

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.workflows import Catalog


def info(name: str, schema: dict[str, Any]) -> TypeInfo:
    return TypeInfo(
        name=name, payload_schema=schema, max_retries=3, timeout_seconds=None, version="1"
    )


class PublishingQueue:
    """Answers each reading of the types with the next of these; the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    async def types(self) -> dict[str, TypeInfo]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return {task.name: task for task in answer}


def made(*answers: Any) -> TaskTypes:
    queue = cast("TaskQueue", PublishingQueue(*answers))
    return TaskTypes(load_registry([]), queue, Availability(queue, tuple))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; for 5 s at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


async def test_types_are_read_again_after_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_types, "REFRESH_SECONDS", 0.001)
    types = made(RuntimeError("a defect"), NoReply("late"), [info("fresh", {})])
    reading = asyncio.create_task(types.run())
    await until(lambda: "fresh" in types.names())
    reading.cancel()


@pytest.mark.parametrize("reference", ["#/$defs/missing", "https://example.org/schema"])
async def test_a_schema_that_leads_nowhere_checks_nothing_and_hinders_no_other(
    reference: str,
) -> None:
    types = made([info("odd", {"$ref": reference}), info("sound", {"type": "integer"})])
    odd = await types.get("odd", decide_by())
    odd.check(b'{"anything": 1}', "/payload")
    with pytest.raises(Problem):
        (await types.get("sound", decide_by())).check(b'"text"', "/payload")


async def test_a_type_that_nobody_published_is_unknown() -> None:
    with pytest.raises(Problem) as caught:
        await made([]).get("nobodys", decide_by())
    assert caught.value.kind is TASK_TYPE_UNKNOWN


@pytest.mark.parametrize("answer", [None, NoReply("late")])
async def test_a_type_that_redis_cannot_be_asked_for_in_time_is_a_503(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability_module, "DECIDE_SECONDS", 0.05)
    types = made(answer)
    async with asyncio.timeout(2):
        asked = [types.get("perhaps", decide_by()) for _ in range(5)]
        found = await asyncio.gather(*asked, return_exceptions=True)
    for error in found:
        assert isinstance(error, Problem)
        assert error.kind is QUEUE_UNAVAILABLE


class BrokenCatalog:
    """A folder of workflows that cannot be read at first."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.workflows: dict[str, Any] = {}
        self.errors: list[Any] = []
        self.read = False

    def refresh(self) -> bool:
        if self._errors:
            raise self._errors.pop(0)
        self.read = True
        return True


async def test_workflows_are_read_again_after_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "REFRESH_SECONDS", 0.001)
    catalog = BrokenCatalog(OSError("gone"), RuntimeError("a defect"))
    reading = asyncio.create_task(Definitions(cast("Catalog", catalog)).run())
    await until(lambda: catalog.read)
    reading.cancel()

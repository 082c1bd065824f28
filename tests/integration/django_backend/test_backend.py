"""What Django's documentation of task backends promises, against a real queue and worker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from headrace import Client
from headrace.django import HeadraceBackend
from headrace.django.names import (
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)
from headrace.django.running import django_task
from headrace.testing import Headrace
from tests.integration.django_backend import sample_tasks
from tests.integration.django_backend.sample_tasks import (
    add,
    add_async,
    after_commit,
    fails,
    fails_twice,
    returns_no_json,
)

try:
    from django.tasks.exceptions import InvalidTask, TaskResultMismatch
except ImportError:
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.exceptions import TaskResultMismatch


@pytest.fixture(autouse=True)
def clients(headrace: Headrace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test's backends have clients of its own, closed at its end."""
    headrace.serve(django_task)
    client = Client()
    monkeypatch.setattr(HeadraceBackend, "client", client)
    sample_tasks.CALLS.clear()
    yield
    client.close()


@pytest.fixture
def signals() -> Iterator[list[tuple[str, Any]]]:
    seen: list[tuple[str, Any]] = []
    receivers: list[tuple[Any, Callable[..., None]]] = []
    for name, signal in (
        ("enqueued", task_enqueued),
        ("started", task_started),
        ("finished", task_finished),
    ):

        def receive(*, task_result: Any, name: str = name, **_: Any) -> None:
            seen.append((name, task_result.status))

        signal.connect(receive, weak=False)
        receivers.append((signal, receive))
    yield seen
    for signal, receive in receivers:
        signal.disconnect(receive)


def test_a_task_is_enqueued_and_its_result_is_refreshed(headrace: Headrace) -> None:
    result = add.enqueue(2, b=3)
    assert (result.status, result.is_finished) == (TaskResultStatus.READY, False)
    assert result.enqueued_at is not None
    assert (result.args, result.kwargs, result.attempts) == ([2], {"b": 3}, 0)
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value
    headrace.run_pending()
    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 5)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.last_attempted_at == result.started_at
    assert (result.attempts, result.errors) == (1, [])


def test_a_result_is_read_elsewhere_by_its_id(headrace: Headrace) -> None:
    task_id = add.using(queue_name="mails").enqueue(2).id
    headrace.run_pending()
    found = add.get_result(task_id)
    assert (found.return_value, found.args, found.task.queue_name) == (3, [2], "mails")
    with pytest.raises(TaskResultMismatch):
        fails.get_result(task_id)


async def test_it_is_used_in_async_code(headrace: Headrace) -> None:
    result = await add_async.aenqueue(2, 3)
    headrace.run_pending()
    await result.arefresh()
    assert result.return_value == 5
    assert (await add_async.aget_result(result.id)).return_value == 5


@pytest.mark.parametrize("task_id", ["nonsense", "00000000-0000-4000-8000-000000000001"])
def test_a_result_that_is_not_there_does_not_exist(task_id: str) -> None:
    with pytest.raises(TaskResultDoesNotExist):
        add.get_result(task_id)


def test_the_result_of_another_task_type_does_not_exist(headrace: Headrace) -> None:
    other = headrace.submit("other_type", {})
    with pytest.raises(TaskResultDoesNotExist):
        add.get_result(other.id)


def test_a_failure_is_kept_with_class_and_traceback(headrace: Headrace) -> None:
    result = fails.enqueue()
    headrace.run_pending(raises=False)
    result.refresh()
    assert (result.status, result.is_finished) == (TaskResultStatus.FAILED, True)
    [error] = result.errors
    assert error.exception_class is ZeroDivisionError
    assert "a very own error" in error.traceback
    assert "sample_tasks.py" in error.traceback
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


def test_a_result_that_is_no_json_is_a_failure(headrace: Headrace) -> None:
    result = returns_no_json.enqueue()
    headrace.run_pending(raises=False)
    result.refresh()
    assert result.errors[0].exception_class is TypeError


def test_arguments_that_are_no_json_are_refused_and_nothing_is_queued(headrace: Headrace) -> None:
    with pytest.raises(TypeError):
        add.enqueue(object())
    headrace.assert_submitted(django_task, count=0)


def test_it_is_retried_as_often_as_the_option_says(headrace: Headrace) -> None:
    result = fails_twice.enqueue("Ada")
    headrace.run_pending()
    result.refresh()
    assert (result.status, len(result.errors)) == (TaskResultStatus.READY, 1)
    headrace.run_until_empty()
    result.refresh()
    assert result.return_value == ["Ada", 3, result.id]
    assert result.attempts == 3
    assert [error.exception_class for error in result.errors] == [LookupError, LookupError]


def test_signals_are_sent(headrace: Headrace, signals: list[tuple[str, Any]]) -> None:
    add.enqueue(1)
    assert signals == [("enqueued", TaskResultStatus.READY)]
    headrace.run_pending()
    fails.enqueue()
    headrace.run_pending(raises=False)
    assert signals[1:] == [
        ("started", TaskResultStatus.RUNNING),
        ("finished", TaskResultStatus.SUCCESSFUL),
        ("enqueued", TaskResultStatus.READY),
        ("started", TaskResultStatus.RUNNING),
        ("finished", TaskResultStatus.FAILED),
    ]


def test_a_task_waits_for_its_time(headrace: Headrace) -> None:
    assert HeadraceBackend.supports_defer
    result = add.using(run_after=datetime.now(UTC) + timedelta(days=1)).enqueue(1)
    headrace.run_pending()
    result.refresh()
    assert result.status == TaskResultStatus.READY
    headrace.advance(timedelta(days=1))
    headrace.run_pending()
    result.refresh()
    assert result.return_value == 2


def test_what_is_not_supported_is_refused() -> None:
    assert not HeadraceBackend.supports_priority
    with pytest.raises(InvalidTask, match="priority"):
        add.using(priority=5)
    with pytest.raises(InvalidTask, match=r"Queue .* is not valid"):
        add.using(queue_name="unheard-of")
    with pytest.raises(InvalidTask, match="aware"):
        add.using(run_after=datetime(2030, 1, 1))  # noqa: DTZ001
    backend = HeadraceBackend("default", {})
    with pytest.raises(InvalidTask, match="module level"):
        type(add)(func=lambda: None, backend="default")
    assert backend.supports_async_task
    assert backend.supports_get_result


def test_after_commit_nothing_is_submitted_before_the_commit(headrace: Headrace) -> None:
    with transaction.atomic():
        result = after_commit.enqueue()
        headrace.assert_submitted(django_task, count=0)
        assert result.enqueued_at is None
    [submitted] = headrace.assert_submitted(django_task, count=1)
    assert submitted.id == result.id
    headrace.run_pending()
    result.refresh()
    assert result.return_value == "committed"


def test_after_a_rollback_nothing_is_submitted(headrace: Headrace) -> None:
    with transaction.atomic():
        after_commit.enqueue()
        transaction.set_rollback(True)
    headrace.assert_submitted(django_task, count=0)


MODULE = "tests.integration.django_backend.sample_tasks"


@pytest.mark.parametrize("path", ["os.system", "this.s", f"{MODULE}.not_a_task", "", "add"])
def test_no_path_runs_what_is_not_decorated_or_imports_anything(
    headrace: Headrace, path: str
) -> None:
    handle = headrace.submit("django_task", {"task": path, "args": ["true"]})
    headrace.run_pending(raises=False)
    assert "no function decorated with @task" in (handle.get().error or "")
    assert sample_tasks.CALLS == []
    assert "this" not in sys.modules


@pytest.mark.parametrize("options", [{"MAX_RETRIES": 1000}, {"RETRIES": 1}])
def test_a_wrong_option_is_named(options: dict[str, int]) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"TASKS\['default'\].*RETRIES"):
        HeadraceBackend("default", {"OPTIONS": options})

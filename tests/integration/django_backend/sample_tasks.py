"""What the tests enqueue."""

from __future__ import annotations

from typing import Any

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task

CALLS: list[str] = []


@task
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    CALLS.append("add")
    return a + b


@task
async def add_async(a: int, b: int) -> int:
    """Add two numbers, on an event loop."""
    return a + b


@task(takes_context=True, backend="retrying")
def fails_twice(context: Any, name: str) -> list[Any]:
    """Fail at the first two attempts."""
    if context.attempt < 3:
        raise LookupError(f"{name}: attempt {context.attempt}")
    return [name, context.attempt, context.task_result.id]


@task
def fails() -> None:
    """Fail."""
    raise ZeroDivisionError("a very own error")


@task
def returns_no_json() -> Any:
    """Return what JSON cannot hold."""
    return object()


@task(backend="committing")
def after_commit() -> str:
    """Nothing much."""
    return "committed"


def not_a_task() -> None:
    """Never to be called by a path in a payload."""
    CALLS.append("not_a_task")

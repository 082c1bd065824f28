"""What a worker loads by its entry points. Without DJANGO_SETTINGS_MODULE: nothing.

This module is loaded by every worker, so it imports neither Django nor what needs it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from headrace.handlers import TaskType

TASK_TYPES: list[TaskType[Any, Any]] = []

if os.environ.get("DJANGO_SETTINGS_MODULE"):
    from headrace.django.running import django_task

    TASK_TYPES.append(django_task)


@asynccontextmanager
async def django_ready() -> AsyncIterator[None]:
    """Set Django up before the first attempt, and import each app's module `tasks`."""
    if TASK_TYPES:
        import django

        from headrace.django.finding import import_tasks

        await asyncio.to_thread(django.setup)  # in a thread: it may query the database
        await asyncio.to_thread(import_tasks)
    yield

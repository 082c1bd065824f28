"""Finds a function that is decorated with `@task`, by its path. Nothing is imported for a path."""

from __future__ import annotations

import sys

from django.utils.module_loading import autodiscover_modules

from headrace.django.names import Task


def import_tasks() -> None:
    """Import the module `tasks` of each installed app."""
    autodiscover_modules("tasks")


def find_task(path: str) -> Task | None:
    """The task of this path, such as `shop.tasks.send_mail`, in a module that is imported.

    A path comes out of the queue. So it never makes anything be imported, and nothing but a
    function decorated with `@task` is found.
    """
    module = sys.modules.get(path.rpartition(".")[0])
    for value in list(vars(module).values()) if module is not None else ():
        if isinstance(value, Task) and value.module_path == path:
            return value
    return None

"""All task types that a process knows: the built-in ones, and those of installed packages.

A package adds its own by an entry point of the group `headrace.handlers`, in its pyproject.toml:

    [project.entry-points."headrace.handlers"]
    photos = "photos.tasks"                 # all task types that this module holds
    resize = "photos.images:resize"         # or this one alone
    all = "photos.plugins:TASK_TYPES"       # or a list, which may be empty
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

from headrace.handlers.entry_points import called, loaded
from headrace.handlers.errors import DuplicateType, EntryPointBroken, RegistrationError
from headrace.handlers.task_type import TaskType

ENTRY_POINT_GROUP = "headrace.handlers"


class Registry:
    """Task types by name."""

    def __init__(self, types: Iterable[TaskType[Any, Any]] = ()) -> None:
        self._types: dict[str, TaskType[Any, Any]] = {}
        for task_type in types:
            self.add(task_type)

    def add(self, task_type: TaskType[Any, Any]) -> None:
        """Add one. The same object twice is not an error: a module may import another's.

        Raises:
            DuplicateType: another one carries this name.
        """
        registered = self._types.setdefault(task_type.name, task_type)
        if registered is not task_type:
            raise DuplicateType(task_type.name, registered.where, task_type.where)

    @property
    def by_name(self) -> Mapping[str, TaskType[Any, Any]]:
        """All of them by name, to be read."""
        return self._types

    def get(self, name: str) -> TaskType[Any, Any] | None:
        """The task type of this name, or None."""
        return self._types.get(name)

    def types(self) -> list[TaskType[Any, Any]]:
        """All of them, by name."""
        return [self._types[name] for name in sorted(self._types)]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._types)

    def chosen(self, names: Iterable[str]) -> list[TaskType[Any, Any]]:
        """The task types of these names, all of them when none are given.

        Raises:
            RegistrationError: one of the names is unknown.
        """
        wanted = list(dict.fromkeys(names)) or self.names()
        unknown = [name for name in wanted if name not in self._types]
        if unknown:
            raise RegistrationError(
                f"no handler is installed for {', '.join(unknown)}: known are "
                f"{', '.join(self.names()) or 'none'}. Install the package that brings it, or "
                "correct QUEUES"
            )
        return [self._types[name] for name in wanted]


def load_registry(builtins: Iterable[TaskType[Any, Any]] = ()) -> Registry:
    """The built-in task types given, and those of every installed package.

    Raises:
        EntryPointBroken: a package's entry point cannot be imported, or holds no task type.
        DuplicateType: two packages use one name.
    """
    registry = Registry(builtins)
    for point, target in loaded(ENTRY_POINT_GROUP):
        for task_type in _found(point, target):
            registry.add(task_type)
    return registry


def _found(point: EntryPoint, target: object) -> Iterator[TaskType[Any, Any]]:
    """The task types behind one entry point."""
    found = _task_types(target)
    if not found and target != []:
        raise EntryPointBroken(
            called(point),
            "it leads to no task type: it must name a function decorated with @handler, or a "
            "module that holds some",
        )
    for task_type in found:
        if not task_type.version and point.dist is not None:
            task_type.version = point.dist.version
        yield task_type


def _task_types(target: Any) -> list[TaskType[Any, Any]]:
    if isinstance(target, TaskType):
        return [target]
    if isinstance(target, ModuleType):
        target = list(vars(target).values())
    if isinstance(target, list):
        return [value for value in target if isinstance(value, TaskType)]
    return []

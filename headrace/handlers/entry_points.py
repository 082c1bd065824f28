"""Loads what installed packages name in their entry points."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from headrace.handlers.context import Lifespan
from headrace.handlers.errors import EntryPointBroken
from headrace.handlers.failures import describe
from headrace.handlers.middleware import Middleware


def loaded(group: str) -> Iterator[tuple[EntryPoint, object]]:
    """Each entry point of a group and what it names, by the names of the points.

    Raises:
        EntryPointBroken: one of them cannot be imported.
    """
    for point in sorted(entry_points(group=group), key=lambda it: (it.name, it.value)):
        try:
            target = point.load()
        except Exception as error:
            # Importing runs the package's own code, so anything may come: named, never swallowed.
            raise EntryPointBroken(called(point), f"{describe(error)}{_place(error)}") from error
        yield point, target


def load_middleware() -> list[Middleware]:
    """The middleware of every installed package, the outermost first.

    Raises:
        EntryPointBroken: one of them is no async function.
    """
    found: list[Middleware] = []
    for point, target in loaded("headrace.middleware"):
        call = target if inspect.isroutine(target) else getattr(target, "__call__", None)  # noqa: B004
        if not inspect.iscoroutinefunction(call):
            raise EntryPointBroken(
                called(point),
                "it must name an `async def` function (ctx, call_next) -> Handled",
            )
        found.append(cast("Middleware", target))
    return found


def load_lifespans() -> list[Lifespan[Any]]:
    """The lifespans of every installed package, in the order in which they are entered.

    Raises:
        EntryPointBroken: one of them makes no async context manager.
    """
    found: list[Lifespan[Any]] = []
    for point, target in loaded("headrace.lifespan"):
        if not callable(target) or inspect.isasyncgenfunction(target):
            raise EntryPointBroken(
                called(point), "it must name a function decorated with @asynccontextmanager"
            )
        found.append(target)
    return found


def called(point: EntryPoint) -> str:
    """An entry point as its package spells it, and the package."""
    package = f" of the package {point.dist.name}" if point.dist is not None else ""
    return f'{point.name} = "{point.value}"{package}'


def _place(error: Exception) -> str:
    """Which line of a module was being run, as ` (photos/tasks.py, line 12)`."""
    if isinstance(error, SyntaxError):
        return ""  # Python's own message names file and line
    modules = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "<module>"]
    return f" ({modules[-1].filename}, line {modules[-1].lineno})" if modules else ""

"""The event loop of a process that runs handlers: no handler can end it.

`sys.exit()` in an asyncio task of a handler's own (a `TaskGroup`, `create_task`) leaves the event
loop as SystemExit, and the process would be gone without a word. So do KeyboardInterrupt and
`loop.stop()`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from headrace.logs import get_logger

T = TypeVar("T")
log = get_logger(__name__)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a process's main coroutine to its end, on uvloop where there is one.

    What ends the event loop before that is logged, and the loop goes on. A handler that awaits the
    task that called `sys.exit()` gets SystemExit from it, as it gets every other error.
    """
    runner = asyncio.Runner(loop_factory=_loop_factory())
    try:
        loop = runner.get_loop()
        task = own_task(loop, main)
        while True:
            try:
                return loop.run_until_complete(task)
            except BaseException as error:
                if task.done() or loop.is_closed() or _is_ctrl_c(error):
                    raise
                _say(error)
    finally:
        try:
            runner.close()  # cancels what handlers left
        except BaseException as error:
            _say(error)


def _say(error: BaseException) -> None:
    log.error(
        "handler.left_the_loop",
        reason="code of a handler tried to end the process from a task of its own: raise an error "
        "from the handler instead",
        exc_info=error,
    )


def own_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task of the process's own. `asyncio.all_tasks()` does not show it.

    So a handler that cancels all tasks that it finds does not cancel what it runs on.
    """
    task = loop.create_task(work)
    asyncio.tasks._unregister_task(task)
    return task


def _is_ctrl_c(error: BaseException) -> bool:
    """Whether a user ends the process before it handles that signal by itself."""
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return isinstance(error, KeyboardInterrupt) and default


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop

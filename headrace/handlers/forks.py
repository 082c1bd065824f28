"""Child processes that a handler forks: what they must not share with their parent.

A forked child (`os.fork`, `multiprocessing` by its method "fork") inherits the parent's signal
handlers, the descriptor by which signals wake the parent's event loop, and that loop's sockets. Its
SIGTERM would stop the parent; its next step in the event loop would read the parent's replies.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeVar

from headrace import logs

EXIT_STRAY = 70
"""The status of a child that came back from its handler (EX_SOFTWARE)."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

F = TypeVar("F", bound=Callable[..., Any])
log = logs.get_logger(__name__)
_callers: set[CodeType] = set()
_thread = threading.local()


def calls_handlers(function: F) -> F:
    """Mark the code that calls handlers: a forked child never goes back beyond it."""
    _callers.add(function.__code__)
    return function


def guard_forks() -> None:
    """Cut every child that this process forks from now on loose from it. Call it once."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(
            before=_hold_signals, after_in_parent=_let_signals_in, after_in_child=_cut_loose
        )


def _hold_signals() -> None:
    # A signal that meets the child before it is cut loose would be told to the parent.
    _thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _let_signals_in() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _thread.mask)


def _cut_loose() -> None:
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _let_signals_in()
    if not _is_of_multiprocessing(sys._getframe()):
        # The interpreter calls a profile function at each return and each `await` that suspends:
        # the one place where a child can be stopped before it enters the event loop. It is set in
        # such children only, for it slows Python code down; nothing else pays for it.
        sys.setprofile(_end_before_going_back)


def _is_of_multiprocessing(frame: FrameType | None) -> bool:
    """Whether `multiprocessing` forks, whose children never go back to their caller."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "multiprocessing.popen_fork":
            return True
        frame = frame.f_back
    return False


def _end_before_going_back(frame: FrameType, event: str, _: object) -> None:
    if event == "return" and frame.f_code in _callers:
        log.error(
            "handler.stray_child",
            pid=os.getpid(),
            reason="a process that a handler forked came back from it: it was ended. End such a "
            "process with os._exit(), or start it by subprocess or multiprocessing",
        )
        logs.flush()
        os._exit(EXIT_STRAY)

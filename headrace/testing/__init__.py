"""For the tests of packages with task types of their own.

The pytest fixture `headrace` is a Headrace in the test's process, with a queue and a worker:

    def test_a_picture_is_resized(headrace: Headrace) -> None:
        handle = headrace.submit(resize, Resize(url="a.png", width=80))
        headrace.run_pending()
        assert handle.result() == {"width": 80}

`run_handler` runs one handler, without any queue:

    async def test_a_picture_is_resized() -> None:
        run = await run_handler(resize, Resize(url="a.png", width=80))
        assert run.result == {"width": 80}

The names are resolved when first used: pytest imports the plug-in at each start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.testing.handlers import HandlerRun as HandlerRun
    from headrace.testing.handlers import run_handler as run_handler
    from headrace.testing.headrace import Headrace as Headrace

_HOME_OF = {
    "HandlerRun": "headrace.testing.handlers",
    "Headrace": "headrace.testing.headrace",
    "run_handler": "headrace.testing.handlers",
}

__all__ = ["HandlerRun", "Headrace", "run_handler"]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)

"""For the tests of packages with task types of their own: run one handler, without any queue.

from headrace.testing import run_handler

async def test_a_picture_is_resized() -> None:
    run = await run_handler(resize, Resize(url="a.png", width=80))
    assert run.result == {"width": 80}
"""

from headrace.testing.handlers import HandlerRun, run_handler

__all__ = ["HandlerRun", "run_handler"]

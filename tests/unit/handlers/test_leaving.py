"""A process that ran handlers ends in time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

LEAVING = """
import asyncio
from collections.abc import Coroutine

from headrace import logs
from headrace.handlers import leave_within

class Odd(Coroutine):
    def send(self, value): pass
    def throw(self, *error): pass
    def close(self): pass
    def __await__(self): return self
    def __str__(self): raise SystemExit(0)
    __repr__ = __str__

async def main():
    logs.configure("info", "json")
    asyncio.create_task(Odd())
    leave_within(3, asyncio.get_running_loop(), attempts=["odd 1"], seconds=0.2)

asyncio.run(main())
"""


def test_a_process_ends_although_what_is_left_cannot_be_named() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAVING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    line = json.loads(ended.stderr.splitlines()[-1])
    assert (line["event"], line["attempts"]) == ("process.left_behind", ["odd 1"])

"""One side of a comparison: runs the benchmark's clients with the code of one checkout.

`python -m benchmarks.side`, with that checkout's packages on PYTHONPATH. A line of JSON on stdin
names a job and its arguments; its result goes to stdout as a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import uvloop

import headrace
from benchmarks import draining, floors, pickup, submitting

Costs = tuple[float, float, float]
"""Tasks a second; processor time in µs a task, of the client or worker, and of Redis."""


def code() -> str:
    """Where the package under test lies."""
    return headrace.__file__


def submit_async(url: str, seconds: float) -> Costs | None:
    """One by one on an event loop."""
    return _costs(url, seconds, lambda: uvloop.run(submitting.one_by_one(url, seconds)))


def submit_sync(url: str, seconds: float) -> Costs | None:
    """One by one without an event loop; None where there is no such client."""
    return _costs(url, seconds, lambda: submitting.one_by_one_sync(url, seconds))


def _costs(url: str, seconds: float, submit: Callable[[], float | None]) -> Costs | None:
    client, server = time.process_time(), draining.server_seconds(url)
    rate = submit()
    if rate is None:
        return None
    tasks = rate * seconds
    return (
        rate,
        (time.process_time() - client) / tasks * 1e6,
        (draining.server_seconds(url) - server) / tasks * 1e6,
    )


def submit_bulk(url: str, seconds: float) -> float:
    """Tasks a second in batches of 1000, made beforehand."""
    return uvloop.run(submitting.in_bulk(url, seconds))[1]


def sets(url: str, seconds: float) -> float:
    """SETs a second by redis-py: the floor."""
    return floors.sync_sets(url, seconds)


def drain(url: str, pid: int, count: int) -> Costs:
    """Empty a queue."""
    result = uvloop.run(draining.drain(url, pid, count))
    return result.rate, result.worker_us, result.redis_us


def pick_up(queue_url: str, bare_url: str, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds until an idle worker begins, and of a bare hand-over."""
    return uvloop.run(pickup.pick_up(queue_url, bare_url, count))


JOBS: dict[str, Any] = {
    job.__name__: job
    for job in (code, submit_async, submit_sync, submit_bulk, sets, drain, pick_up)
}


def main() -> None:
    """Do one job after the other until stdin ends."""
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(JOBS[name](*arguments)), flush=True)


if __name__ == "__main__":
    main()

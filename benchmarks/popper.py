"""Takes values from a list with BLPOP and keeps the times: `python -m benchmarks.popper URL`."""

from __future__ import annotations

import sys
import time

import redis

HANDED = "handed"
"""The list that it pops from: an entry is a number, or `STOP`."""
ARRIVED = "arrived"
"""A hash: number → time of arrival in nanoseconds since 1970. Written at the end."""
STOP = b"stop"


def run(url: str) -> None:
    """Pop until `STOP` comes."""
    arrived: dict[bytes, int] = {}
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        while True:
            entry = client.blpop([HANDED], timeout=1)
            if entry is None:
                continue
            now = time.time_ns()
            number = entry[1]
            if number != STOP:
                arrived[number] = now
            elif arrived:
                client.hset(ARRIVED, mapping=arrived)
                arrived.clear()


if __name__ == "__main__":
    run(sys.argv[1])

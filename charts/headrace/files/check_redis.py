"""What the Job before an upgrade runs: does the Redis that the new pods would use answer them?"""

# ruff: noqa: INP001 - no package: its text becomes the argument of `python -c`
from __future__ import annotations

import asyncio
import os
import sys
import time

from headrace.taskqueue import QueueError, QueueUnavailable, TaskQueue

DEADLINE = time.monotonic() + float(os.environ["CHECK_SECONDS"])
"""A failover, or a network that does not know this pod yet, is waited for so long."""
PAUSE_SECONDS = 0.5


async def check() -> None:
    """Connect as the API does. Raises QueueError when that fails to the end."""
    queue = TaskQueue(
        os.environ["REDIS_URL"],
        namespace=os.environ["QUEUE_NAMESPACE"],
        timeout_seconds=float(os.environ["REDIS_TIMEOUT_SECONDS"]),
        tls_ca_file=os.environ.get("REDIS_TLS_CA_FILE"),
        client_name="headrace-check",
    )
    try:
        while True:
            try:
                return await queue.connect()
            except QueueUnavailable:
                if time.monotonic() > DEADLINE:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)
    finally:
        await queue.close()


def main() -> None:
    """Say what is wrong, and end with status 1, so that the upgrade is given up."""
    try:
        asyncio.run(check())
    except (QueueError, ValueError, OSError) as error:
        sys.exit(
            f"Redis cannot be used, so no pod was replaced: {error}\n"
            "externalRedis names this server. checks.enabled=false upgrades without this check."
        )


if __name__ == "__main__":
    main()

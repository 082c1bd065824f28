"""What the queue may leave in Redis: which keys must expire, and what is empty when all is done.

Written against the key layout of `headrace/taskqueue/keys.py`, with a plain client.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from headrace.taskqueue.task import FINAL
from tests.servers import RedisServer

FINAL_STATUSES = frozenset(status.value.encode() for status in FINAL)

LASTING = frozenset({"meta", "queues", "types", "workers", "damaged", "stopping", "left", "audit"})
"""Keys without a part after the name, which stay."""

LASTING_KINDS = frozenset(
    {
        *("counts", "histogram", "definition", "queue", "cancelled", "wake", "delayed", "retries"),
        *("leases", "tend"),
    }
)
"""Keys that stay, or vanish when they are empty."""

EXPIRING_KINDS = frozenset({"rates", "dead", "ended", "worker", "drain", "signal", "aside"})
PARTS = {
    "payload": "pl",
    "result": "rl",
    "state": "k",
    "journal": "j",
    "inbox": "i",
    "attempts": "at",
    "children": "ch",
}
"""Parts of a record with a key of their own, and the field that names each."""
INDEXES = ("queue", "delayed", "retries", "leases", "held")
"""What names a task that has not ended."""


def keys(server: RedisServer, namespace: str = "headrace") -> dict[str, list[str]]:
    """All keys of an installation without their prefix, by kind: {"task": ["task:1", …], …}."""
    prefix = f"{{{namespace}}}:"
    found: dict[str, list[str]] = defaultdict(list)
    for raw in server.client.scan_iter(match=prefix.encode() + b"*", count=1000):
        key = raw.decode().removeprefix(prefix)
        found[key.partition(":")[0]].append(key)
    return found


def indexed(server: RedisServer, namespace: str = "headrace") -> list[str]:
    """The indexes that hold something, but for cancelled tasks: none when all tasks have ended."""
    found = keys(server, namespace)
    client: Any = server.client
    prefix = f"{{{namespace}}}:"
    held = []
    for kind in INDEXES:
        for key in found[kind]:
            if kind != "queue":
                held.append(key)
                continue
            ids = client.lrange(prefix + key, 0, -1)
            if any(client.hget(f"{prefix}task:{i.decode()}", "s") == b"queued" for i in ids):
                held.append(key)
    return sorted(held)


def unexpected_keys(
    server: RedisServer,
    namespace: str = "headrace",
    *,
    retention_seconds: float = 7 * 24 * 3600,
) -> list[str]:
    """A sentence for each key that should not be there, or lacks or has an expiry wrongly."""
    prefix = f"{{{namespace}}}:"
    found = keys(server, namespace)
    problems = [
        f"{key}: not of the layout"
        for kind, names in found.items()
        for key in names
        if not _is_expected(kind, key)
    ]
    live = [key for kind in LASTING_KINDS | LASTING for key in found[kind]]
    ends = [key for kind in EXPIRING_KINDS for key in found[kind]]
    later: list[str] = []  # may be kept a month longer: 0.2.0 ends tasks without a look at them
    records = _fields(server.client, prefix, found["task"])
    for key, (status, _) in records.items():
        (ends if status in FINAL_STATUSES else live).append(key)
    for kind, mark in PARTS.items():
        for key in found[kind]:
            task = "task:" + key.partition(":")[2]
            if task not in records:
                problems.append(f"{key}: its task has no record")
                continue
            status, marks = records[task]
            if mark not in marks:
                problems.append(f"{key}: its task's record does not name it")
            if kind in ("result", "state", "journal") and (status in FINAL_STATUSES) != (
                kind == "result"
            ):
                problems.append(f"{key}: the task is {status.decode()}")
            if kind == "attempts":
                later.append(key)
            else:
                (ends if status in FINAL_STATUSES else live).append(key)
    remaining = _remaining_ms(server.client, prefix, live + ends + later)
    problems += [f"{key}: expires" for key in live if remaining[key] >= 0]
    problems += [f"{key}: never expires" for key in ends + later if remaining[key] == -1]
    longest = max(retention_seconds, 3720) * 1000
    problems += [f"{key}: expires too late" for key in ends if remaining[key] > longest]
    return sorted(problems)


def _is_expected(kind: str, key: str) -> bool:
    if key == kind:
        return kind in LASTING
    return kind in LASTING_KINDS | EXPIRING_KINDS | {"task", "held", *PARTS}


def _fields(client: Any, prefix: str, tasks: list[str]) -> dict[str, tuple[bytes, frozenset[str]]]:
    """Each record's status, and which of its parts lie in keys of their own."""
    records = {}
    for start in range(0, len(tasks), 1000):
        chunk = tasks[start : start + 1000]
        pipe = client.pipeline(transaction=False)
        for key in chunk:
            pipe.hmget(prefix + key, "s", *PARTS.values())
        for key, (status, *marks) in zip(chunk, pipe.execute(), strict=True):
            if status is not None:  # else it has expired since the scan
                named = zip(PARTS.values(), marks, strict=True)
                records[key] = (status, frozenset(name for name, mark in named if mark))
    return records


def _remaining_ms(client: Any, prefix: str, names: list[str]) -> dict[str, int]:
    """Each key's time to live; -1: for ever; -2: it is gone."""
    remaining: dict[str, int] = {}
    for start in range(0, len(names), 1000):
        chunk = names[start : start + 1000]
        pipe = client.pipeline(transaction=False)
        for key in chunk:
            pipe.pttl(prefix + key)
        remaining |= dict(zip(chunk, pipe.execute(), strict=True))
    return remaining

"""What `headrace doctor` looks at in Redis itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from headrace.cli.findings import Finding

if TYPE_CHECKING:
    from headrace.taskqueue import BlockingTaskQueue
    from headrace.taskqueue.redis.blocking import BlockingLink

BATCH = 500
LOOKS = 3
"""A record is damaged if it is so at each look: a task that moves meanwhile is not."""


def findings_of_redis(url: str, *, repair: bool) -> Iterator[Finding]:
    """The server, its memory, its disk, and the queue's records."""
    from headrace.client.opening import new_blocking_queue
    from headrace.settings.clients import DirectSettings
    from headrace.taskqueue import QueueError

    try:
        settings = DirectSettings().queue.model_copy(update={"redis_url": url})
        queue = new_blocking_queue(settings, "headrace-doctor")
        link = queue.installation.blocking_link()
        try:
            info = _info(link)
            yield from _of_the_server(info)
            yield from _of_the_records(queue, link, repair=repair)
        finally:
            link.close()
            queue.close()
    except (QueueError, ValueError) as error:
        fix = "look at the address, and take a user that may call INFO, SCAN, HMGET and ZSCORE"
        yield Finding("redis server", "fail", str(error), fix)


def _info(link: BlockingLink) -> dict[str, str]:
    text = link.call("INFO").decode()
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in lines}


def _of_the_server(info: dict[str, str]) -> Iterator[Finding]:
    version = info.get("valkey_version") or info.get("redis_version", "?")
    kind = "Valkey" if "valkey_version" in info else "Redis"
    mode = info.get("redis_mode") or info.get("server_mode", "standalone")
    old = tuple(int(part) for part in info.get("redis_version", "0").split(".")[:2]) < (6, 2)
    yield Finding(
        "redis server",
        "fail" if old else "ok",
        f"{kind} {version}, {mode}",
        "take Redis 6.2 or newer" if old else "",
    )
    policy = info.get("maxmemory_policy", "?")
    if policy == "noeviction":
        yield Finding("redis memory", "ok", "maxmemory-policy is noeviction")
    else:
        fix = "CONFIG SET maxmemory-policy noeviction, and write it into the server's configuration"
        text = f"maxmemory-policy is {policy}: a full Redis deletes tasks"
        yield Finding("redis memory", "fail", text, fix)
    if info.get("aof_enabled") != "1":
        fix = "CONFIG SET appendonly yes, and write it into the server's configuration"
        text = "the append-only file is off: a restart loses what came after the last snapshot"
        yield Finding("redis disk", "warn", text, fix)
    elif info.get("aof_last_write_status", "ok") != "ok":
        text = "the append-only file cannot be written"
        yield Finding("redis disk", "fail", text, "look at the space and the rights on its disk")
    else:
        yield Finding("redis disk", "ok", "the append-only file is on")


def _of_the_records(
    queue: BlockingTaskQueue, link: BlockingLink, *, repair: bool
) -> Iterator[Finding]:
    prefix = queue.installation.keys.prefix
    seen, damaged = 0, []
    for ids in _scanned(link, prefix):
        seen += len(ids)
        for _ in range(LOOKS):
            ids = _in_no_index(link, prefix, ids) if ids else ids
        damaged += ids
    if not damaged:
        yield Finding("records", "ok", f"{seen} records, each in its index")
    elif repair:
        for at in range(0, len(damaged), BATCH):
            queue.get_many(damaged[at : at + BATCH])  # whoever reads such a record repairs it
        left = _in_no_index(link, prefix, damaged)
        status: Any = "fail" if left else "ok"
        yield Finding("records", status, f"{len(damaged) - len(left)} of {len(damaged)} repaired")
    else:
        text = f"{len(damaged)} of {seen} records stand in no index, as {damaged[0]}"
        yield Finding("records", "fail", text, "headrace doctor --repair")
    entries = link.call("XLEN", f"{prefix}damaged")
    if entries:
        [[_, fields]] = link.call("XREVRANGE", f"{prefix}damaged", "+", "-", "COUNT", "1")
        last = ": ".join(field.decode() for field in fields[1::2])
        text = f"{entries} things were set aside or repaired; the last: {last}"
        fix = f"see docs/operations.md; then redis-cli DEL '{prefix}damaged'"
        yield Finding("damage", "warn", text, fix)


def _scanned(link: BlockingLink, prefix: str) -> Iterator[list[str]]:
    """The ids of all records, in parts."""
    start, cursor = len(f"{prefix}task:"), b"0"
    while True:
        cursor, keys = link.call("SCAN", cursor, "MATCH", f"{prefix}task:*", "COUNT", str(BATCH))
        if keys:
            yield [key.decode()[start:] for key in keys]
        if cursor == b"0":
            return


def _in_no_index(link: BlockingLink, prefix: str, ids: list[str]) -> list[str]:
    """Those of the tasks that run without a lease, or are pending and not delayed."""
    records = link.call_together([("HMGET", f"{prefix}task:{it}", "s", "t", "f") for it in ids])
    asked: list[tuple[str, list[tuple[str, str, str]]]] = []
    for task_id, record in zip(ids, records, strict=True):
        if isinstance(record, Exception) or not record[1]:
            continue
        task_type = record[1].decode()
        if record[0] == b"running":
            fence = (record[2] or b"").decode()
            asked.append(
                (task_id, [("ZSCORE", f"{prefix}leases:{task_type}", f"{task_id}:{fence}")])
            )
        elif record[0] == b"pending":
            keys = (f"{prefix}delayed:{task_type}", f"{prefix}retries:{task_type}")
            asked.append((task_id, [("ZSCORE", key, task_id) for key in keys]))
    questions = [question for _, questions in asked for question in questions]
    replies: Iterator[Any] = iter(link.call_together(questions) if questions else ())
    return [
        task_id
        for task_id, questions in asked
        if all(reply is None for reply in list(islice(replies, len(questions))))
    ]

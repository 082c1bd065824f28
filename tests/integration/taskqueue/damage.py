"""Ways in which what lies in Redis can be damaged: by a hand, a faulty tool, a lost failover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

PREFIX = "{headrace}:"
LONG_PAYLOAD = b'"' + b"x" * 100 + b'"'
"""Of more than 64 bytes: it has a key of its own."""

Damage: TypeAlias = Callable[[Any, str, str], object]
"""Called with a client, the type and the id of a task that waits in its list."""


def key(name: str) -> str:
    """A key of the installation."""
    return PREFIX + name


def _set(**fields: Any) -> Damage:
    return lambda raw, _, task_id: raw.hset(key(f"task:{task_id}"), mapping=fields)


def _without(field: str) -> Damage:
    return lambda raw, _, task_id: raw.hdel(key(f"task:{task_id}"), field)


def _instead(put: Callable[[Any, str], object]) -> Damage:
    """Another type of key where the record was."""

    def damage(raw: Any, _: str, task_id: str) -> None:
        raw.delete(key(f"task:{task_id}"))
        put(raw, key(f"task:{task_id}"))

    return damage


def _long_payload(then: Callable[[Any, str], object]) -> Damage:
    """The payload's own key is gone, or of another type."""

    def damage(raw: Any, _: str, task_id: str) -> None:
        raw.hdel(key(f"task:{task_id}"), "p")
        raw.hset(key(f"task:{task_id}"), "pl", 1)
        raw.delete(key(f"payload:{task_id}"))
        then(raw, key(f"payload:{task_id}"))

    return damage


def _delayed(index: str, then: Damage) -> Damage:
    """It is due among the delayed tasks, and is damaged there."""

    def damage(raw: Any, task_type: str, task_id: str) -> None:
        raw.lrem(key(f"queue:{task_type}"), 1, task_id)
        raw.hset(key(f"task:{task_id}"), mapping={"s": "pending", "d": 1})
        raw.zadd(key(f"{index}:{task_type}"), {task_id: 1})
        then(raw, task_type, task_id)

    return damage


def _leased(then: Damage) -> Damage:
    """Its lease has ended, and it is damaged then."""

    def damage(raw: Any, task_type: str, task_id: str) -> None:
        raw.lrem(key(f"queue:{task_type}"), 1, task_id)
        raw.hset(key(f"task:{task_id}"), mapping={"s": "running", "f": 1, "b": 1, "w": "gone"})
        raw.zadd(key(f"leases:{task_type}"), {f"{task_id}:1": 1})
        then(raw, task_type, task_id)

    return damage


RECORDS: dict[str, Damage] = {
    "gone": lambda raw, _, task_id: raw.delete(key(f"task:{task_id}")),
    "a string": _instead(lambda raw, name: raw.set(name, "x")),
    "a list": _instead(lambda raw, name: raw.rpush(name, "x")),
    "no status": _without("s"),
    "an unknown status": _set(s="asleep"),
    "no type": _without("t"),
    "another type": _set(t="other"),
    "no version": _without("v"),
    "a version that is not a number": _set(v="one"),
    "no creation time": _without("c"),
    "a creation time that is not a number": _set(c="yesterday"),
    "max_retries that is not a number": _set(m="three"),
    "max_retries that are NaN": _set(m="nan"),
    "endless max_retries": _set(m="inf"),
    "a queued time that is not a number": _set(q="-"),
    "a fence that is not a number": _set(f="x", rc=1),
    "a retry count that is not a number": _set(f=1, rc="x"),
    "a crash count below zero": _set(f=1, cc=-1),
    "a parked run without its start": _set(f=1, pk=1, b="x"),
    "a parked run without its state": lambda raw, task_type, task_id: (
        raw.delete(key(f"state:{task_id}")),
        _set(f=1, pk=1, b=1, k=1)(raw, task_type, task_id),
    ),
    "a payload that is gone": _long_payload(lambda raw, name: None),
    "a payload that is a list": _long_payload(lambda raw, name: raw.rpush(name, "x")),
    "a delayed task that is gone": _delayed(
        "delayed", lambda raw, _, task_id: raw.delete(key(f"task:{task_id}"))
    ),
    "a delayed task that is a string": _delayed(
        "retries", _instead(lambda raw, name: raw.set(name, "x"))
    ),
    "a delayed task that has ended": _delayed(
        "delayed",
        lambda raw, _, task_id: (
            raw.hset(key(f"task:{task_id}"), "s", "completed"),
            raw.hdel(key(f"task:{task_id}"), "d"),
        ),
    ),
    "a leased task that is gone": _leased(
        lambda raw, _, task_id: raw.delete(key(f"task:{task_id}"))
    ),
    "a leased task that is a string": _leased(_instead(lambda raw, name: raw.set(name, "x"))),
    "a leased task without a crash count": _leased(_set(cc="x")),
}
"""Of one task, so that it cannot be run. Its id is in what is named."""


def _wrong_type(name: str) -> Callable[[Any, str], object]:
    """A key of the type's is a string or a list."""

    def damage(raw: Any, task_type: str) -> None:
        raw.delete(key(name.format(task_type)))
        raw.set(key(name.format(task_type)), "x")

    return damage


INDEXES: dict[str, Callable[[Any, str], object]] = {
    "damaged": _wrong_type("damaged"),
    "counts": _wrong_type("counts:{}"),
    "histogram": _wrong_type("histogram:{}"),
    "delayed": _wrong_type("delayed:{}"),
    "retries": _wrong_type("retries:{}"),
    "leases": _wrong_type("leases:{}"),
    "wake": _wrong_type("wake:{}"),
    "dead": _wrong_type("dead:{}"),
    "cancelled": _wrong_type("cancelled:{}"),
    "types": _wrong_type("types"),
    "queues": _wrong_type("queues"),
    "workers": _wrong_type("workers"),
    "tombstones": lambda raw, name: raw.hset(key(f"counts:{name}"), "tombstones", "x"),
    "retries_queued": lambda raw, name: raw.hset(key(f"counts:{name}"), "retries_queued", "x"),
    "arrivals": lambda raw, name: raw.hset(key(f"counts:{name}"), "arrivals", "x"),
    "completions": lambda raw, name: raw.hset(key(f"counts:{name}"), "completions", "1e3"),
    "a bucket": lambda raw, name: raw.hset(key(f"histogram:{name}"), "w1", "x"),
    "a lease": lambda raw, name: raw.zadd(key(f"leases:{name}"), {"no fence": 1}),
    "a name": lambda raw, _: raw.sadd(key("queues"), b"\xff \n"),
    "seen": lambda raw, _: raw.hset(key("meta"), "seen", "x"),
    "grace": lambda raw, _: raw.hset(key("meta"), "grace", "x"),
    "version": lambda raw, _: raw.hset(key("meta"), "version", "x"),
}
"""Of what all tasks of a type share, or all workers, and none of which may cost a task."""

"""Each move has one script and one method, and no script needs more than Redis 6.2."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

from headrace.taskqueue import (
    BOUNDS_SECONDS,
    RECORD_VERSION,
    Bulks,
    Consumer,
    FencedLease,
    Renewer,
    TaskQueue,
    audit,
    bulks,
    consumer,
    queue,
    renewer,
    scripts,
    submits,
    submitter,
    tending,
)
from headrace.taskqueue.errors import QueueError
from headrace.taskqueue.redis.connection import ReplyError
from headrace.taskqueue.replies import script_error

FOLDER = files("headrace.taskqueue") / "scripts"

METHODS: dict[str, Callable[..., Any]] = {
    # What any client may do
    "submit": TaskQueue.submit_many,
    "get": TaskQueue.get_many,
    "cancel": TaskQueue.cancel,
    "retry": TaskQueue.retry,
    "run_now": TaskQueue.run_now,
    "delete": TaskQueue.delete,
    "list": TaskQueue._answer,
    "counts": TaskQueue.count_tasks,
    "why": TaskQueue.why,
    "edit": TaskQueue.edit,
    "wake": TaskQueue.wake,
    # What one process at a time does
    "tend": FencedLease.take,
    "untend": FencedLease.release,
    "trim": FencedLease.trim_ended,
    "audit_note": audit.Audit.note,
    "audit": audit.Audit.newest,
    "bulk_start": Bulks.start,
    "bulk_mark": Bulks._mark,
    "bulk_collect": Bulks.collect,
    "bulk_step": Bulks.step,
    "dead_letters": TaskQueue.dead_letters,
    "stats": TaskQueue.stats,
    "history": TaskQueue.history,
    "reap": TaskQueue.reap,
    "store_final": TaskQueue.store_final,
    "drain": TaskQueue.drain,
    "undrain": TaskQueue.undrain,
    # What a worker does
    "register": Consumer.register,
    "deregister": Consumer.deregister,
    "claim": Consumer.claim,
    "finish": Consumer.settle,
    "fail": Consumer.settle,
    "park": Consumer.settle,
    "release": Consumer.settle,
    "append": Consumer.append,
    "submit_child": Consumer.submit_child,
    "checkpoint": Consumer.checkpoint,
    "progress": Consumer.progress,
    "restore": Consumer.restore,
    "renew": Renewer.renew,
    "stalled": Renewer.stalled,
}
"""The moves, and the method that makes each."""

REDIS_6_2 = (
    *("DEL", "EXISTS", "EXPIRE", "GET", "HDEL", "HEXISTS", "HGET", "HGETALL", "HINCRBY", "HKEYS"),
    *("HMGET", "HSET", "LINDEX", "LLEN", "LPOP", "LPUSH", "LSET", "PERSIST", "PEXPIRE", "PTTL"),
    "PUBLISH",
    *(
        "RENAME",
        "RPUSH",
        "SADD",
        "SCARD",
        "SET",
        "SMEMBERS",
        "SPOP",
        "SREM",
        "TIME",
        "TYPE",
        "XADD",
        "XREVRANGE",
        "SMISMEMBER",
    ),
    *("ZADD", "ZCARD", "ZCOUNT", "ZMSCORE", "ZRANGE", "ZRANGEBYSCORE", "ZREM", "ZREMRANGEBYRANK"),
    *("ZREVRANGE", "ZSCAN", "ZSCORE"),
)
"""What Redis 6.2 has, as far as it is used, with the arguments that it takes there. Commands whose
cost grows with a list's length (LREM, LRANGE, LPOS) or with all keys (KEYS, SCAN) are not in it."""

OF_SHORT_LISTS = ("LRANGE", "LTRIM")
"""An inbox holds at most 100 items, a list of attempts 20, a journal is read once by each attempt.
The list of tasks reads a bounded part of a queue. Of a bulk operation, 100 failures are kept."""


PACKED = (
    "list",
    "edit",
)
"""Scripts that read what is packed."""


def code(name: str) -> str:
    """A script as it is sent, without comments."""
    return re.sub(r"--.*", "", scripts.script(name).text.decode())


def code_of(part: str) -> str:
    """A shared part, without comments."""
    return re.sub(r"--.*", "", (FOLDER / "lib" / f"{part}.lua").read_text("utf-8"))


def header(name: str) -> str:
    """The comment that a script begins with."""
    lines = (FOLDER / f"{name}.lua").read_text("utf-8").splitlines()[1:]
    head = []
    for line in lines:
        if not line.startswith("--"):
            break
        head.append(line)
    return "\n".join(head)


def test_each_move_has_one_script_and_each_script_is_a_move() -> None:
    found = {f.name.removesuffix(".lua") for f in FOLDER.iterdir() if f.name.endswith(".lua")}
    assert found == set(METHODS) == set(scripts.NAMES)


def test_each_script_is_called_from_one_place() -> None:
    """But for `get` and `cancel`, which the client without an event loop calls as well."""
    modules = (queue, submits, consumer, renewer, tending, bulks, audit)
    text = "\n".join(inspect.getsource(module) for module in modules)
    for name in METHODS:
        callers = re.findall(rf'(?:script|run|_call)\(\s*"{name}"', text)
        callers += set(
            re.findall(rf'return "{name}"', text)
        )  # in `_script_and_arguments`, a line a settlement
        assert len(callers) == 1, f"{name} is called from {len(callers)} places"


@pytest.mark.parametrize("name", METHODS)
def test_each_method_leads_to_its_script(name: str) -> None:
    source = inspect.getsource(METHODS[name])
    if METHODS[name] is Consumer.settle:
        assert "_settling_commands" in source
        assert "_script_and_arguments(" in inspect.getsource(Consumer._settling_commands)
        source = inspect.getsource(consumer._script_and_arguments)
    elif name == "submit":
        assert "self._submitter.submit(" in source
        assert "self._send(" in inspect.getsource(submitter.Submitter.submit)
        assert "self._submits.commands(" in inspect.getsource(submitter.Submitter._send)
        source = inspect.getsource(submits.Submits.commands)
    elif name == "renew":
        assert "renewal_call(" in source
        source = inspect.getsource(renewer.renewal_call)
    elif name == "claim":
        assert "_claim_command" in source
        source = inspect.getsource(Consumer._claim_command)
    assert f'"{name}"' in source


def problems_of_actions(name: str) -> set[str]:
    """The errors that the functions of lib/actions.lua return which a script calls."""
    parts = re.split(r"^local function (\w+)", code_of("actions"), flags=re.MULTILINE)[1:]
    bodies = dict(zip(parts[::2], parts[1::2], strict=True))
    text = (FOLDER / f"{name}.lua").read_text("utf-8")
    if "actions" not in text.splitlines()[0]:
        return set()
    if name == "edit":  # it has its own function
        bodies["edit"] = text
    called = [body for function, body in bodies.items() if re.search(rf"\b{function}\(", text)]
    called += [bodies["record_of"] for body in called if "record_of(" in body]
    return set(re.findall(r"return nil, '([A-Z]+)", "".join(called)))


@pytest.mark.parametrize("name", METHODS)
def test_a_scripts_header_says_what_goes_in_and_what_comes_out(name: str) -> None:
    text = header(name)
    assert text.startswith(f"-- {name}: ")
    for part in ("KEYS  1  {namespace}:meta", "ARGV  1", "Returns "):
        assert part in text
    own = code(name).replace(code_of("common"), "")  # what common.lua refuses, it says itself
    replies = set(re.findall(r"error_reply\('([A-Z]+)", own)) | problems_of_actions(name)
    called = (FOLDER / f"{name}.lua").read_text("utf-8")
    heads = (
        "= begin(epoch, lease_ms)\nif refused then\n  return refused\n",
        "return epoch_error()\n",
    )
    if any(head in called for head in heads):
        replies.add("EPOCH")
    else:
        replies.discard("EPOCH")
    errors = re.search(r"-- Errors +(.*)", text)
    documented = set(re.findall(r"\b[A-Z]{4,}\b", errors[1])) if errors else set()
    assert documented == replies


@pytest.mark.parametrize("name", METHODS)
def test_a_script_needs_nothing_newer_than_redis_6_2(name: str) -> None:
    text = code(name)
    called = r"\b(?:redis\.p?)?call\(\s*"
    # The function `call` itself passes on what it is given.
    text = text.replace("local function call(command", "").replace("call(command, key, ...)", "")
    used = set(re.findall(rf"{called}'([A-Z]+)'", text))
    used |= {c for pair in re.findall(r"'(LPUSH)' or '(RPUSH)'", text) for c in pair}
    assert "TIME" in used
    assert used <= {*REDIS_6_2, *OF_SHORT_LISTS}
    for command in OF_SHORT_LISTS:
        targets = re.findall(rf"'{command}', ([^,]*),", text)
        assert set(targets) <= {
            *(
                "inbox",
                "P .. 'inbox:' .. task[1]",
                "P .. 'journal:' .. task[1]",
                "attempts",
                "list",
                "bulk_failures_key(id)",
            ),
        }
    assert len(re.findall(called, text)) == len(
        re.findall(rf"{called}(?:'[A-Z]+'|front and 'LPUSH' or 'RPUSH')", text)
    )
    # Options that are newer than their command.
    assert not re.search(r"'(GT|LT|NX|XX|KEEPTTL|GETEX|PXAT|EXAT)'", text)
    assert not re.search(r"redis\.(setresp|set_repl|acl_check_cmd|REDIS_VERSION)", text)


@pytest.mark.parametrize("name", METHODS)
def test_a_script_never_reads_a_document(name: str) -> None:
    # Lua's cjson turns [] into {} and 12345678901234567 into 1.2345678901235e+16.
    assert "cjson" not in code(name)
    # What the queue's clients packed themselves, and holds no such number: filters, options.
    assert "cmsgpack" not in code(name) or name in PACKED


@pytest.mark.parametrize("name", METHODS)
def test_a_scripts_errors_bear_a_code_that_every_server_keeps(name: str) -> None:
    # Redis 7 puts ERR before an error of one word: a code is followed by a space.
    for reply in re.findall(r"error_reply\('([^']*)'", code(name)):
        assert re.fullmatch(r"[A-Z]+ ", reply)
        error = script_error(ReplyError(reply + "x"))
        assert type(error) is not ReplyError
        assert isinstance(error, QueueError)


@pytest.mark.parametrize("name", METHODS)
def test_a_script_includes_just_the_parts_that_it_needs(name: str) -> None:
    own = (FOLDER / f"{name}.lua").read_text("utf-8")
    included = [
        part.strip() for part in own.splitlines()[0].removeprefix("--- include ").split(",")
    ]
    order = ["common", "counters", "histograms", "records", "waiting", "promoting"]
    order += ["family", "ending"]
    order += ["attempts"]
    order += [
        "clock_set_back",
        "leases",
        "holds",
        "reaping",
        "repairing",
        "draining",
        "damage",
        "tending",
        "versions",
        "journals",
        "actions",
        "stopping",
        "finding",
        "bulks",
        "writing",
    ]
    assert included == [part for part in order if part in included]
    for part in included:
        assert (FOLDER / "lib" / f"{part}.lua").is_file()


def test_every_shared_part_is_used() -> None:
    parts = {f.name.removesuffix(".lua") for f in (FOLDER / "lib").iterdir()}
    used = {"clock"}  # in every script
    for name in scripts.NAMES:
        first = (FOLDER / f"{name}.lua").read_text("utf-8").splitlines()[0]
        used |= {part.strip() for part in first.removeprefix("--- include ").split(",")}
    assert used == parts


@pytest.mark.parametrize("name", METHODS)
def test_only_the_clock_of_tests_can_be_put_on(name: str) -> None:
    text, clock = scripts.script(name).text.decode(), scripts.CLOCK
    assert text.startswith(clock)
    assert "test-clock" not in text
    assert re.findall(r"call\('(\w+)'", clock) == ["TIME"]


def test_a_scripts_parts_stand_before_it() -> None:
    text = scripts.script("submit").text.decode()
    positions = [
        text.index(mark)
        for mark in ("local TIME =", "local P =", "local RATED", "local function wake(")
    ]
    assert positions == sorted(positions)
    assert "--- include" not in text
    assert text.rstrip().endswith("return reply")


def test_all_scripts_are_loaded_and_differ() -> None:
    loaded = scripts.all_scripts()
    assert len({script.sha for script in loaded}) == len(scripts.NAMES)
    assert scripts.script("claim") is scripts.script("claim")


def test_the_histograms_bounds_are_the_same_in_lua_and_python() -> None:
    text = (FOLDER / "lib" / "histograms.lua").read_text("utf-8")
    bounds = re.search(r"BOUNDS = \{(.*?)\}", text, re.DOTALL)
    assert bounds is not None
    in_lua = [int(n) for n in re.findall(r"\d+", bounds[1])]
    assert in_lua == [int(second * 1000) for second in BOUNDS_SECONDS]


def test_scripts_and_code_read_records_up_to_the_same_version() -> None:
    found = re.search(r"local RECORD_VERSION = (\d+)", code_of("common"))
    assert found is not None
    assert int(found[1]) == RECORD_VERSION

"""What Redis's error replies mean to a caller."""

from __future__ import annotations

import hashlib

import pytest

from headrace.taskqueue.errors import NotSent, OutOfMemory, QueueError
from headrace.taskqueue.redis.connection import Endpoint, ReplyError, Script, explained


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("LOADING Redis is loading the dataset in memory", NotSent),
        ("MASTERDOWN Link with MASTER is down", NotSent),
        ("CLUSTERDOWN Hash slot not served", NotSent),
        ("BUSY Redis is busy running a script.", NotSent),
        ("MISCONF Redis is configured to save RDB snapshots, but ...", NotSent),
        ("NOREPLICAS Not enough good replicas to write.", NotSent),
        ("READONLY You can't write against a read only replica.", NotSent),
        ("MOVED 12929 10.0.0.1:7000", NotSent),
        ("ASK 12929 10.0.0.1:7000", NotSent),
        ("NOAUTH Authentication required.", NotSent),
        ("NOPERM this user has no permissions to run the 'set' command", NotSent),
        ("OOM command not allowed when used memory > 'maxmemory'.", OutOfMemory),
        (
            "ERR Error running script (call to f_ab): @user_script:1: @user_script: 1: "
            "-OOM command not allowed when used memory > 'maxmemory'. ",
            OutOfMemory,
        ),
        (
            "ERR Error running script (call to f_ab): @user_script:1: @user_script: 1: "
            "-READONLY You can't write against a read only replica. ",
            NotSent,
        ),
        ("ERR unknown command", ReplyError),
        ("WRONGTYPE Operation against a key", ReplyError),
        ("EPOCH 1f3a", ReplyError),
    ],
)
def test_an_error_reply_becomes_an_error_of_the_tree(text: str, kind: type[QueueError]) -> None:
    error = explained(ReplyError(text), "Redis at host:1")

    assert type(error) is kind
    assert text in str(error)


def test_an_errors_code_is_its_first_word() -> None:
    assert ReplyError("EPOCH 1f3a").code == "EPOCH"
    assert ReplyError("NOTFOUND").code == "NOTFOUND"


def test_an_endpoint_is_named_without_its_password() -> None:
    endpoint = Endpoint(host="redis", port=7, username="user", password="hush")

    assert str(endpoint) == "Redis at redis:7"
    assert "hush" not in repr(endpoint)
    assert str(Endpoint(path="/run/redis.sock")) == "Redis at /run/redis.sock"


def test_a_scripts_call_names_it_by_its_hash_and_counts_its_keys() -> None:
    text = b"return {KEYS[1], ARGV[1]}"
    sha = hashlib.sha1(text, usedforsecurity=False).hexdigest()

    script = Script(text)

    assert script.sha == sha
    assert script.command(("k1", "k2"), (1, b"x")) == (
        b"EVALSHA",
        sha.encode(),
        2,
        "k1",
        "k2",
        1,
        b"x",
    )

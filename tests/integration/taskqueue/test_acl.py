"""The rights that `headrace redis-acl` gives the API and the workers, on every kind of server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis

from headrace.taskqueue.acl import ROLES, AclRole, acl_rules
from tests.servers import RedisServer

EVERY_ROLE = pytest.mark.parametrize("role", ROLES)
ALLOWED = {"client|unblock", "info", "role"}
"""All that these users may have of the categories @admin and @dangerous."""


@contextlib.contextmanager
def logged_in(server: RedisServer, role: AclRole) -> Iterator[redis.Redis]:
    """A plain client with the rights of a role."""
    client = redis.Redis.from_url(server.url_of(f"headrace-{role}"))
    with contextlib.closing(client):
        yield client


@EVERY_ROLE
def test_nothing_that_administers_redis_is_allowed(any_server: RedisServer, role: AclRole) -> None:
    granted = {rule.removeprefix("+") for rule in acl_rules(role) if rule.startswith("+")}
    # Redis 6.2 lists whole commands there, and 7 the subcommands one by one.
    listed = {
        command.decode()
        for category in ("admin", "dangerous")
        for command in any_server.client.execute_command("ACL", "CAT", category)
    }
    if any_server.kind == "redis-6.2":
        granted = {rule for rule in granted if "|" not in rule}
    assert granted & listed <= ALLOWED
    assert not any(rule.startswith("+@") for rule in acl_rules(role))


@EVERY_ROLE
@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "CONFIG GET *", "KEYS *", "ACL LIST", "SHUTDOWN", "CLIENT KILL TYPE normal"],
)
def test_a_command_that_the_queue_does_not_need_is_refused(
    any_server: RedisServer, role: AclRole, command: str
) -> None:
    with logged_in(any_server, role) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


@EVERY_ROLE
def test_only_the_namespaces_keys_can_be_used(any_server: RedisServer, role: AclRole) -> None:
    any_server.client.set("{other}:definition:1", "theirs")
    with logged_in(any_server, role) as client:
        assert client.get("{headrace}:definition:1") is None
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("{other}:definition:1")
        script = "return redis.call('GET', '{other}:definition:1')"
        with pytest.raises(redis.exceptions.RedisError):
            client.evalsha(str(client.script_load(script)), 0)

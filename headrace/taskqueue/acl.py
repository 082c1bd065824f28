"""The rights of the queue's users in Redis, as rules of an ACL.

The scripts' commands are read from the scripts; Redis asks for the right to each of them when a
script runs it. What the clients send besides stands here; so does, for one release, what only
the scripts of the release before run: its pods are there during an upgrade.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from headrace.taskqueue.keys import Keys
from headrace.taskqueue.scripts import all_scripts

AclRole = Literal["api", "worker"]
"""Who logs in: the API, or a worker."""

ROLES: tuple[AclRole, ...] = get_args(AclRole)

_CLIENTS = (
    "client|id",
    "client|setname",
    "cluster|slots",
    "command|info",
    "evalsha",
    "get",
    "hget",
    "hvals",
    "lrange",
    "role",
    "script|load",
    "select",
    "set",
    "subscribe",
    "unsubscribe",
    "wait",
)
_WORKERS = ("blpop", "client|unblock", "ping")
"""How a worker waits, and looks whether Redis answers at all."""
_RELEASE_BEFORE = ("hkeys", "zremrangebyscore")
"""What only the scripts of 0.2.0 run."""

_CALL = re.compile(r"(?<![\w.])(?:redis\.p?)?call\(([^,)]*)")
_PASSED_ON = "command"
"""What `call` in lib/common.lua, and nothing else, names the command that it is given."""
_COMMAND = re.compile(r"'([A-Z]+)'")


def script_commands() -> set[str]:
    """The commands that the scripts run.

    Raises ValueError for a call whose command is not written out: `redis.call(name, …)`.
    """
    found: set[str] = set()
    for script in all_scripts():
        for call in _CALL.finditer(script.text.decode()):
            commands = _COMMAND.findall(call[1])
            if not commands and call[1] != _PASSED_ON:
                raise ValueError(f"{call[0]}…: write the command out, so that the ACL has it")
            found.update(command.lower() for command in commands)
    return found


def acl_rules(role: AclRole, namespace: str = "headrace", *, wait_fsync: bool = False) -> list[str]:
    """The rules of one user, as `ACL SETUSER` and an ACL file take them, without its password.

    It may use the keys and channels of the namespace and no others. `wait_fsync`: also WAITAOF,
    for REDIS_WAIT_FSYNC; a server older than Redis 7.2 refuses that rule. Raises ValueError for a
    namespace that the queue would not take.
    """
    prefix = Keys(namespace).prefix
    commands = script_commands().union(_CLIENTS, _RELEASE_BEFORE)
    if role == "worker":
        commands.update(_WORKERS)
    if wait_fsync:
        commands.add("waitaof")
    allowed = (f"+{command}" for command in sorted(commands))
    return ["resetkeys", f"~{prefix}*", "resetchannels", f"&{prefix}*", "-@all", *allowed]


def acl_file(namespace: str = "headrace", *, wait_fsync: bool = False) -> str:
    """A line a user, for an ACL file of Redis; see `acl_rules`."""
    return "".join(
        f"user headrace-{role} on {' '.join(acl_rules(role, namespace, wait_fsync=wait_fsync))}\n"
        for role in ROLES
    )

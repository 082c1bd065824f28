"""Calls to the Redis server that holds the queue, over a blocking socket: no event loop.

The same commands, scripts and errors as in link.py. For threads, and for programs that submit: one
call after the other, this is the fastest way there is.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence

import hiredis

from headrace.taskqueue.errors import NoReply, NotSent, QueueError
from headrace.taskqueue.redis.connection import (
    MOVED,
    Argument,
    Command,
    Endpoint,
    Reply,
    ReplyError,
    Script,
    explained,
    packed,
    tune,
)
from headrace.taskqueue.redis.recovery import greeting, not_run, welcomed, why_not_connected

CHUNK_BYTES = 65536
IDLE_SECONDS = 0.1
"""A connection that was idle for so long is looked at first: the server may have closed it."""


class BlockingConnection:
    """One connection to one server. Raises OSError when it cannot be made."""

    def __init__(self, endpoint: Endpoint, timeout_seconds: float) -> None:
        self.reason: str | None = None
        """Why it is closed, if it is."""
        self._name = str(endpoint)
        self._timeout_seconds = timeout_seconds
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._socket = _dial(endpoint, timeout_seconds)
        self._used_at = time.monotonic()

    def exchange(
        self, commands: Sequence[Command], timeout_seconds: float | None = None
    ) -> list[Reply]:
        """Send commands and wait for their replies. Where one is missing, a NoReply stands."""
        sock, reader, replies = self._socket, self._reader, list[Reply]()
        wanted, limit = len(commands), timeout_seconds or self._timeout_seconds
        began = time.monotonic()
        try:
            if limit != self._timeout_seconds:
                sock.settimeout(limit)
            sock.sendall(packed(commands))
            while True:
                data = sock.recv(CHUNK_BYTES)
                if not data:
                    self.close(f"{self._name} closed the connection")
                    break
                reader.feed(data)
                while (reply := reader.gets()) is not False:  # RESP2 has no `false` of its own
                    replies.append(reply)
                if len(replies) >= wanted:
                    break
                # What is left of the time is for what is left of the replies.
                sock.settimeout(max(began + limit - time.monotonic(), 0.001))
            if sock.gettimeout() != self._timeout_seconds:
                sock.settimeout(self._timeout_seconds)
        except TimeoutError:
            self.close(f"{self._name} did not answer in time")
        except OSError as error:
            self.close(f"{self._name} closed the connection ({error.strerror or error})")
        except hiredis.ProtocolError:
            self.close(f"{self._name} does not speak the Redis protocol")
        except BaseException:  # such as KeyboardInterrupt: later replies would be out of place
            self.close("the call was interrupted")
            raise
        if len(replies) > wanted:
            self.close(f"{self._name} sent a reply that nothing had asked for")
        self._used_at = time.monotonic()
        missing = f"{self.reason}: the command may have been carried out"
        return replies[:wanted] + [NoReply(missing) for _ in range(wanted - len(replies))]

    @property
    def usable(self) -> bool:
        """Whether it can be used, as far as can be seen from here."""
        if self.reason is None and time.monotonic() - self._used_at > IDLE_SECONDS:
            look = select.poll()
            look.register(self._socket, select.POLLIN)
            if look.poll(0):  # nothing was asked for: it is the end
                self.close(f"{self._name} closed the connection")
        return self.reason is None

    def close(self, reason: str) -> None:
        """Close it."""
        if self.reason is None:
            self.reason = reason
            self._socket.close()


class BlockingLink:
    """Calls to the one Redis server that holds the queue, over a connection made when needed.

    Errors, raised by `call` or returned in the list of those made together, are those of `Link`. No
    call is sent twice, unless it was provably not carried out. `locate` is asked for the address at
    every attempt to connect, so that a failover is followed; each call attempts it once.

    Threads may share it: their calls follow each other. A forked process makes a connection of its
    own.
    """

    def __init__(
        self,
        locate: Callable[[], Endpoint],
        *,
        scripts: Sequence[Script] = (),
        client_name: str = "headrace",
        timeout_seconds: float = 1.0,
    ) -> None:
        self._locate = locate
        self._scripts: dict[Argument, Script] = {script.sha.encode(): script for script in scripts}
        self._client_name = client_name
        self._timeout_seconds = timeout_seconds
        self._name = "Redis"
        self._connection: BlockingConnection | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False

    def call(self, *command: Argument, timeout: float | None = None) -> Reply:
        """Send one command and return its reply.

        `timeout`: in seconds, instead of the link's. A blocking command's must be longer than
        it blocks.
        """
        [reply] = self.call_together((command,), timeout)
        if isinstance(reply, QueueError):
            raise reply
        return reply

    def call_together(
        self, commands: Sequence[Command], timeout: float | None = None
    ) -> list[Reply]:
        """Send several commands in one write. An error stands in the list instead of a reply.

        Raises only NotSent, and only when none of them was sent.
        """
        if self._pid != os.getpid():
            self._leave_to_parent()
        with self._lock:
            replies = self._connected().exchange(commands, timeout)
            for reply in replies:
                if isinstance(reply, QueueError):
                    return self._recovered(commands, replies, timeout)
        return replies

    def evalsha(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Reply:
        """Run one of the link's scripts; like `call`."""
        return self.call(*script.command(keys, args))

    def close(self) -> None:
        """Close for good. Later calls get NotSent."""
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """Close the connection. The next call makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close("the connection was closed here")

    def _connected(self) -> BlockingConnection:
        connection = self._connection
        if connection is not None and connection.usable:
            return connection
        if self._closed:
            raise NotSent("this link to Redis was closed")
        self._connection = connection = self._connect()
        return connection

    def _connect(self) -> BlockingConnection:
        endpoint: Endpoint | None = None
        try:
            endpoint = self._locate()
            self._name = str(endpoint)
            connection = BlockingConnection(endpoint, self._timeout_seconds)
            # Scripts are loaded when one is missing: a program may run for one call only.
            replies = connection.exchange(greeting(endpoint, self._client_name, ()))
            try:
                welcomed(endpoint, replies, connection.reason)
            except QueueError:
                connection.close("the connection was given up")
                raise
        except (OSError, QueueError) as error:
            tls = endpoint is not None and endpoint.tls is not None
            why = why_not_connected(error, self._name, self._timeout_seconds, tls=tls)
            raise NotSent(why) from None
        return connection

    def _recovered(
        self, commands: Sequence[Command], replies: list[Reply], timeout: float | None
    ) -> list[Reply]:
        """Send again, once, what was provably not run as a script or the master was missing."""
        again, loads, moved = not_run(commands, replies, self._scripts)
        if again:
            if moved:
                self.drop()
            try:
                sent = [*loads, *(commands[i] for i in again)]
                answers = self._connected().exchange(sent, timeout)[len(loads) :]
            except NotSent as error:
                answers = [NotSent(*error.args) for _ in again]
            for i, answer in zip(again, answers, strict=True):
                replies[i] = answer
            if any(isinstance(a, ReplyError) and a.code in MOVED for a in answers):
                self.drop()
        return [
            explained(reply, self._name) if isinstance(reply, ReplyError) else reply
            for reply in replies
        ]

    def _leave_to_parent(self) -> None:
        """Leave connection and lock to the process that this one was forked from."""
        self._connection = None
        self._lock = threading.Lock()
        self._pid = os.getpid()


def _dial(endpoint: Endpoint, timeout_seconds: float) -> socket.socket:
    if endpoint.path is not None:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout_seconds)
            sock.connect(endpoint.path)
        except BaseException:
            sock.close()
            raise
        return sock
    sock = socket.create_connection((endpoint.host, endpoint.port), timeout_seconds)
    try:
        tune(sock)
        if endpoint.tls is not None:
            sock = endpoint.tls.wrap_socket(sock, server_hostname=endpoint.host)
    except BaseException:
        sock.close()
        raise
    return sock

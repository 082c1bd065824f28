"""What the queue's clients share, that with an event loop and that without: no input, no output."""

from __future__ import annotations

from headrace.limits import DEFAULT_MAX_DEPTH, DEFAULT_MAX_PAYLOAD_BYTES
from headrace.taskqueue.errors import QueueError
from headrace.taskqueue.installation import Installation
from headrace.taskqueue.keys import Keys
from headrace.taskqueue.redis.connection import ReplyError
from headrace.taskqueue.redis.url import parse_url
from headrace.taskqueue.replies import script_error
from headrace.taskqueue.submits import SubmitLimits, Submits
from headrace.taskqueue.task import TaskStatus


class QueueBase:
    """A client of one installation of the queue.

    Every call raises QueueUnavailable when Redis cannot be used: NotSent if the call provably did
    nothing, NoReply if it may have been carried out. Connections are made when needed, and again
    after an outage.

    Args:
        redis_url: where Redis is (see redis/url.py for the forms it may have).
        namespace: the installation's name; part of every key.
        lease_seconds: how long a worker holds a task without renewing its lease. The same for all
            processes of an installation.
        retention_seconds: how long the record of an ended task is kept.
        max_length: how many tasks of one type may wait; further ones are refused.
        max_payload_bytes: larger payloads are refused.
        max_depth: how deep children may have children; a child beyond that is refused.
        timeout_seconds: a call without an answer for so long fails with NoReply.
        client_name: shown by Redis's CLIENT LIST.
        tls_ca_file: the certificate authority that signed Redis's certificate (rediss://).
        wait_replicas: a submit counts once so many replicas have it (WAIT), else NoReply.
        wait_fsync: a submit counts once it is in the append-only file, here and on
            `wait_replicas` replicas (WAITAOF; Redis 7.2), else NoReply.
    """

    def __init__(
        self,
        redis_url: str = "redis://localhost:6379/0",
        *,
        namespace: str = "headrace",
        lease_seconds: float = 15.0,
        retention_seconds: int = 7 * 24 * 3600,
        max_length: int = 1_000_000,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        max_depth: int = DEFAULT_MAX_DEPTH,
        timeout_seconds: float = 1.0,
        client_name: str = "headrace",
        tls_ca_file: str | None = None,
        wait_replicas: int = 0,
        wait_fsync: bool = False,
    ) -> None:
        self.installation = Installation(
            Keys(namespace),
            parse_url(redis_url, namespace=namespace, tls_ca_file=tls_ca_file),
            int(lease_seconds * 1000),
            retention_seconds,
            timeout_seconds,
            client_name,
        )
        self.max_length = max_length
        self.max_payload_bytes = max_payload_bytes
        self.epoch: str | None = None
        """The last epoch that this client met; another than before: Redis lost its data."""
        self._keys = self.installation.keys
        self._submits = Submits(
            self.installation,
            SubmitLimits(max_length, max_payload_bytes, max_depth, wait_replicas, wait_fsync),
        )
        self._open()

    def _open(self) -> None:
        """Make the link, which connects at its first call."""
        raise NotImplementedError

    def _script_error(self, error: ReplyError, name: str, subject: str) -> QueueError:
        return script_error(error, subject=subject, move=name, max_length=self.max_length)


def status_after_cancel(before: bytes) -> TaskStatus:
    """What a cancel brought, by the status that the task had."""
    return TaskStatus.RUNNING if before == b"running" else TaskStatus.CANCELLED

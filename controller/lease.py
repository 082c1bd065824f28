"""Decides which of several operators acts: the one that holds the Lease.

The election is that of the official client, with a lock of our own. The client's own LeaseLock
lets everything but an ApiException escape, waits five minutes for an answer, and writes local time
as UTC. And the election goes by the wall clock, which may be set: here a Lease has ended when it
has not changed for LEASE_SECONDS of the monotonic clock, no sooner and no later.

Once lost, the lead is never taken again by the same process: what it remembers of the workers is
out of date, and a new process begins again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Protocol

import structlog
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from controller.kube import Json, KubeError, lease

LEASE_SECONDS = 10
"""Another operator may take the lead when it has seen no renewal for so long."""
RENEW_DEADLINE_SECONDS = 7
RETRY_SECONDS = 2
CALL_SECONDS = 2.0
HELD_SECONDS = 6.0
"""The lead is certain so long after a renewal was begun: a write begun then, which ends within 3 s,
ends before another operator acts."""

log = structlog.get_logger(__name__)


class Source(Protocol):
    """What the lock asks: `kube.Kube`."""

    async def get(self, path: str) -> Json:
        """Read an object."""
        ...

    async def create(self, path: str, body: Json) -> Json:
        """Create an object in a collection."""
        ...

    async def replace(self, path: str, body: Json) -> Json:
        """Replace an object, if it still has the body's resourceVersion."""
        ...


class Superseded(Exception):
    """Another operator has taken the lead."""


class Leadership:
    """What one process has to do with the election."""

    def __init__(
        self,
        source: Source,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.taken = asyncio.Event()
        """Set when the lead is taken."""
        self._lock = Lock(source, namespace, name, identity, clock)
        self._clock = clock

    def held(self) -> bool:
        """Whether nobody else can have the lead now. Ask before each write."""
        renewed_at = self._lock.renewed_at
        return renewed_at is not None and self._clock() - renewed_at < HELD_SECONDS

    @property
    def answered(self) -> bool:
        """Whether it is known who leads."""
        return self._lock.answered

    async def run(self) -> None:
        """Wait for the lead, and renew it. Returns when it is lost."""
        log.info("lease.waiting", lease=self._lock.name, identity=self._lock.identity)
        try:
            await self._election().run()
        except Superseded as error:
            log.warning("lease.superseded", reason=str(error))

    async def release(self) -> None:
        """Give the lead away, so that another operator has it at once."""
        await self._lock.release()

    def _election(self) -> LeaderElection:
        config = Config(
            self._lock,
            lease_duration=LEASE_SECONDS,
            renew_deadline=RENEW_DEADLINE_SECONDS,
            retry_period=RETRY_SECONDS,
            onstarted_leading=self._take,
            onstopped_leading=self._stop,
        )
        return LeaderElection(config)

    async def _take(self) -> None:
        log.info("lease.taken", lease=self._lock.name, identity=self._lock.identity)
        self.taken.set()

    async def _stop(self) -> None:
        log.warning("lease.not_renewed", seconds=RENEW_DEADLINE_SECONDS)


class Lock(BaseLock):
    """A Lease as the election uses it: each call ends soon, and a failed one is a "no"."""

    def __init__(
        self,
        source: Source,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(name, namespace, identity)
        self.renewed_at: float | None = None
        """When the last successful renewal was begun, by the clock."""
        self.answered = False
        self._source = source
        self._clock = clock
        self._path = lease(namespace, name)
        self._lease: Json | None = None
        self._changed_at = clock()
        """When a read has shown the Lease changed last, by the clock."""

    async def get(
        self, name: str, namespace: str
    ) -> tuple[bool, LeaderElectionRecord] | tuple[bool, Exception]:
        """Read the Lease. Raises Superseded when it was held and somebody else has it."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                found = await self._source.get(self._path)
        except (KubeError, TimeoutError) as error:
            status = error.status if isinstance(error, KubeError) else 0
            self.answered = self.answered or status == 404
            reason = str(error) or "no answer in time"
            return False, ApiException(status, reason, body=json.dumps({"code": status}))
        self.answered = True
        if self._lease is None or found.get("spec") != self._lease.get("spec"):
            self._changed_at = self._clock()
        self._lease = found
        record = recorded(found)
        if self.renewed_at is not None and record.holder_identity != self.identity:
            self.renewed_at = None
            raise Superseded(f"{record.holder_identity or 'nobody'} holds the Lease now")
        if record.holder_identity != self.identity and not self._held_by_another():
            # The election takes at once what names no holder, and asks no clock.
            record.holder_identity = None
        return True, record

    async def create(
        self, name: str, namespace: str, election_record: LeaderElectionRecord
    ) -> bool:
        """Make the Lease, held by this process; not while another counts on one now deleted."""
        if self._held_by_another():
            return False
        spec = renewed({}, self.identity, _micro_time())
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name},
            "spec": spec,
        }
        return await self._write(self._source.create(lease(namespace), body))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Renew the Lease that was read last, or take it over if it has ended."""
        assert self._lease is not None
        if self._held_by_another():
            return False
        spec = renewed(self._lease.get("spec") or {}, self.identity, _micro_time())
        return await self._write(self._source.replace(self._path, {**self._lease, "spec": spec}))

    async def release(self) -> None:
        """Let go of the Lease, if it is held. Not to be called while the election runs."""
        if self.renewed_at is None:
            return
        self.renewed_at = None
        # Read again: a renewal may have been written and its answer not awaited.
        held, record = await self.get(self.name, self.namespace)
        released = held and _holder(record) == self.identity and await self._let_go()
        log.info("lease.released", released=released)

    def _held_by_another(self) -> bool:
        """Whether the Lease that was read last is somebody else's and has not ended."""
        holder = recorded(self._lease).holder_identity if self._lease else None
        if holder in (None, self.identity):
            return False
        return self._clock() - self._changed_at < LEASE_SECONDS

    async def _let_go(self) -> bool:
        assert self._lease is not None
        spec = {**self._lease["spec"], "holderIdentity": ""}
        call = self._source.replace(self._path, {**self._lease, "spec": spec})
        released = await self._write(call)
        self.renewed_at = None
        return released

    async def _write(self, call: Coroutine[None, None, Json]) -> bool:
        begun_at = self._clock()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                self._lease = await call
        except (KubeError, TimeoutError) as error:
            log.warning("lease.not_written", error=str(error) or "no answer in time")
            return False
        self.renewed_at = begun_at
        return True


def recorded(found: Json) -> LeaderElectionRecord:
    """What a Lease says, as the election compares it."""
    spec = found.get("spec") or {}
    seconds = spec.get("leaseDurationSeconds")
    return LeaderElectionRecord(
        spec.get("holderIdentity") or None,
        str(seconds) if seconds else None,
        spec.get("acquireTime"),
        spec.get("renewTime"),
    )


def renewed(spec: Json, identity: str, now: str) -> Json:
    """A Lease's spec with the holder renewed, or changed."""
    same = spec.get("holderIdentity") == identity
    acquired = spec.get("acquireTime") if same else None
    transitions = spec.get("leaseTransitions") or 0
    return {
        **spec,
        "holderIdentity": identity,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": acquired or now,
        "renewTime": now,
        "leaseTransitions": transitions if same or not spec else transitions + 1,
    }


def _holder(record: LeaderElectionRecord | Exception) -> str | None:
    return record.holder_identity if isinstance(record, LeaderElectionRecord) else None


def _micro_time() -> str:
    """Now, as Kubernetes' MicroTime: UTC, always with six digits."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

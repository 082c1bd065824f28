"""What a task is, and how it may move between its states. Pure: no Redis here.

submit ──► pending ──(due)──► queued ──claim──► running ──finish──► completed
   │          ▲                 ▲ ▲                │ ├───fail─────► failed
   └──────────┼─────────────────┘ └──release,reap──┤ └───finish───► cancelled
              └───────── fail (retry), park ───────┘
cancel: pending, queued ─► cancelled        retry: failed, cancelled ─► queued
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from headrace.limits import DEFAULT_MAX_RETRIES
from headrace.status import FINAL as FINAL
from headrace.status import TaskStatus as TaskStatus

RECORD_VERSION = 2
"""The newest version of a record that is read here; a reader refuses a higher one. As in
lib/common.lua. A record without options that are needed is written as version 1."""

ALLOWED_MOVES: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.QUEUED, TaskStatus.CANCELLED}),
    TaskStatus.QUEUED: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED}),
    TaskStatus.RUNNING: frozenset({TaskStatus.PENDING, TaskStatus.QUEUED}) | FINAL,
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.QUEUED}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.QUEUED}),
}
"""From each state, the states that a move may lead to. The scripts keep to it."""


def allowed(before: TaskStatus, after: TaskStatus) -> bool:
    """Whether some move leads from one state to the other."""
    return after in ALLOWED_MOVES[before]


class Options(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"headers": "h", "tags": "t", "parent": "p", "depth": "d"},
):
    """What few tasks have: packed into one field, of the submit as of the record (version 2)."""

    headers: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    parent: str | None = None
    """The task that submitted it as its child."""
    depth: int = 0
    """How many parents, their parents and so on it has."""

    def pack(self) -> bytes:
        """As MessagePack; empty when there is nothing."""
        return _pack(self) if self.headers or self.tags or self.parent else b""


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Options).decode
NO_OPTIONS = Options()


def unpack_options(packed: bytes) -> Options:
    """The reverse of `Options.pack`. Raises ValueError."""
    return _unpack(packed) if packed else NO_OPTIONS


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task's record as a reader sees it. `payload` and `result` are JSON, not decoded."""

    id: str
    type: str
    status: TaskStatus
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    due_at: datetime | None = None
    """When a `pending` task enters its queue."""
    payload: bytes = b"null"
    result: bytes | None = None
    error: str | None = None
    problem: bytes | None = None
    """The error as a JSON document, if the handler of a failed task gave one."""
    retry_count: int = 0
    """Failures so far."""
    crash_count: int = 0
    """How often a worker died with it since it last parked."""
    max_retries: int = DEFAULT_MAX_RETRIES
    progress_percent: float | None = None
    progress_message: str | None = None
    worker: str | None = None
    """The worker that runs it, or ran it last."""
    cancel_requested: bool = False
    headers: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    parent: str | None = None
    """The id of the task that submitted it as its child."""

    @property
    def attempt(self) -> int:
        """The number of the attempt that runs, ran last or comes first: from 1."""
        return attempt_number(self.retry_count, self.crash_count)


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task to be submitted."""

    type: str
    payload: bytes
    """A JSON document."""
    payload_is_json: bool = False
    """The caller has seen that it is one, so that it is not looked through again."""
    id: str
    """A UUID in small letters: `new_id()`, or `idempotent_id()` so that the same submit twice makes
    one task."""
    max_retries: int = DEFAULT_MAX_RETRIES
    start_at: datetime | None = None
    """Not before this time; None: at once."""
    headers: dict[str, str] = {}
    """Short texts for the handler (`Context.headers`), such as `traceparent`: names of small
    letters, digits and `-`. Those that begin with `headrace-` are set by the API."""
    tags: tuple[str, ...] = ()
    """What the task can be found by."""
    options_needed: bool = True
    """False: a worker that is too old to read headers and tags may run the task without them.
    Otherwise it is refused with UpgradeInProgress while such a worker lives."""
    start_in_ms: int | None = None
    """The delay that `start_at` was made of, if it was: what a repeated submit is compared by, for
    its `start_at` is another one."""


class ClaimedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that a worker has just taken: what it needs to run it, and to prove its hold."""

    id: str
    type: str
    payload: bytes
    fence: int
    """Which holder: grows at each claim. A move by an older holder is refused."""
    created_at_ms: int
    started_at_ms: int
    retry_count: int
    crash_count: int
    max_retries: int
    state: bytes | None = None
    """What the task's last park or checkpoint kept."""
    options: bytes = b""
    """Headers and tags, packed."""
    inbox: tuple[bytes, ...] = ()
    """What was put into the task's inbox since it last parked, in order."""
    journal: tuple[bytes, ...] = ()
    """What was appended since the state was last written, in order."""
    generation: int = 0
    """How often the task was retried by hand."""
    has_children: bool = False
    """Whether it has submitted children, since it was last retried by hand."""

    @property
    def headers(self) -> dict[str, str]:
        """The task's headers."""
        return unpack_options(self.options).headers

    @property
    def tags(self) -> tuple[str, ...]:
        """The task's tags."""
        return unpack_options(self.options).tags

    @property
    def parent(self) -> str | None:
        """The id of the task that submitted it as its child."""
        return unpack_options(self.options).parent

    @property
    def depth(self) -> int:
        """How many parents, their parents and so on it has."""
        return unpack_options(self.options).depth

    @property
    def hold(self) -> str:
        """What tells this hold on the task from every other: `id:fence`, as in the leases."""
        return f"{self.id}:{self.fence}"

    @property
    def attempt(self) -> int:
        """The number shown to the handler, from 1."""
        return 1 + self.retry_count + self.crash_count


def attempt_number(retry_count: int, crash_count: int) -> int:
    """Each failure and each crash makes one more attempt; parking and handing back make none.

    A park puts the crashes before it aside.
    """
    return 1 + retry_count + crash_count


_LAST_MS = 253_402_300_799_000
"""The last second that a datetime can tell, of the year 9999."""


def utc(milliseconds: int) -> datetime:
    """A Redis timestamp (milliseconds since 1970) as an aware datetime in UTC.

    What lies beyond the year 9999 is told as its end: a start time there, of an offset west of
    UTC, must not make the record unreadable.
    """
    return datetime.fromtimestamp(min(milliseconds, _LAST_MS) / 1000, UTC)


def milliseconds(moment: datetime) -> int:
    """An aware datetime as milliseconds since 1970."""
    return int(moment.timestamp() * 1000)

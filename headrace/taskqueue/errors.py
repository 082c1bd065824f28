"""Every error that the queue raises, in one tree.

QueueError
├── QueueUnavailable         Redis cannot be used now; try again later
│   ├── NotSent              ... and the command provably never reached it
│   └── NoReply              ... but the command may have been carried out
│       └── NotConfirmed     ... it was carried out, and its copies are not confirmed
├── OutOfMemory              Redis is at its `maxmemory` and refuses to store more
├── QueueFull                the queue is at its maximum length; nothing was written
├── TaskInvalid              nobody could run such a task; nothing was written
├── FilterInvalid            no task can fit such a filter; nothing was read
├── TooManyTypes             a list of all types' tasks, and there are too many types
├── BulkNotFound             no bulk operation under this id
├── TooManyBulks             too many bulk operations are worked on; nothing was written
├── PayloadTooLarge          the payload is over the limit; nothing was written
├── IdempotencyConflict      the same idempotency key was used for something else
├── InboxFull                the task's inbox holds its maximum of items; nothing was written
├── ChildrenFull             the task has its maximum of children; nothing was written
├── TooDeep                  the child would have too many parents above it
├── TaskNotFound             no record under this id: never submitted, or its retention is over
├── NotAllowed               the move is not allowed in the task's present state
├── EpochChanged             Redis lost its data: register again and restore what runs
├── Fenced                   another process does this work now; nothing was written
├── WorkerNotFound           no worker is registered under this id
├── UpgradeInProgress        a live worker of an older Headrace could not read the task
├── LayoutTooNew             Redis, or a record in it, was written by a newer Headrace
└── ServerUnsuitable         the Redis server lacks something that a setting asks for
"""

from __future__ import annotations

from headrace.limits import MAX_CHILDREN, MAX_INBOX_ITEMS


class QueueError(Exception):
    """Whatever goes wrong between a caller and the queue."""


class QueueUnavailable(QueueError):
    """Redis cannot be used now. The caller may try again later."""


class NotSent(QueueUnavailable):
    """Redis was not reached, and the command was provably never sent: nothing was done."""


class NoReply(QueueUnavailable):
    """The command was sent and no answer came: it may or may not have been carried out."""


class NotConfirmed(NoReply):
    """Redis has carried the submit out, and did not confirm in time that its copies are safe."""


class OutOfMemory(QueueError):
    """Redis is at its memory limit and stores nothing more until tasks finish or expire."""


class QueueFull(QueueError):
    """The queue is at its maximum length. Nothing was written."""

    def __init__(self, task_type: str, max_length: int) -> None:
        super().__init__(
            f"the queue {task_type!r} holds its maximum of {max_length} waiting tasks: "
            "try again later, add workers, or raise QUEUE_MAX_LENGTH"
        )
        self.task_type = task_type
        self.max_length = max_length


class TaskInvalid(QueueError, ValueError):
    """Nobody could run such a task: its type, id, payload or rules are wrong. Nothing was sent."""


class FilterInvalid(QueueError, ValueError):
    """Something in a filter, or in a cursor, cannot be used. Nothing was sent."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}")
        self.parameter = parameter
        self.reason = reason


class TooManyTypes(FilterInvalid):
    """Tasks of all types were asked for together, and there are too many types."""

    def __init__(self, count: int | str) -> None:
        super().__init__("type", f"there are {count} task types, too many for one list: name one")


class BulkNotFound(QueueError):
    """There is no bulk operation under this id, or it is kept no more."""

    def __init__(self, bulk_id: str) -> None:
        super().__init__(f"there is no bulk operation {bulk_id}")
        self.bulk_id = bulk_id


class TooManyBulks(QueueError):
    """Too many bulk operations are worked on. Nothing was written."""

    def __init__(self, count: int | str) -> None:
        super().__init__(f"{count} bulk operations are worked on: wait for one to end, or stop one")


class PayloadTooLarge(QueueError):
    """The payload is larger than the queue accepts. Nothing was written."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"the payload has {size_bytes} bytes, the limit is {max_bytes}: "
            "store the data elsewhere and submit a reference, or raise MAX_PAYLOAD_BYTES"
        )
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class IdempotencyConflict(QueueError):
    """The idempotency key was used before, for something else."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"this idempotency key already stands for task {task_id}, submitted with another "
            "payload, start time or max_retries: use a new key for a new task"
        )
        self.task_id = task_id


class InboxFull(QueueError):
    """The task's inbox holds its maximum of items. Nothing was written."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"the inbox of task {task_id} holds its maximum of {MAX_INBOX_ITEMS} items: it takes "
            "more when its handler has parked again"
        )
        self.task_id = task_id


class ChildrenFull(QueueError):
    """The task has its maximum of children that have not ended. Nothing was written."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"task {task_id} has {MAX_CHILDREN} children that have not ended: it may submit more "
            "when some have"
        )
        self.task_id = task_id


class TooDeep(QueueError):
    """The child would lie deeper below its first parent than is allowed. Nothing was written."""

    def __init__(self, max_depth: int) -> None:
        super().__init__(
            f"a child may lie {max_depth} tasks deep at most: look whether tasks or workflows call "
            "each other without end, or raise QUEUE_MAX_DEPTH"
        )


class TaskNotFound(QueueError):
    """No record is kept under this id."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"no task {task_id}: it was never queued (a run made while Redis was away is not "
            "stored), or its retention is over"
        )
        self.task_id = task_id


_ALLOWED = {
    "cancel": "only pending and queued tasks can be cancelled",
    "retry": "only failed and cancelled tasks can be retried",
    "run_now": "only pending tasks can be run before their time",
    "edit": "only pending and queued tasks can be changed, and of a parked one not the start time",
    "delete": "only tasks that have ended can be deleted: cancel it first",
    "wake": "only tasks that have not ended have an inbox",
}
_ELSE = "this is not possible in this state"


class NotAllowed(QueueError):
    """The task's present state does not allow this move."""

    def __init__(self, task_id: str, move: str, status: str) -> None:
        super().__init__(f"task {task_id} is {status}: {_ALLOWED.get(move, _ELSE)}")
        self.task_id = task_id
        self.move = move
        self.status = status


class EpochChanged(QueueError):
    """Redis lost its data since this worker registered."""

    def __init__(self, epoch: str) -> None:
        super().__init__(f"Redis lost its data: its epoch is now {epoch}")
        self.epoch = epoch


class Fenced(QueueError):
    """A lease on work that one process at a time does is held no more. Nothing was written."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the lease {name!r} has ended, or another process holds it")
        self.name = name


class WorkerNotFound(QueueError):
    """No worker is registered under this id."""

    def __init__(self, worker_id: str) -> None:
        super().__init__(f"no worker {worker_id} is registered")
        self.worker_id = worker_id


class UpgradeInProgress(QueueError):
    """A live worker is of a Headrace that cannot read such a task. Nothing was written."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"task {task_id} is to have headers, tags or an inbox, and a worker that is still "
            "there is of an older Headrace, which cannot read them: try again once all workers are "
            "upgraded"
        )
        self.task_id = task_id


class LayoutTooNew(QueueError):
    """What lies in Redis was written by a newer version than this one can read."""

    def __init__(self, found: str, supported: int | str) -> None:
        super().__init__(
            f"Redis holds data of layout version {found}, this Headrace reads up to "
            f"{supported}: upgrade this process"
        )


class ServerUnsuitable(QueueError):
    """The Redis server cannot do what a setting asks of it."""

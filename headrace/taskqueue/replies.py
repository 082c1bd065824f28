"""Turns a script's error reply into an error of the queue's tree. Pure."""

from __future__ import annotations

from headrace.limits import MAX_OPTIONS_BYTES
from headrace.taskqueue.errors import (
    BulkNotFound,
    ChildrenFull,
    EpochChanged,
    Fenced,
    InboxFull,
    LayoutTooNew,
    NotAllowed,
    QueueError,
    QueueFull,
    TaskInvalid,
    TaskNotFound,
    TooManyBulks,
    TooManyTypes,
    UpgradeInProgress,
    WorkerNotFound,
)
from headrace.taskqueue.redis.connection import ReplyError


def script_error(
    error: ReplyError, *, subject: str = "", move: str = "", max_length: int = 0
) -> QueueError:
    """What an error reply of a script means. Any other error is returned as it is.

    Args:
        error: the reply.
        subject: the id of the task or worker that the call was about.
        move: the call's name, for the sentence.
        max_length: the queue's limit, for the sentence.
    """
    code, _, detail = str(error).partition(" ")
    match code:
        case "EPOCH":
            return EpochChanged(detail)
        case "VERSION":
            found, _, supported = detail.partition(" ")
            return LayoutTooNew(found, supported)
        case "UPGRADE":
            return UpgradeInProgress(detail)
        case "NOTFOUND":
            return TaskNotFound(subject)
        case "NOWORKER":
            return WorkerNotFound(subject)
        case "NOTALLOWED":
            return NotAllowed(subject, move, detail)
        case "FENCED":
            return Fenced(subject)
        case "CHILDREN":
            return ChildrenFull(detail)
        case "INBOX":
            return InboxFull(subject)
        case "TOOMANYTYPES":
            return TooManyTypes(detail)
        case "NOBULK":
            return BulkNotFound(subject)
        case "TOOMANYBULKS":
            return TooManyBulks(detail)
        case "OPTIONS":
            return TaskInvalid(
                f"the headers of task {detail} and these tags have more than {MAX_OPTIONS_BYTES} "
                "bytes together: take fewer or shorter tags"
            )
        case "FULL":
            return QueueFull(detail, max_length)
        case _:
            return error

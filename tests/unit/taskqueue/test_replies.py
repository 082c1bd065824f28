"""What a script's error reply means to a caller."""

from __future__ import annotations

import pytest

from headrace.taskqueue import (
    EpochChanged,
    LayoutTooNew,
    NotAllowed,
    QueueError,
    QueueFull,
    TaskNotFound,
    UpgradeInProgress,
    WorkerNotFound,
)
from headrace.taskqueue.redis.connection import ReplyError
from headrace.taskqueue.replies import script_error


@pytest.mark.parametrize(
    ("reply", "kind", "sentence"),
    [
        ("EPOCH 1760000000-5", EpochChanged, "its epoch is now 1760000000-5"),
        ("EPOCH ", EpochChanged, "Redis lost its data"),
        ("VERSION 2 1", LayoutTooNew, "layout version 2, this Headrace reads up to 1"),
        (
            "UPGRADE me",
            UpgradeInProgress,
            "task me is to have headers, tags or an inbox, and a worker",
        ),
        ("NOTFOUND me", TaskNotFound, "no task me"),
        ("NOWORKER me", WorkerNotFound, "no worker me is registered"),
        (
            "NOTALLOWED running",
            NotAllowed,
            "task me is running: only pending and queued tasks can be cancelled",
        ),
        ("FULL report", QueueFull, "the queue 'report' holds its maximum of 7"),
    ],
)
def test_each_code_becomes_its_error(reply: str, kind: type[QueueError], sentence: str) -> None:
    error = script_error(ReplyError(reply), subject="me", move="cancel", max_length=7)
    assert type(error) is kind
    assert sentence in str(error)


def test_any_other_error_is_returned_as_it_is() -> None:
    error = ReplyError("WRONGTYPE Operation against a key")
    assert script_error(error) is error


def test_errors_carry_what_a_program_needs() -> None:
    error = script_error(ReplyError("NOTALLOWED running"), subject="me", move="cancel")
    assert isinstance(error, NotAllowed)
    assert (error.task_id, error.move, error.status) == ("me", "cancel", "running")
    full = script_error(ReplyError("FULL report"), max_length=7)
    assert isinstance(full, QueueFull)
    assert (full.task_type, full.max_length) == ("report", 7)
    changed = script_error(ReplyError("EPOCH new"))
    assert isinstance(changed, EpochChanged)
    assert changed.epoch == "new"

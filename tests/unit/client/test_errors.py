"""The client's errors: one class for each problem type, whichever way it came."""

from __future__ import annotations

import pytest

from headrace.client import errors
from headrace.client.redis_calls import KINDS, as_api_error
from headrace.contract import ProblemReply, problems
from headrace.taskqueue import (
    FilterInvalid,
    IdempotencyConflict,
    LayoutTooNew,
    NotAllowed,
    OutOfMemory,
    PayloadTooLarge,
    QueueError,
    QueueFull,
    TaskNotFound,
    UpgradeInProgress,
    WorkerNotFound,
)
from headrace_api.http.problems import problem_of

ID = "550e8400-e29b-41d4-a716-446655440000"
QUEUE_ERRORS: list[QueueError] = [
    TaskNotFound(ID),
    WorkerNotFound("w1"),
    NotAllowed(ID, "cancel", "running"),
    IdempotencyConflict(ID),
    FilterInvalid("status", "it must be another"),
    PayloadTooLarge(2, 1),
    QueueFull("resize_image", 1),
    OutOfMemory("Redis is full"),
    UpgradeInProgress(ID),
    LayoutTooNew("3", 2),
]


def problem(slug: str, **members: object) -> ProblemReply:
    kind = problems.ALL[slug]
    return ProblemReply.model_validate(
        {
            "type": kind.uri,
            "title": kind.title,
            "status": kind.status,
            "detail": "it is so",
            "instance": "/",
            "request_id": "r",
            **members,
        }
    )


def test_there_is_a_class_for_each_problem_type_and_no_other() -> None:
    """A new problem type needs a class of its own in headrace/client/errors.py."""
    assert {slug: cls.kind for slug, cls in errors.BY_SLUG.items()} == problems.ALL


@pytest.mark.parametrize("slug", list(problems.ALL))
def test_each_problem_is_raised_as_its_class(slug: str) -> None:
    error = errors.api_error(problem(slug, task_id=ID), 2.0)
    assert type(error) is errors.BY_SLUG[slug]
    assert type(error).__name__.lower() == slug.replace("-", "")
    assert str(error) == "it is so"
    assert error.member("task_id") == ID
    assert error.retry_after == 2.0


def test_what_passes_by_itself_is_an_unavailable_too() -> None:
    passing = {slug for slug, cls in errors.BY_SLUG.items() if issubclass(cls, errors.Unavailable)}
    assert passing == {slug for slug, kind in problems.ALL.items() if kind.status == 503} - {
        "queue-disabled"
    }


def test_a_problem_that_only_a_newer_server_knows_is_an_api_error() -> None:
    newer = problem("task-not-found").model_copy(update={"type": "urn:headrace:problem:newer"})
    assert type(errors.api_error(newer)) is errors.ApiError


def test_the_mistakes_in_a_request_stand_in_the_message() -> None:
    found = problem("invalid-request", errors=[{"detail": "it must be x", "pointer": "/payload"}])
    assert str(errors.api_error(found)) == "it is so; /payload: it must be x"


@pytest.mark.parametrize("error", QUEUE_ERRORS, ids=lambda error: type(error).__name__)
def test_a_client_of_redis_raises_what_the_api_would_answer(error: QueueError) -> None:
    direct, over_http = as_api_error(error), problem_of(error)
    assert direct is not None
    assert direct.kind is over_http.kind
    assert str(direct) == over_http.detail
    for name in ("task_id", "task_status"):
        assert direct.member(name) == over_http.extensions.get(name)


def test_every_error_of_the_queue_that_has_a_kind_is_tried() -> None:
    tried = {type(error) for error in QUEUE_ERRORS}
    assert {cls.__name__ for cls in KINDS.keys() - tried} == {"TaskInvalid"}
